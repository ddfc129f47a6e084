import type { Readable } from 'node:stream'
import { BatchSize } from '../../backend/batch-size.ts'
import { listAllUploads, listFolders, listKeys } from '../../backend/s3/listing.ts'
import { deleteObject, headObject, readObject } from '../../backend/s3/objects.ts'
import { Store } from '../../backend/s3/store.ts'
import { storeCode } from '../../backend/s3/store-errors.ts'
import { ByteSender } from '../../backend/s3/writing/byte-sender.ts'
import { abortUpload } from '../../backend/s3/writing/multipart-upload.ts'
import { ObjectWriter } from '../../backend/s3/writing/object-writer.ts'
import { PartBuffers } from '../../backend/s3/writing/part-buffers.ts'
import { MAX_PARTS, type S3Settings } from '../../config/s3.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { BackupError } from './backup-error.ts'
import {
  checkPath,
  checkPrefix,
  type ListedFile,
  type TargetPlace,
  UNFINISHED,
  unfinishedName,
  type WrittenFile,
} from './target.ts'

export interface S3TargetOptions {
  /** What the operator calls it. */
  name: string
  /** The prefix ends with a slash, or is empty. */
  settings: S3Settings
  /** Where parts of files wait for which there is no memory. Made when missing. */
  spoolDir: string
  /** How many files are listed with one request; as many as the store likes when absent. */
  keysPerPage?: number
}

/**
 * How many files are removed at once, each by a request of its own: not every store knows the one for many, and some want a
 * checksum of it that others refuse.
 */
const REMOVALS_AT_ONCE = 16

/**
 * A target below a prefix of a bucket in an S3-compatible store. A file appears whole or not at all; what a killed write
 * leaves is a multipart upload without an end, which `removeUnfinished` ends.
 */
export class S3Target implements TargetPlace {
  readonly name: string
  readonly #options: S3TargetOptions
  readonly #store: Store
  readonly #prefix: string
  #madeWriter: ObjectWriter | undefined

  constructor(options: S3TargetOptions) {
    this.name = options.name
    this.#options = options
    this.#store = new Store(options.settings)
    this.#prefix = options.settings.prefix
  }

  async write(path: string, body: Readable | Uint8Array): Promise<WrittenFile> {
    const key = this.#keyOf(path)
    const maxBytes = this.#options.settings.partSize * MAX_PARTS
    try {
      if (body instanceof Uint8Array) return await this.#writer.write(key, body, { maxBytes })
      return await this.#writer.writeStream(key, body, { maxBytes })
    } catch (error) {
      if (!(body instanceof Uint8Array)) body.destroy()
      if (!hasCode(error, 'EntityTooLarge')) throw this.#fault(error)
      const sentence = `${path} is too large for ${this.name}: set a larger STORAGE_S3_PART_SIZE`
      throw new BackupError('TargetUnavailable', sentence, { cause: error })
    }
  }

  async read(path: string): Promise<Readable> {
    try {
      return await readObject(this.#store, this.#keyOf(path))
    } catch (error) {
      if (!hasCode(error, 'MissingBytes')) throw this.#fault(error)
      throw new BackupError('MissingBackupFile', `${path} is missing in ${this.name}`, { cause: error })
    }
  }

  async exists(path: string): Promise<number | null> {
    const found = await this.#inOurWords(headObject(this.#store, this.#keyOf(path)))
    return found?.size ?? null
  }

  async *list(prefix: string): AsyncGenerator<ListedFile> {
    checkPrefix(prefix)
    try {
      const { keysPerPage } = this.#options
      for await (const { key, ...rest } of listKeys(this.#store, `${this.#prefix}${prefix}`, keysPerPage)) {
        yield { path: key.slice(this.#prefix.length), ...rest }
      }
    } catch (error) {
      throw this.#fault(error)
    }
  }

  folders(): Promise<string[]> {
    return this.#inOurWords(listFolders(this.#store, this.#prefix))
  }

  async unfinishedFolders(): Promise<string[]> {
    const found = new Set<string>()
    const lookAtAll = async () => {
      for await (const { key } of listAllUploads(this.#store, this.#prefix)) {
        const [folder = '', ...below] = key.slice(this.#prefix.length).split('/')
        if (below.length > 0) found.add(folder)
      }
    }
    await this.#inOurWords(lookAtAll())
    return [...found]
  }

  async isEmpty(): Promise<boolean> {
    for await (const _ of this.list('')) return false
    return true
  }

  async remove(path: string): Promise<void> {
    await this.#inOurWords(deleteObject(this.#store, this.#keyOf(path)))
  }

  async removeAll(prefix: string): Promise<void> {
    if (prefix === '') throw new Error('A whole target is not removed')
    let batch: string[] = []
    const removeBatch = async () => {
      await forEachConcurrent(REMOVALS_AT_ONCE, batch, (path) => this.#removeListed(path))
      batch = []
    }
    for await (const { path } of this.list(prefix)) {
      batch.push(path)
      if (batch.length >= 1000) await removeBatch()
    }
    await removeBatch()
    await this.removeUnfinished(prefix)
  }

  async removeUnfinished(prefix: string): Promise<void> {
    checkPrefix(prefix)
    const abortAll = async () => {
      const uploads = listAllUploads(this.#store, `${this.#prefix}${prefix}`)
      for await (const { key, id } of uploads) await abortUpload(this.#store, key, id)
    }
    await this.#inOurWords(abortAll())
  }

  async check(): Promise<void> {
    const key = `${this.#prefix}${unfinishedName('check')}`
    const writeAndRemove = async () => {
      const left = listKeys(this.#store, `${this.#prefix}check${UNFINISHED}`) // by who was killed at this moment
      for await (const { key } of left) await deleteObject(this.#store, key)
      await this.#writer.write(key, Buffer.from('check'), { maxBytes: 5 })
      await deleteObject(this.#store, key)
    }
    await this.#inOurWords(writeAndRemove())
  }

  async close(): Promise<void> {
    this.#store.close()
  }

  /** The only place where a path becomes a key of the store. */
  #keyOf(path: string): string {
    checkPath(path)
    return `${this.#prefix}${path}`
  }

  /** Somebody else's keys below the prefix may be called anything. */
  async #removeListed(path: string): Promise<void> {
    await this.#inOurWords(deleteObject(this.#store, `${this.#prefix}${path}`))
  }

  /** Made by the first who writes, as others need no folder. */
  get #writer(): ObjectWriter {
    if (this.#madeWriter) return this.#madeWriter
    const { spoolDir: folder, settings } = this.#options
    const { partSize, bufferSize: memory, parallelParts: parallel } = settings
    this.#madeWriter = new ObjectWriter({
      store: this.#store,
      sender: new ByteSender(this.#store),
      buffers: new PartBuffers({ partSize, memory, folder }),
      batchSize: new BatchSize(),
      parallel,
      replaces: true,
    })
    return this.#madeWriter
  }

  async #inOurWords<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      throw this.#fault(error)
    }
  }

  /** The store's errors, with the target's name in the sentence. */
  #fault(error: unknown): unknown {
    if (!(error instanceof StorageError)) return error
    if (error.code === 'StorageFull') {
      return new StorageError('StorageFull', { message: `${this.name} has no room left`, cause: error })
    }
    const isGone = storeCode(error) === 'NoSuchBucket'
    const reason = isGone ? 'the store has no such bucket: make it first' : error.reason
    return new BackupError('TargetUnavailable', `${this.name} cannot be used: ${reason}`, { cause: error })
  }
}
