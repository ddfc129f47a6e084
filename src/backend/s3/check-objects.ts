import { text } from 'node:stream/consumers'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { StorageError } from '../../model/errors.ts'
import type { UnfinishedCheck } from '../backend.ts'
import { newCheckName } from '../check-name.ts'
import { listKeys } from './listing.ts'
import type { ObjectKeys } from './object-keys.ts'
import { deleteObject, readObject } from './objects.ts'
import type { Store } from './store.ts'
import { abortUpload } from './writing/multipart-upload.ts'

export interface CheckObjectsOptions {
  store: Store
  keys: ObjectKeys
}

/** Objects of a few bytes by which it is found out what the store does, and multipart uploads that are begun for that. */
export class CheckObjects {
  readonly #store: Store
  readonly #keys: ObjectKeys

  constructor({ store, keys }: CheckObjectsOptions) {
    this.#store = store
    this.#keys = keys
  }

  /** As `Backend.check`. */
  async run(): Promise<void> {
    const Body = newCheckName()
    const Key = this.#keys.ofCheck(Body)
    await this.#store.send(new PutObjectCommand({ Bucket: this.#store.bucket, Key, Body }))
    const read = await this.#read(Key).catch(async (error: unknown) => {
      await deleteObject(this.#store, Key).catch(() => {}) // the first error tells more
      throw error
    })
    await deleteObject(this.#store, Key)
    if (read !== Body) {
      const cause = new Error('The store gave something else back than what was written')
      throw new StorageError('BackendUnavailable', { cause })
    }
  }

  /**
   * All objects that there are, of checks that run now and of those that were killed.
   *
   * @throws BackendUnavailable, BackendRefused
   */
  async *list(): AsyncGenerator<UnfinishedCheck> {
    for await (const { key, modifiedAt: startedAt } of listKeys(this.#store, this.#keys.checks)) {
      const id = this.#keys.check(key)
      if (id !== null) yield { location: null, id, startedAt }
    }
  }

  /** What a check's multipart upload is called among unfinished writes. */
  uploadId(key: string, id: string): string {
    return `${this.#keys.check(key)}/${id}`
  }

  /** Removes what `list` or `uploadId` has named. @throws BackendUnavailable, BackendRefused */
  async abandon(id: string): Promise<void> {
    const [, name = '', upload] = /^([^/]*)(?:\/(.*))?$/.exec(id) ?? []
    const key = this.#keys.ofCheck(name)
    if (upload === undefined) await deleteObject(this.#store, key)
    else await abortUpload(this.#store, key, upload)
  }

  async #read(key: string): Promise<string> {
    try {
      return await text(await readObject(this.#store, key, { isShort: true }))
    } catch (error) {
      throw error instanceof StorageError ? error : new StorageError('BackendUnavailable', { cause: error })
    }
  }
}
