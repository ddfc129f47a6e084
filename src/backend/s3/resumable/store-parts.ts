import type { Readable } from 'node:stream'
import { type CompletedPart, CompleteMultipartUploadCommand } from '@aws-sdk/client-s3'
import { z } from 'zod'
import { MIN_PART } from '../../../config/s3.ts'
import { StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import type { Part, PartOptions } from '../../resumable-backend.ts'
import { headObject } from '../objects.ts'
import { storeCode } from '../store-errors.ts'
import { Background } from '../writing/background.ts'
import { createUpload, type PartTarget, type SendPart } from '../writing/multipart-upload.ts'
import type { PartBuffer } from '../writing/part-buffers.ts'
import { PassingParts, type PassingPartsOptions } from './passing-parts.ts'
import { type BegunUpload, listParts, type UploadedPart } from './uploaded-parts.ts'

export interface StorePartsOptions extends PassingPartsOptions {
  /** How many parts are copied at once. */
  parallel: number
  /** How many parts are listed at once; as many as the store likes when undefined. */
  partsPerPage: number | undefined
}

/** Where a part is that is the store's own. */
export interface StorePart {
  /** Of the multipart upload of the version's key. */
  uploadId: string
  ETag: string
  ChecksumSHA256?: string | undefined
}

interface BegunVersion {
  /** Those that were sent, or tried: what the store has of such a number nobody knows for certain. */
  numbers: Set<number>
  /** The id of the store's multipart upload, once there is one. */
  upload?: Promise<string>
}

const LEFT_OUT =
  "This server's store does not leave out parts that were uploaded: abort the upload, and begin anew"

/** A version that is not among them goes on with parts as objects. */
const MOST_BEGUN = 10_000

/**
 * Parts that are the store's own from the beginning, so that nothing is copied when the version is made (decision 0044).
 * The store knows such a part by its number and forgets the one before it, whoever may still mean that one. So a number
 * is used once: by the server that has begun the version, in this process, for the first part of that number.
 */
export class StoreParts {
  readonly #options: StorePartsOptions
  /** By key, the oldest first. */
  readonly #begun = new Map<string, BegunVersion>()
  readonly #passing: PassingParts

  constructor(options: StorePartsOptions) {
    this.#options = options
    this.#passing = new PassingParts(options)
  }

  begin(at: Location): void {
    const [oldest] = this.#begun.keys()
    if (this.#begun.size >= MOST_BEGUN && oldest !== undefined) this.#begun.delete(oldest)
    this.#begun.set(this.#options.keys.of(at), { numbers: new Set() })
  }

  forget(at: Location): void {
    this.#begun.delete(this.#options.keys.of(at))
  }

  /** Whether a part of this number, and of so many bytes, may be the store's own. */
  mayTake(at: Location, number: number, size: number): boolean {
    const begun = this.#begun.get(this.#options.keys.of(at))
    return size >= MIN_PART && begun !== undefined && !begun.numbers.has(number)
  }

  /** Whether it may also go on as it comes, if parts `arePassed`. */
  mayPass(at: Location, number: number, size: number): boolean {
    return this.#passing.hasRoom && this.mayTake(at, number, size)
  }

  /** Whether the store takes parts as they come. */
  arePassed(): Promise<boolean> {
    return this.#passing.areTaken()
  }

  /**
   * Sends a part with its number, unless that was used meanwhile, the part is too small, or there is no upload any more.
   *
   * @returns null when it was not sent
   * @throws StorageFull, BackendUnavailable, BackendRefused
   */
  async send(at: Location, number: number, bytes: PartBuffer): Promise<StorePart | null> {
    if (!this.mayTake(at, number, bytes.length)) return null
    try {
      const { part } = await this.#sendAs(at, number, (target) => this.#options.sender.part(bytes, target))
      return part
    } catch (error) {
      if (storeCode(error) !== 'NoSuchUpload') throw error
      return null
    }
  }

  /**
   * Sends a part, one that `mayPass`, as it comes. When the store fails, the bytes are gone, and its client has to bring
   * them again: they are an object then.
   *
   * @returns the SHA-256 of its bytes as well, in hexadecimal digits
   * @throws EntityTooLarge, StorageFull, BackendUnavailable, the stream's own error
   */
  async pass(
    at: Location,
    number: number,
    body: Readable,
    options: PartOptions,
  ): Promise<{ part: StorePart; sha256: string }> {
    const { part, sent } = await this.#sendAs(at, number, (target) =>
      this.#passing.pass(target, body, options),
    )
    return { part, sha256: sent.sha256 }
  }

  /** Uses a number, for what `send` sends. */
  async #sendAs<Sent extends CompletedPart>(
    at: Location,
    number: number,
    send: (target: PartTarget) => Promise<Sent>,
  ): Promise<{ part: StorePart; sent: Sent }> {
    const key = this.#options.keys.of(at)
    const begun = this.#begun.get(key)
    if (!begun || begun.numbers.has(number)) throw new Error(`The store's number ${number} was used`)
    begun.numbers.add(number)
    const uploadId = await this.#uploadOf(key, begun)
    const target = {
      Bucket: this.#options.store.bucket,
      Key: key,
      UploadId: uploadId,
      PartNumber: number,
    }
    try {
      const sent = await send(target)
      const { ETag = '', ChecksumSHA256 } = sent
      return { part: { uploadId, ETag, ChecksumSHA256 }, sent }
    } catch (error) {
      // The version has ended meanwhile, or the store has given its upload up.
      if (storeCode(error) === 'NoSuchUpload') this.forget(at)
      throw error
    }
  }

  /**
   * Makes the version of parts of which some are the store's own; the others are put beside them. After a failure all are
   * there for another try.
   *
   * @param parts by rising numbers, each but the last of 5 MiB at least
   * @param copy copies a part that is an object
   * @throws MissingBytes; InvalidPart when there are others that this store, such as Ceph, does not leave out; StorageFull,
   *   BackendUnavailable, BackendRefused
   */
  async complete(at: Location, parts: Part[], copy: (part: Part) => SendPart): Promise<void> {
    const { store, keys } = this.#options
    const upload = { key: keys.of(at), uploadId: uploadIdOf(parts) }
    try {
      const own = await this.#findOwn(upload, parts)
      const Parts = [...own, ...(await this.#copy(upload, parts, copy))]
      Parts.sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0))
      const input = { Bucket: store.bucket, Key: upload.key, UploadId: upload.uploadId }
      const command = new CompleteMultipartUploadCommand({ ...input, MultipartUpload: { Parts } })
      await store.send(command, { longWork: true })
    } catch (error) {
      const code = storeCode(error)
      if (code === 'InvalidPart') throw new StorageError('InvalidPart', { message: LEFT_OUT, cause: error })
      if (code !== 'NoSuchUpload') throw error
      // An attempt whose answer was lost may have completed it, and there is nothing left to complete.
      const size = parts.reduce((sum, part) => sum + part.size, 0)
      if ((await headObject(store, upload.key))?.size !== size) {
        throw new StorageError('MissingBytes', { cause: error })
      }
    }
  }

  /** @throws MissingBytes when one of them is not in the store, or is another one */
  async #findOwn(upload: BegunUpload, parts: Part[]): Promise<CompletedPart[]> {
    const { store, partsPerPage } = this.#options
    const found = new Map<number, UploadedPart>()
    for await (const part of listParts(store, upload, 0, partsPerPage)) found.set(part.number, part)
    return parts.flatMap((part) => {
      const own = storePartOf(part)
      if (!own) return []
      const there = found.get(part.number)
      if (there?.size !== part.size || unquoted(there.completed.ETag) !== unquoted(own.ETag)) {
        throw new StorageError('MissingBytes')
      }
      return [{ PartNumber: part.number, ETag: own.ETag, ChecksumSHA256: own.ChecksumSHA256 }]
    })
  }

  async #copy(
    { key, uploadId }: BegunUpload,
    parts: Part[],
    copy: (part: Part) => SendPart,
  ): Promise<CompletedPart[]> {
    const { store, parallel } = this.#options
    const copied: CompletedPart[] = []
    const copying = new Background(parallel)
    try {
      for (const part of parts) {
        if (part.size === 0 || storePartOf(part)) continue
        const PartNumber = part.number
        const target = { Bucket: store.bucket, Key: key, UploadId: uploadId, PartNumber }
        await copying.add(async (signal) => {
          copied.push({ PartNumber, ...(await copy(part)(target, signal)) })
        })
      }
      await copying.done()
      return copied
    } catch (error) {
      await copying.breakOff(new StorageError('BackendUnavailable', { cause: error }))
      throw error
    }
  }

  #uploadOf(key: string, begun: BegunVersion): Promise<string> {
    if (!begun.upload) {
      begun.upload = createUpload(this.#options.store, key)
      // One whose answer was lost goes with the version.
      begun.upload.catch(() => delete begun.upload)
    }
    return begun.upload
  }
}

const schema = z.strictObject({
  uploadId: z.string(),
  ETag: z.string(),
  ChecksumSHA256: z.string().optional(),
})

export function notesOfStorePart(part: StorePart): string {
  return JSON.stringify(part)
}

/** Null for a part that is an object. @throws MissingBytes when the notes are not this backend's */
export function storePartOf({ notes }: Part): StorePart | null {
  if (!notes.startsWith('{')) return null
  try {
    return schema.parse(JSON.parse(notes))
  } catch (error) {
    throw new StorageError('MissingBytes', { cause: error })
  }
}

/** Not every store lists it as it has told it. */
function unquoted(etag = ''): string {
  return etag.replaceAll('"', '')
}

/** Of the one upload to which they all belong that are the store's own. */
function uploadIdOf(parts: Part[]): string {
  const [id, ...others] = new Set(parts.flatMap((part) => storePartOf(part)?.uploadId ?? []))
  if (id === undefined || others.length > 0) throw new StorageError('MissingBytes')
  return id
}
