import { sql } from 'drizzle-orm'
import type { AutoDeletion } from '../../model/auto-deletion.ts'
import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { dateOrNull, textArray } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { ownRemovals } from './listed-versions.ts'

/** What rows say of it. */
export interface AutoDeletionColumns {
  auto_delete_after_days: number | null
  auto_delete_at: string | null
}

/** Null for an object that stays. */
export function autoDeletionOf(row: AutoDeletionColumns): AutoDeletion | null {
  return row.auto_delete_after_days === null
    ? null
    : { days: row.auto_delete_after_days, at: dateOrNull(row.auto_delete_at) }
}

/** An object whose time has come. */
export interface DueObject {
  id: string
  bucketId: string
  name: string
  /** The place among those that are due. */
  at: string
}

/** Up to `limit` objects whose time has come, behind one of them, in the order of their times. */
export async function dueObjects(
  database: Database,
  after: DueObject | undefined,
  limit: number,
): Promise<DueObject[]> {
  return asService(database, async (tx) => {
    const rows = await tx.run(DUE, { afterAt: after?.at ?? '-infinity', afterId: after?.id ?? NIL, limit })
    return rows.map(({ id, bucket_id: bucketId, name, at }) => ({ id, bucketId, name, at }))
  })
}

const NIL = '00000000-0000-0000-0000-000000000000'

const DUE = new Statement<
  { afterAt: string; afterId: string; limit: number },
  { id: string; bucket_id: string; name: string; at: string }
>(`
  select id, bucket_id, name, auto_delete_at::text as at from storage.objects
  where auto_delete_at <= now() and (auto_delete_at, id) > (:afterAt::timestamptz, :afterId::uuid)
    and bucket_id is not null and name is not null
  order by auto_delete_at, id limit :limit`)

/**
 * Deletes these as far as their time has still come, as their buckets say; leaves alone what somebody else has in hand.
 *
 * @throws what a trigger or a reference says of any of them; nothing is deleted then
 */
export function deleteDue(
  database: Database,
  ids: string[],
): Promise<{ deleted: Pick<DueObject, 'bucketId' | 'name'>[]; removals: Location[] }> {
  return asService(database, async (tx) => {
    await tx.execute(sql`select set_config('storage.operation', 'storage.object.auto_delete', true)`)
    const rows = await tx.execute<{ bucket_id: string; name: string }>(sql`
      delete from storage.objects where id in (
        select o.id from storage.objects o
        where o.id = any (${textArray(ids)}::uuid[]) and o.auto_delete_at <= now()
        for update skip locked
      )
      returning bucket_id, name`)
    const deleted = rows.map(({ bucket_id: bucketId, name }) => ({ bucketId, name }))
    return { deleted, removals: await ownRemovals(tx) }
  })
}
