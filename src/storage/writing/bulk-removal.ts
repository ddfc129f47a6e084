import { asCaller, becomeService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { ownRemovals } from '../../database/queries/listed-versions.ts'
import { deleteObjects, findObjectIds } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'

/** So often others may make objects anew between their deletion and the look at what is left. */
const MOST_TRIES = 10

interface Parts {
  database: Database
  invalidate: Invalidate
  /** Whether who may not delete an object hears that it is there, even if he may not see it (wire §3.8). */
  tellsOfHidden: boolean
}

/** Why an object is still there, by its name. */
export type Kept = Map<string, StorageError>

/**
 * Deletes what there is of these names, in one transaction.
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
    const commit = () =>
      asCaller(database, caller, async (tx) => {
        const rows = await deleteObjects(tx, bucket, left)
        const own = await ownRemovals(tx)
        const gone = new Set(rows.map(({ name }) => name))
        const absent = left.filter((name) => !gone.has(name))
        if (absent.length === 0) return { own, there: new Map<string, string>() }
        if (tellsOfHidden) await becomeService(tx)
        return { own, there: await findObjectIds(tx, bucket, absent) }
      })
    const { own, there } = await withInvalidation(parts, [{ bucket, names: left }], commit)
    removals.push(...own)
    for (const [name, id] of there) {
      if (before.get(name) === id) kept.set(name, new StorageError('KeptByRule'))
      else if (tries === MOST_TRIES) kept.set(name, new StorageError('TransactionConflict'))
    }
    left = [...there.keys()].filter((name) => !kept.has(name))
    before = there
  }
  return { removals, kept }
}
