import { asCaller, becomeService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { deleteObjects, type Marker, ownMarker } from '../../database/queries/delete-objects.ts'
import { type Deletion, sayDeletion } from '../../database/queries/deletion.ts'
import { ownRemovals } from '../../database/queries/listed-versions.ts'
import { deleteObject, findRow } from '../../database/queries/objects.ts'
import { settleBoth } from '../../lib/concurrency.ts'
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
export interface Gone {
  id: string
  /** What says so, in a bucket that keeps versions. */
  marker: Marker | null
}

interface Done extends Gone {
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
  deletion: Deletion,
): Promise<Done> {
  const { database, tellsOfHidden } = parts
  const commit = () =>
    unlessDenied<Done>(async (deniedOrGone) => {
      if (condition) {
        return asCaller(database, caller, async (tx) => {
          await sayDeletion(tx, deletion)
          const place = { bucketId: bucket, name }
          const row = await deleteObject(tx, place)
          if (row) {
            demand(condition, validatorsOf(row))
            const leaving = ownRemovals(tx)
            if (!row.keepsVersions) return { id: row.id, marker: null, removals: await leaving }
            const [removals, marker] = await settleBoth(leaving, ownMarker(tx, place, row.id))
            return { id: row.id, marker, removals }
          }
          if (tellsOfHidden) await becomeService(tx)
          return deniedOrGone(await findRow(tx, bucket, name))
        })
      }
      const looking = tellsOfHidden ? 'all' : 'seen'
      const done = await deleteObjects(database, caller, bucket, [name], [name], looking, deletion)
      const [row] = done.deleted
      const marker = done.markers.get(name) ?? null
      const id = row?.id ?? marker?.objectId
      if (id === undefined) return deniedOrGone(done.there.get(name) ?? null)
      return { id, marker, removals: done.removals }
    })
  return withInvalidation(parts, [{ bucket, names: [name] }], commit)
}
