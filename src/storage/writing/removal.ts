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
  parts: Parts,
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

/** Why an object is still there, by its name. */
export type Kept = Map<string, StorageError>

/** What became of names, as of each alone: one that is in neither was not there. */
export interface Removed {
  /** The ids of those objects that are gone, by their names. */
  deleted: Map<string, string>
  kept: Kept
}

/**
 * Deletes what there is of these names, all or, when a rule speaks, none.
 *
 * @returns the bytes that are to be removed, what was deleted, and what the policies have kept: as `unlessDenied`, only one and the same
 *   row, met twice
 * @throws what a trigger or a reference says of any of them; nothing is deleted then
 */
export async function deleteUnlessKept(
  parts: Parts,
  caller: Caller,
  bucket: string,
  names: string[],
): Promise<Removed & { removals: Location[] }> {
  const { database, tellsOfHidden } = parts
  const removals: Location[] = []
  const gone = new Map<string, string>()
  const kept: Kept = new Map()
  let left = names
  let before = new Map<string, string>()
  for (let tries = 0; left.length > 0; tries++) {
    const commit = () => deleteObjects(database, caller, bucket, left, tellsOfHidden ? 'all' : 'seen')
    const { deleted, there, removals: own } = await withInvalidation(parts, [{ bucket, names: left }], commit)
    removals.push(...own)
    for (const { name, id } of deleted) {
      there.delete(name ?? '') // made anew by a trigger
      gone.set(name ?? '', id)
    }
    for (const [name, id] of there) {
      if (before.get(name) === id) kept.set(name, new StorageError('KeptByRule'))
      else if (tries === MOST_TRIES) kept.set(name, new StorageError('TransactionConflict'))
    }
    left = [...there.keys()].filter((name) => !kept.has(name))
    before = there
  }
  return { removals, deleted: gone, kept }
}
