import type { Caller } from '../../model/caller.ts'
import type { SystemMetadata } from '../../model/metadata.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

export interface KeyQuery {
  bucketId: string
  prefix: string
  /** Keys that have it behind the prefix are shown once, as their beginning up to its end; '' shows them all. */
  delimiter: string
  /** Only what comes after this text, in order of bytes. '' for all. */
  after: string
  limit: number
}

/** A key of S3 with what its row says, without its parts; or a prefix that keys have in common. */
export type KeyEntry = { key: string; object: ListedObject } | { key: string; object: null }

export interface ListedObject {
  id: string
  version: string | null
  ownerId: string | null
  metadata: SystemMetadata | null
  updatedAt: Date
}

/** Keys of S3 as far as the caller sees them, in order of their bytes (decision 0050). */
export async function listKeys(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: KeyQuery,
): Promise<KeyEntry[]> {
  const rows = await database.run(LIST_KEYS, { ...query, context: callerContext(caller) })
  return rows.map(({ key, is_prefix: isPrefix, ...row }) => ({
    key,
    object: isPrefix
      ? null
      : {
          id: row.id ?? '',
          version: row.version,
          ownerId: row.owner_id,
          metadata: row.metadata,
          updatedAt: dateOr1970(row.updated_at),
        },
  }))
}

const LIST_KEYS = new Statement<KeyQuery & { context: string }, KeyRow>(
  'select * from storage.list_keys_as(:bucketId, :prefix, :delimiter, :after, :limit, :context)',
)

interface KeyRow {
  key: string
  is_prefix: boolean
  id: string | null
  version: string | null
  owner_id: string | null
  metadata: SystemMetadata | null
  updated_at: string | null
}
