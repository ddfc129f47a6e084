import { createHash, randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type CompletedPart, PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { StorageError } from '../../errors.ts'
import type { WriteOptions, Written } from '../backend.ts'
import { drain } from '../drain.ts'
import { MultipartUpload, type PartTarget } from './multipart-upload.ts'
import { existsAlready, isWrittenBy } from './object-head.ts'
import type { PartBuffer, PartBuffers } from './part-buffers.ts'
import { PartCutter } from './part-cutter.ts'
import type { Store } from './store.ts'
import { refusal, storeCode } from './store-errors.ts'

export interface ObjectWriterOptions {
  store: Store
  buffers: PartBuffers
  /** How many parts of one object are sent at once. */
  parallel: number
}

/**
 * Writes objects: with one PUT what fits into one part, the rest as multipart uploads. Every request has its bytes at
 * hand, so that it can be tried again; its signature has their SHA-256, by which the store knows that they arrived.
 */
export class ObjectWriter {
  readonly #options: ObjectWriterOptions
  readonly #store: Store
  /** Not every store knows the condition; one that does not says so the first time. */
  #canPutIfAbsent = true
  /** How many streams are being written now. */
  #streams = 0

  constructor(options: ObjectWriterOptions) {
    this.#options = options
    this.#store = options.store
  }

  /** @throws EntityTooLarge, StorageFull, BackendUnavailable, BackendRefused */
  async write(key: string, bytes: Uint8Array, { maxBytes, sha256: known }: WriteOptions): Promise<Written> {
    if (bytes.length > maxBytes) throw new StorageError('EntityTooLarge')
    const sha256 = known ?? createHash('sha256').update(bytes).digest('hex')
    await this.#put(key, bytes, sha256)
    return { size: bytes.length, sha256 }
  }

  /** @throws EntityTooLarge, StorageFull, BackendUnavailable, BackendRefused, the stream's own error */
  async writeStream(key: string, body: Readable, options: WriteOptions): Promise<Written> {
    body.on('error', () => {}) // it may break before `drain` listens, which then finds it broken
    const { maxBytes, sha256 } = options
    const { store, buffers, parallel } = this.#options
    const metadata: Record<string, string> = sha256 === undefined ? {} : { sha256 }
    const upload = new MultipartUpload({ store, key, metadata, parallel })
    const cutter = new PartCutter(buffers, (part) =>
      upload.add(
        (target, signal) => this.#sendPart(part, target, signal),
        () => part.release(),
      ),
    )
    this.#streams++
    try {
      const written = await drain(body, {
        maxBytes,
        batchBytes: () => Math.min(BATCH, Math.max(SMALLEST_BATCH, GATHERED / this.#streams)),
        write: (batch) => cutter.take(batch),
      })
      if (upload.isBegun) {
        await cutter.sendRest()
        await upload.complete()
      } else {
        await this.#put(key, await cutter.rest(), written.sha256)
      }
      return written
    } catch (error) {
      await upload.abort()
      throw error
    } finally {
      this.#streams--
      await cutter.release()
    }
  }

  /** All bytes in one request. */
  async #put(key: string, bytes: Uint8Array, sha256: string): Promise<void> {
    const writeId = randomUUID()
    const put = () =>
      new PutObjectCommand({
        Bucket: this.#store.bucket,
        Key: key,
        Body: bytes,
        Metadata: { sha256, write: writeId },
        ...(this.#canPutIfAbsent && { IfNoneMatch: '*' }),
        ...(this.#store.sendsChecksums && { ChecksumSHA256: Buffer.from(sha256, 'hex').toString('base64') }),
      })
    try {
      this.#expectStored(await this.#store.send(put(), { bringsBytes: true }))
    } catch (error) {
      const code = storeCode(error)
      if (code === 'NotImplemented' && this.#canPutIfAbsent) {
        this.#canPutIfAbsent = false
        this.#expectStored(await this.#store.send(put(), { bringsBytes: true }))
      } else if (code !== 'PreconditionFailed') {
        throw error
      } else if (!(await isWrittenBy(this.#store, key, writeId))) {
        // If it is ours, an earlier attempt was made, and its answer was lost.
        throw existsAlready(key)
      }
    }
  }

  async #sendPart(part: PartBuffer, target: PartTarget, signal: AbortSignal): Promise<CompletedPart> {
    const stored = await this.#store.send(
      new UploadPartCommand({
        ...target,
        Body: await part.content(),
        ...(this.#store.sendsChecksums && { ChecksumAlgorithm: 'SHA256' }),
      }),
      { bringsBytes: true, signal },
    )
    this.#expectStored(stored)
    return { ETag: stored.ETag, ChecksumSHA256: stored.ChecksumSHA256 }
  }

  /** A web server that is no store may well answer 200 to a PUT, but does not know what an object is. */
  #expectStored({ ETag }: { ETag?: string | undefined }): void {
    if (ETag !== undefined) return
    throw refusal('The answer to an upload has no ETag: is STORAGE_S3_ENDPOINT an S3 store?')
  }
}

/** Gathered before it is put into a part. In bytes. */
const BATCH = 512 * 1024

/** What all uploads together may gather: with many at once, each has smaller batches. */
const GATHERED = 16 * 1024 * 1024

/** Most uploads are smaller than this, and are sent as they were gathered. */
const SMALLEST_BATCH = 32 * 1024
