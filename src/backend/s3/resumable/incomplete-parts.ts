import { randomUUID } from 'node:crypto'
import { StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import type { UnfinishedWrite } from '../../backend.ts'
import { listKeys } from '../listing.ts'
import type { ObjectKeys } from '../object-keys.ts'
import { deleteObject, readObject } from '../objects.ts'
import type { Store } from '../store.ts'
import type { ByteSender } from '../writing/byte-sender.ts'
import { abortUpload } from '../writing/multipart-upload.ts'

/** The newest bytes of a version that arrives in chunks, as long as they are too few for the store's own part. */
export interface IncompletePart {
  /** A UUID. */
  id: string
  /** In bytes. */
  size: number
}

export interface IncompletePartsOptions {
  store: Store
  keys: ObjectKeys
  sender: ByteSender
}

/**
 * Incomplete parts are small objects. Each is written once, under a name of its own, so that an older one is there until
 * nobody goes back to it. Beside them are the parts of versions that come in any order (`PartObjects`), which may be
 * large.
 */
export class IncompleteParts {
  readonly #store: Store
  readonly #keys: ObjectKeys
  readonly #sender: ByteSender

  constructor({ store, keys, sender }: IncompletePartsOptions) {
    this.#store = store
    this.#keys = keys
    this.#sender = sender
  }

  /** @throws StorageFull, BackendUnavailable, BackendRefused */
  async write(at: Location, bytes: Uint8Array): Promise<IncompletePart> {
    const part = { id: randomUUID(), size: bytes.length }
    await this.#sender.put(this.#keys.ofIncompletePart(at, part.id), bytes)
    return part
  }

  /** Hands the bytes to `take`, some at a time. @throws MissingBytes, BackendUnavailable, BackendRefused */
  async read(
    at: Location,
    { id, size }: IncompletePart,
    take: (bytes: Uint8Array[]) => Promise<void>,
  ): Promise<void> {
    const body = await readObject(this.#store, this.#keys.ofIncompletePart(at, id), { size, isShort: true })
    try {
      for await (const bytes of body) await take([bytes])
    } catch (error) {
      throw error instanceof StorageError ? error : new StorageError('BackendUnavailable', { cause: error })
    }
  }

  /** Removing none is a success. @throws BackendUnavailable, BackendRefused */
  async remove(at: Location, id: string): Promise<void> {
    await deleteObject(this.#store, this.#keys.ofIncompletePart(at, id))
  }

  /** Removes all of a version. @throws BackendUnavailable, BackendRefused */
  async removeAll(at: Location): Promise<void> {
    for await (const { key } of listKeys(this.#store, this.#keys.ofIncompleteParts(at))) {
      await deleteObject(this.#store, key)
    }
  }

  /** All of all versions. @throws BackendUnavailable, BackendRefused */
  async *list(): AsyncGenerator<UnfinishedWrite> {
    for await (const { key, modifiedAt } of listKeys(this.#store, this.#keys.incompleteParts)) {
      const part = this.#keys.incompletePart(key)
      if (!part) continue
      yield { location: part.location, id: `${UNFINISHED}${part.id}`, isPart: true, startedAt: modifiedAt }
    }
  }

  /** What a multipart upload is called among unfinished writes: one of a large part not as the others. */
  uploadId(key: string, id: string): string {
    const part = this.#keys.incompletePart(key)
    return part ? `${UNFINISHED}${part.id}/${id}` : id
  }

  /**
   * Removes what `list` or `uploadId` has named. Returns false when that was none of a part.
   *
   * @throws BackendUnavailable, BackendRefused
   */
  async abandon({ location, id }: UnfinishedWrite): Promise<boolean> {
    if (!id.startsWith(UNFINISHED)) return false
    const [, part = '', upload] = /^([^/]*)(?:\/(.*))?$/.exec(id.slice(UNFINISHED.length)) ?? []
    if (upload === undefined) await this.remove(location, part)
    else await abortUpload(this.#store, this.#keys.ofIncompletePart(location, part), upload)
    return true
  }
}

/** Before the id of an incomplete part among unfinished writes; no store begins the id of a multipart upload so. */
const UNFINISHED = 'tail:'
