import type { Store } from '../store.ts'
import { Background } from '../writing/background.ts'
import type { ByteSender } from '../writing/byte-sender.ts'
import { abortUpload, createUpload } from '../writing/multipart-upload.ts'
import type { PartBuffer } from '../writing/part-buffers.ts'

/** What the store has of a multipart upload, from its first part on and without a gap. */
export interface StoredParts {
  /** Null while there is no upload. */
  uploadId: string | null
  parts: number
  /** Of these parts, in bytes. */
  size: number
}

export interface PartSeriesOptions {
  store: Store
  sender: ByteSender
  key: string
  /** What is there before. */
  from: StoredParts
  /** How many parts are sent at once. */
  parallel: number
  /** Is told of parts that were stored; one call at a time. Not of each: what it was not told it hears with a later one. */
  onStored(stored: StoredParts): Promise<void>
}

/** Goes on with a multipart upload, or begins one with the first part that is added. */
export class PartSeries {
  readonly #options: PartSeriesOptions
  readonly #sending: Background
  #id: Promise<string> | undefined
  #stored: StoredParts
  /** The sizes of those after a gap. */
  readonly #ahead = new Map<number, number>()
  #last: number
  #isTelling = false
  #hasTold = false

  constructor(options: PartSeriesOptions) {
    this.#options = options
    this.#sending = new Background(options.parallel)
    this.#stored = options.from
    this.#last = options.from.parts
    if (options.from.uploadId !== null) this.#id = Promise.resolve(options.from.uploadId)
  }

  /** Whether there is an upload. */
  get isBegun(): boolean {
    return this.#id !== undefined
  }

  /**
   * Sends the next part in the background, and releases it. Resolves once there is room for one more.
   *
   * @throws what sending a part, or `onStored`, has thrown
   */
  async add(part: PartBuffer): Promise<void> {
    const number = ++this.#last
    await this.#sending.add((signal) => this.#send(number, part, signal))
  }

  /** All that was added, stored. @throws as `add` */
  async done(): Promise<StoredParts> {
    await this.#sending.done()
    return this.#stored
  }

  /** Resolves once nothing is under way any more. An upload of which nobody knows is given up, as far as possible. */
  async breakOff(reason: Error): Promise<void> {
    await this.#sending.breakOff(reason)
    const { store, key, from } = this.#options
    if (!this.#id || from.uploadId !== null || this.#hasTold) return
    try {
      await abortUpload(store, key, await this.#id)
    } catch {} // the cleanup finds it
  }

  async #send(PartNumber: number, part: PartBuffer, signal: AbortSignal): Promise<void> {
    const { store, key: Key, sender } = this.#options
    const { length } = part
    try {
      this.#id ??= createUpload(store, Key)
      const UploadId = await this.#id
      signal.throwIfAborted()
      await sender.part(part, { Bucket: store.bucket, Key, UploadId, PartNumber }, signal)
    } finally {
      await part.release()
    }
    this.#ahead.set(PartNumber, length)
    await this.#advance(await this.#id)
  }

  async #advance(uploadId: string): Promise<void> {
    const before = this.#stored
    for (let next = before.parts + 1; this.#ahead.has(next); next++) {
      const size = this.#stored.size + (this.#ahead.get(next) ?? 0)
      this.#stored = { uploadId, parts: next, size }
      this.#ahead.delete(next)
    }
    if (this.#stored === before || this.#isTelling) return
    this.#isTelling = true
    this.#hasTold = true
    try {
      await this.#options.onStored(this.#stored)
    } finally {
      this.#isTelling = false
    }
  }
}
