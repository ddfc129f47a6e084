import { sql } from 'drizzle-orm'
import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { ownRemovals } from './listed-versions.ts'

/**
 * Deletes versions that are too old, markers that have none behind them any more, and what has been in the trash for long enough, what
 * was due first; nothing that is locked, and nothing that somebody else is deleting.
 *
 * @param most how many
 * @returns how many those are, how many of them were in the trash, and which bytes are superfluous now
 * @throws ObjectLocked when one was locked at this moment: none of them is deleted then
 */
export function deleteDueVersions(
  database: Database,
  most: number,
): Promise<{ count: number; trash: number; removals: Location[] }> {
  return asService(database, async (tx) => {
    const rows = await tx.execute<{ kind: string }>(sql`
      delete from storage.object_versions where sequence in (
        select v.sequence from storage.object_versions v
        where v.purge_at <= now() and storage.lock_of(v.bucket_id, v.version, v.valid_from) is null
          and (v.kind <> 'delete_marker' or not exists (
            select from storage.object_versions w
            where w.bucket_id = v.bucket_id and w.name = v.name and w.kind = 'version' and w.sequence < v.sequence
          ))
        order by v.purge_at limit ${most} for update skip locked
      )
      returning kind`)
    const trash = rows.filter(({ kind }) => kind === 'trash').length
    return { count: rows.length, trash, removals: await ownRemovals(tx) }
  })
}

/** How many are old enough, and stay since they are locked; those that are more than 100,000 are not counted. */
export async function countLockedDue(database: Pick<Database, 'transaction'>): Promise<number> {
  const rows = await asService(database, (tx) =>
    tx.execute<{ count: number }>(sql`
      select count(*)::int as count from (
        select from storage.object_versions v join storage.buckets b on b.id = v.bucket_id and b.object_lock
        where v.purge_at <= now() and v.kind <> 'delete_marker'
          and storage.lock_of(v.bucket_id, v.version, v.valid_from) is not null
        limit 100000
      ) locked`),
  )
  return rows[0]?.count ?? 0
}
