import { asCaller, becomeService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { deleteObjects } from '../../database/queries/delete-objects.ts'
import { ownRemovals } from '../../database/queries/listed-versions.ts'
import { deleteObject, findObjectId } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'
import { validatorsOf } from '../object/stored-object.ts'
import { unlessDenied } from './denied-or-gone.ts'

/** So often others may make objects anew between their deletion and the look at what is left. */
const MOST_TRIES = 10

interface Parts {
  database: Database
  invalidate: Invalidate
  /** Whether who may not delete an object hears that it is there, even if he may not see it (wire §3.8). */
  tellsOfHidden: boolean
}

/**
 * Deletes an object, in one call unless a condition has to be judged.
 *
 * @returns the bytes that are to be removed
 * @throws NoSuchKey, KeptByRule, ResourceReferenced, PreconditionFailed
 */
export function deleteOne(
  parts: Parts,
  caller: Caller,
  bucket: string,
  name: string,
  condition: WriteCondition | undefined,
): Promise<Location[]> {
  const { database, tellsOfHidden } = parts
  const commit = () =>
    unlessDenied(async (deniedOrGone) => {
      if (condition) {
        return asCaller(database, caller, async (tx) => {
          const row = await deleteObject(tx, { bucketId: bucket, name })
          if (row) {
            demand(condition, validatorsOf(row))
            return ownRemovals(tx)
          }
          if (tellsOfHidden) await becomeService(tx)
          return deniedOrGone(await findObjectId(tx, bucket, name))
        })
      }
      const done = await deleteObjects(database, caller, bucket, [name], tellsOfHidden ? 'all' : 'seen')
      return done.deleted.length > 0 ? done.removals : deniedOrGone(done.there.get(name) ?? null)
    })
  return withInvalidation(parts, [{ bucket, names: [name] }], commit)
}

/** Why an object is still there, by its name. */
export type Kept = Map<string, StorageError>

/**
 * Deletes what there is of these names, all or, when a rule speaks, none.
 *
 * @returns the bytes that are to be removed, and what the policies have kept: as `unlessDenied`, only one and the same
 *   row, met twice
 * @throws what a trigger or a reference says of any of them; nothing is deleted then
 */
export async function deleteUnlessKept(
  parts: Parts,
  caller: Caller,
  bucket: string,
  names: string[],
): Promise<{ removals: Location[]; kept: Kept }> {
  const { database, tellsOfHidden } = parts
  const removals: Location[] = []
  const kept: Kept = new Map()
  let left = names
  let before = new Map<string, string>()
  for (let tries = 0; left.length > 0; tries++) {
    const commit = () => deleteObjects(database, caller, bucket, left, tellsOfHidden ? 'all' : 'seen')
    const { deleted, there, removals: own } = await withInvalidation(parts, [{ bucket, names: left }], commit)
    removals.push(...own)
    for (const { name } of deleted) there.delete(name ?? '') // made anew by a trigger
    for (const [name, id] of there) {
      if (before.get(name) === id) kept.set(name, new StorageError('KeptByRule'))
      else if (tries === MOST_TRIES) kept.set(name, new StorageError('TransactionConflict'))
    }
    left = [...there.keys()].filter((name) => !kept.has(name))
    before = there
  }
  return { removals, kept }
}
