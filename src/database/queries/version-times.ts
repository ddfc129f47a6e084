import type { Caller } from '../../model/caller.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

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

/** What becomes of a name when a folder is made what it was, and why it stays as it is. As `storage.names_at_as` says it. */
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
  /** How many names are looked at, hidden ones too. */
  mostLooks: number
}

/**
 * What has to be done so that the names with a prefix are what they were, as far as the caller sees them, in their order. There may be
 * fewer than `limit` though there are more behind them: it looks at so many and no more.
 *
 * @returns `end`, the name up to which it has looked, where that was all that it may; the caller may not see it
 */
export async function namesAt(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: NamesAtQuery,
): Promise<{ names: NameAt[]; end: string | null }> {
  const context = callerContext(caller)
  const rows = await database.run(NAMES_AT, { ...query, at: query.at.toISOString(), context })
  const names: NameAt[] = []
  let end: string | null = null
  for (const { outcome, ...row } of rows) {
    if (outcome === null) {
      end = row.name
      continue
    }
    names.push({
      name: row.name,
      targetName: row.target_name,
      outcome,
      reason: row.reason,
      current: row.current,
      isFreedFirst: row.is_freed_first,
    })
  }
  return { names, end }
}

const NAMES_AT = new Statement<
  Omit<NamesAtQuery, 'at'> & { at: string; context: string },
  Pick<NameAt, 'name' | 'reason' | 'current'> & {
    outcome: NameAt['outcome'] | null
    target_name: string
    is_freed_first: boolean
  }
>(`
  select * from storage.names_at_as(:bucketId, :prefix, :target, :at::timestamptz, :began::timestamptz, :afterName, :limit,
    :mostLooks::integer, :context)`)
