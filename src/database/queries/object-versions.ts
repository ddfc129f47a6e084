import type { Transaction } from '../connection/drizzle.ts'
import { Statement } from '../connection/statement.ts'

/**
 * Deletes up to `limit` versions, markers and things in the trash of a bucket, which were there at `before`. For the service.
 *
 * @returns how many
 * @throws ObjectLocked
 */
export async function deleteHistory(
  tx: Transaction,
  bucketId: string,
  before: string,
  limit: number,
): Promise<number> {
  return (await tx.run(DELETE_HISTORY, { bucketId, before, limit })).count
}

const DELETE_HISTORY = new Statement<{ bucketId: string; before: string; limit: number }, object>(`
  delete from storage.object_versions where sequence in (
    select sequence from storage.object_versions
    where bucket_id = :bucketId and archived_at <= :before::timestamptz limit :limit
  )`)
