import { randomUUID } from 'node:crypto'
import { StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import type { Unfinished } from '../../backend.ts'
import { listKeys } from '../listing.ts'
import type { ObjectKeys } from '../object-keys.ts'
import { deleteObject, readObject } from '../objects.ts'
import type { Store } from '../store.ts'
import type { ByteSender } from '../writing/byte-sender.ts'

/** The newest bytes of a version that arrives in chunks, as long as they are too few for a part. */
export interface Tail {
  /** A UUID. */
  id: string
  /** In bytes. */
  size: number
}

export interface TailsOptions {
  store: Store
  keys: ObjectKeys
  sender: ByteSender
}

/**
 * Tails are small objects. Each is written once, under a name of its own, so that an older one is there until nobody
 * goes back to it.
 */
export class Tails {
  readonly #store: Store
  readonly #keys: ObjectKeys
  readonly #sender: ByteSender

  constructor({ store, keys, sender }: TailsOptions) {
    this.#store = store
    this.#keys = keys
    this.#sender = sender
  }

  /** @throws StorageFull, BackendUnavailable, BackendRefused */
  async write(at: Location, bytes: Uint8Array): Promise<Tail> {
    const tail = { id: randomUUID(), size: bytes.length }
    await this.#sender.put(this.#keys.ofTail(at, tail.id), bytes)
    return tail
  }

  /** Hands the bytes to `take`, some at a time. @throws MissingBytes, BackendUnavailable, BackendRefused */
  async read(at: Location, { id, size }: Tail, take: (bytes: Uint8Array[]) => Promise<void>): Promise<void> {
    const body = await readObject(this.#store, this.#keys.ofTail(at, id), { size, isShort: true })
    try {
      for await (const bytes of body) await take([bytes])
    } catch (error) {
      throw error instanceof StorageError ? error : new StorageError('BackendUnavailable', { cause: error })
    }
  }

  /** Removing none is a success. @throws BackendUnavailable, BackendRefused */
  async remove(at: Location, id: string): Promise<void> {
    await deleteObject(this.#store, this.#keys.ofTail(at, id))
  }

  /** Removes all of a version. @throws BackendUnavailable, BackendRefused */
  async removeAll(at: Location): Promise<void> {
    for await (const { key } of listKeys(this.#store, this.#keys.ofTails(at))) {
      await deleteObject(this.#store, key)
    }
  }

  /** All of all versions. @throws BackendUnavailable, BackendRefused */
  async *list(): AsyncGenerator<Unfinished> {
    for await (const { key, modifiedAt } of listKeys(this.#store, this.#keys.tails)) {
      const tail = this.#keys.tail(key)
      if (tail) yield { location: tail.location, id: `${UNFINISHED}${tail.id}`, startedAt: modifiedAt }
    }
  }

  /** Removes what `list` has named. Returns false when that was no tail. @throws BackendUnavailable, BackendRefused */
  async abandon({ location, id }: Unfinished): Promise<boolean> {
    if (!id.startsWith(UNFINISHED)) return false
    await this.remove(location, id.slice(UNFINISHED.length))
    return true
  }
}

/** Before the id of a tail among unfinished writes; no store begins the id of a multipart upload so. */
const UNFINISHED = 'tail:'
