import type { Database } from '../database/connection/client.ts'
import { type FoundLock, setLock } from '../database/queries/object-locks.ts'
import type { Caller } from '../model/caller.ts'
import { StorageError } from '../model/errors.ts'
import type { NewLock } from '../model/object-lock.ts'
import type { WantedVersion } from '../model/version-id.ts'

export interface LockTarget {
  bucket: string
  name: string
  /** Undefined: what the name has now. */
  version?: WantedVersion | undefined
}

/**
 * Locks of versions (decision 0071): whoever may change an object locks it, and nobody here makes a lock shorter. It is no event and
 * nothing that a server remembers: the object stays as it is.
 */
export class ObjectLocks {
  readonly #database: Database

  constructor({ database }: { database: Database }) {
    this.#database = database
  }

  /** @throws NoSuchKey, NoSuchVersion, MethodNotAllowed for a marker */
  find(caller: Caller, target: LockTarget): Promise<FoundLock> {
    return this.#ask(caller, target, {})
  }

  /**
   * Locks a version for longer than it is.
   *
   * @throws ObjectLocked when that would be shorter; InvalidParameter for a time that is over, and where nothing can be locked;
   *   KeptByRule, and as `find`
   */
  lock(caller: Caller, target: LockTarget, lock: NewLock): Promise<FoundLock> {
    return this.#ask(caller, target, lock)
  }

  async #ask(caller: Caller, { bucket, name, version }: LockTarget, lock: NewLock): Promise<FoundLock> {
    const found = await setLock(this.#database, caller, { bucketId: bucket, name }, version, lock)
    if (found === null) throw new StorageError(version === undefined ? 'NoSuchKey' : 'NoSuchVersion')
    if (found === 'kept') throw new StorageError('KeptByRule')
    if (found === 'marker') {
      const message = 'This is a delete marker, which has nothing to lock'
      throw new StorageError('MethodNotAllowed', { message })
    }
    return found
  }
}
