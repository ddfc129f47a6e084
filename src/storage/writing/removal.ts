import { asCaller, becomeService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { deleteObjects } from '../../database/queries/delete-objects.ts'
import { ownRemovals } from '../../database/queries/listed-versions.ts'
import { deleteObject, findObjectId } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'
import { validatorsOf } from '../object/stored-object.ts'
import { unlessDenied } from './denied-or-gone.ts'

export interface RemovalParts {
  database: Database
  invalidate: Invalidate
  /** Whether who may not delete an object hears that it is there, even if he may not see it (wire §3.8). */
  tellsOfHidden: boolean
}

/** An object that is gone. */
interface Deletion {
  id: string
  /** The bytes that are to be removed. */
  removals: Location[]
}

/**
 * Deletes an object, in one call unless a condition has to be judged.
 *
 * @throws NoSuchKey, KeptByRule, ResourceReferenced, PreconditionFailed
 */
export function deleteOne(
  parts: RemovalParts,
  caller: Caller,
  bucket: string,
  name: string,
  condition: WriteCondition | undefined,
): Promise<Deletion> {
  const { database, tellsOfHidden } = parts
  const commit = () =>
    unlessDenied<Deletion>(async (deniedOrGone) => {
      if (condition) {
        return asCaller(database, caller, async (tx) => {
          const row = await deleteObject(tx, { bucketId: bucket, name })
          if (row) {
            demand(condition, validatorsOf(row))
            return { id: row.id, removals: await ownRemovals(tx) }
          }
          if (tellsOfHidden) await becomeService(tx)
          return deniedOrGone(await findObjectId(tx, bucket, name))
        })
      }
      const done = await deleteObjects(database, caller, bucket, [name], tellsOfHidden ? 'all' : 'seen')
      const [row] = done.deleted
      return row ? { id: row.id, removals: done.removals } : deniedOrGone(done.there.get(name) ?? null)
    })
  return withInvalidation(parts, [{ bucket, names: [name] }], commit)
}
