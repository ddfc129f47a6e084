import { StorageError } from '../../model/errors.ts'

/** So often others may make the same object anew, each time at the wrong moment. */
const MOST_TRIES = 10

/** Says that a change has found nothing that it may change, and which row is there all the same. */
class Denied {
  constructor(readonly row: string) {}
}

/**
 * Makes a change to one object, which the policies may keep from the caller.
 *
 * A change that finds nothing, and a row that is there afterwards, look like a denial; but others may have deleted
 * the object and made it again between the two. So the change is tried again, and only one and the same row, met
 * twice, is kept by the policies.
 *
 * @param change returns what `deniedOrGone` returns, given the row that is there, when it has changed nothing
 * @throws NoSuchKey, KeptByRule; TransactionConflict when others are faster each time
 */
export async function unlessDenied<T>(
  change: (deniedOrGone: (row: string | null) => Denied) => Promise<T | Denied>,
): Promise<T> {
  const deniedOrGone = (row: string | null) => {
    if (row === null) throw new StorageError('NoSuchKey')
    return new Denied(row)
  }
  let before: string | undefined
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const result = await change(deniedOrGone)
    if (!(result instanceof Denied)) return result
    if (result.row === before) throw new StorageError('KeptByRule')
    before = result.row
  }
  throw new StorageError('TransactionConflict')
}
