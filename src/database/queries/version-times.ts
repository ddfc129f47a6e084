import type { Caller } from '../../model/caller.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { asVersionEntry, type VersionEntry, type VersionQuery, type VersionRow } from './object-versions.ts'

export interface MomentQuery
  extends Pick<VersionQuery, 'bucketId' | 'prefix' | 'delimiter' | 'limit' | 'offset'> {
  at: Date
  /** The last entry of the page before. */
  afterName: string | null
}

/** What names had at a moment, in order of their bytes, as far as the caller sees them. */
export async function listAt(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: MomentQuery,
): Promise<VersionEntry[]> {
  const context = callerContext(caller)
  const rows = await database.run(LIST_AT, { ...query, at: query.at.toISOString(), context })
  return rows.map(asVersionEntry)
}

const LIST_AT = new Statement<Omit<MomentQuery, 'at'> & { at: string; context: string }, VersionRow>(`
  select * from storage.list_at_as(:bucketId, :prefix, :delimiter, :at::timestamptz, :afterName,
    :limit::integer + :offset::integer, :context) offset :offset::integer`)

/** What a bucket knows of before. */
export interface BucketMemory {
  /** Whether what is deleted stays, as a version or in a trash. */
  keeps: boolean
  /** From when on it knows of all that was deleted. */
  reach: Date | null
  /** The database's clock, as PostgreSQL prints it. */
  now: string
}

/** @returns null when there is no such bucket */
export async function bucketMemory(
  database: Pick<Database, 'run'>,
  bucketId: string,
): Promise<BucketMemory | null> {
  const [row] = await database.run(BUCKET_MEMORY, { bucketId })
  return row ? { ...row, reach: dateOrNull(row.reach) } : null
}

const BUCKET_MEMORY = new Statement<
  { bucketId: string },
  { keeps: boolean; reach: string | null; now: string }
>('select * from storage.bucket_memory(:bucketId)')

/** What becomes of a name when a folder is made what it was, and why it stays as it is. As `storage.names_to_as` says it. */
export interface NameAt {
  name: string
  targetName: string
  outcome: 'restored' | 'deleted' | 'unchanged' | 'unavailable'
  reason: 'not_kept' | 'before_history' | 'changed' | 'would_be_lost' | null
  /** The version that the target has now; null when it has nothing. */
  current: string | null
  /** Whether what is there now is kept only if it is deleted, and not if it is replaced. */
  isFreedFirst: boolean
}

export interface NamesAtQuery {
  bucketId: string
  prefix: string
  /** What the names begin with that are to be made so; null: they themselves. */
  target: string | null
  at: Date
  /** What was changed after it is left as it is. As PostgreSQL prints it. */
  began: string
  afterName: string | null
  limit: number
}

/** What has to be done so that the names with a prefix are what they were, as far as the caller sees them, in their order. */
export async function namesAt(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: NamesAtQuery,
): Promise<NameAt[]> {
  const context = callerContext(caller)
  const rows = await database.run(NAMES_AT, { ...query, at: query.at.toISOString(), context })
  return rows.map((row) => ({
    name: row.name,
    targetName: row.target_name,
    outcome: row.outcome,
    reason: row.reason,
    current: row.current,
    isFreedFirst: row.is_freed_first,
  }))
}

const NAMES_AT = new Statement<
  Omit<NamesAtQuery, 'at'> & { at: string; context: string },
  Pick<NameAt, 'name' | 'outcome' | 'reason' | 'current'> & { target_name: string; is_freed_first: boolean }
>(`
  select * from storage.names_to_as(:bucketId, :prefix, :target, :at::timestamptz, :began::timestamptz, :afterName, :limit,
    :context)`)
