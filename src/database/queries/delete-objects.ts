import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/** A row as list answers of deletes show it (wire §3.8). */
export interface DeletedRow {
  id: string
  bucketId: string | null
  name: string | null
  owner: string | null
  ownerId: string | null
  version: string | null
  createdAt: Date | null
  updatedAt: Date | null
  lastAccessedAt: Date | null
  metadata: SystemMetadata | null
  userMetadata: UserMetadata | null
}

/** Which objects of those names that are still there are told of: those that the caller may see, or all. */
export type Looking = 'none' | 'seen' | 'all'

export interface Deletions {
  deleted: DeletedRow[]
  /** The ids of those that are there all the same, by their names. */
  there: Map<string, string>
  /** Which versions it has made superfluous. */
  removals: Location[]
}

/**
 * Deletes what the policies let the caller see and delete, of these names, in one round trip: with their bytes, as far as
 * these are in the database.
 *
 * @throws what a trigger or a reference says of any of them; nothing is deleted then
 */
export async function deleteObjects(
  database: Database,
  caller: Caller,
  bucketId: string,
  names: string[],
  looking: Looking,
): Promise<Deletions> {
  const context = callerContext(caller)
  const rows = await database.run(DELETE, { bucketId, names, looking, context })
  const done: Deletions = { deleted: [], there: new Map(), removals: [] }
  for (const row of rows) {
    if (row.outcome === 'deleted') done.deleted.push(deletedRow(bucketId, row))
    else if (row.outcome === 'there') done.there.set(row.name ?? '', row.id)
    else done.removals.push({ bucket: row.bytes_bucket ?? '', version: row.version ?? '' })
  }
  return done
}

const DELETE = new Statement<
  { bucketId: string; names: string[]; looking: Looking; context: string },
  OutcomeRow
>('select * from storage.delete_objects(:bucketId, :names::text[], :looking, :context)')

interface OutcomeRow {
  outcome: 'deleted' | 'there' | 'removal'
  id: string
  name: string | null
  version: string | null
  bytes_bucket: string | null
  owner: string | null
  owner_id: string | null
  created_at: string | null
  updated_at: string | null
  last_accessed_at: string | null
  metadata: SystemMetadata | null
  user_metadata: UserMetadata | null
}

function deletedRow(bucketId: string, row: OutcomeRow): DeletedRow {
  return {
    id: row.id,
    bucketId,
    name: row.name,
    owner: row.owner,
    ownerId: row.owner_id,
    version: row.version,
    createdAt: dateOrNull(row.created_at),
    updatedAt: dateOrNull(row.updated_at),
    lastAccessedAt: dateOrNull(row.last_accessed_at),
    metadata: row.metadata,
    userMetadata: row.user_metadata,
  }
}
