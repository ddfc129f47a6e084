import { randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
} from '@aws-sdk/client-s3'
import { StorageError } from '../../../model/errors.ts'
import { isWrittenBy, refuseExisting } from '../objects.ts'
import type { Store } from '../store.ts'
import { storeCode } from '../store-errors.ts'
import { Background } from './background.ts'

export interface MultipartUploadOptions {
  store: Store
  key: string
  metadata: Record<string, string>
  /** How many parts are sent at once. */
  parallel: number
  /** Whether an object that is there already is replaced; otherwise it is a bug. */
  replaces?: boolean
}

/** Where a part belongs. */
export interface PartTarget {
  Bucket: string
  Key: string
  UploadId: string
  /** Counted from 1. */
  PartNumber: number
}

/** Sends a part. @param signal is aborted when the whole upload is */
export type SendPart = (target: PartTarget, signal: AbortSignal) => Promise<CompletedPart>

/** One object in the making, part by part. Ends with `complete` or `abort`; nobody sees it before it is complete. */
export class MultipartUpload {
  readonly #options: MultipartUploadOptions
  readonly #writeId = randomUUID()
  readonly #sending: Background
  readonly #parts: CompletedPart[] = []
  #id: Promise<string> | undefined
  #started = 0

  constructor(options: MultipartUploadOptions) {
    this.#options = options
    this.#sending = new Background(options.parallel)
  }

  /** Whether any part was added. */
  get isBegun(): boolean {
    return this.#started > 0
  }

  /**
   * Sends the next part with `send`, in the background. Resolves once there is room for one more.
   *
   * @param done is called when the part needs its bytes no more, however that came about
   * @throws what sending this part or an earlier one has thrown
   */
  async add(send: SendPart, done: () => Promise<void> = async () => {}): Promise<void> {
    const number = ++this.#started
    await this.#sending.add((signal) => this.#send(number, send, signal).finally(done))
  }

  /** @throws what sending a part has thrown; StorageFull, BackendUnavailable, BackendRefused */
  async complete(): Promise<void> {
    await this.#sending.done()
    const { store, key: Key } = this.#options
    const UploadId = await this.#create()
    const Parts = this.#parts.sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0))
    const input = { Bucket: store.bucket, Key, UploadId, MultipartUpload: { Parts } }
    try {
      await store.send(new CompleteMultipartUploadCommand(input), { longWork: true })
    } catch (error) {
      // An attempt whose answer was lost may have completed it, and there is nothing left to complete.
      if (storeCode(error) !== 'NoSuchUpload' || !(await isWrittenBy(store, Key, this.#writeId))) throw error
    }
  }

  /** Gives the upload up. Never fails: what stays in the store is found by the cleanup. */
  async abort(): Promise<void> {
    // A part that arrived after the abort might stay for ever.
    await this.#sending.breakOff(new StorageError('BackendUnavailable'))
    if (!this.#id) return
    const { store, key } = this.#options
    try {
      await abortUpload(store, key, await this.#id)
    } catch {}
  }

  async #send(PartNumber: number, send: SendPart, signal: AbortSignal): Promise<void> {
    const { store, key: Key } = this.#options
    const UploadId = await this.#create()
    signal.throwIfAborted()
    const part = await send({ Bucket: store.bucket, Key, UploadId, PartNumber }, signal)
    this.#parts.push({ ...part, PartNumber })
  }

  #create(): Promise<string> {
    this.#id ??= this.#createNow()
    return this.#id
  }

  async #createNow(): Promise<string> {
    const { store, key, metadata, replaces = false } = this.#options
    if (!replaces) await refuseExisting(store, key)
    return createUpload(store, key, { ...metadata, write: this.#writeId })
  }
}

/** Begins a multipart upload. Returns its id. @throws BackendUnavailable, BackendRefused */
export async function createUpload(
  store: Store,
  key: string,
  metadata: Record<string, string> = {},
): Promise<string> {
  const { UploadId } = await store.send(
    new CreateMultipartUploadCommand({
      Bucket: store.bucket,
      Key: key,
      Metadata: metadata,
      ...(store.sendsChecksums && { ChecksumAlgorithm: 'SHA256' }),
    }),
  )
  if (UploadId === undefined) throw new Error('the store has begun an upload without an id')
  return UploadId
}

/** Gives up a multipart upload; one that is not there is a success. @throws BackendUnavailable, BackendRefused */
export async function abortUpload(store: Store, key: string, id: string): Promise<void> {
  try {
    await store.send(new AbortMultipartUploadCommand({ Bucket: store.bucket, Key: key, UploadId: id }))
  } catch (error) {
    if (storeCode(error) !== 'NoSuchUpload') throw error
  }
}
