import type { Readable } from 'node:stream'
import { type CompletedPart, CompleteMultipartUploadCommand } from '@aws-sdk/client-s3'
import { z } from 'zod'
import { MIN_PART } from '../../../config/s3.ts'
import { StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import type { NumberClaim, Part, PartOptions } from '../../resumable-backend.ts'
import { headObject } from '../objects.ts'
import { storeCode } from '../store-errors.ts'
import { Background } from '../writing/background.ts'
import type { PartTarget, SendPart } from '../writing/multipart-upload.ts'
import type { PartBuffer, PartBuffers } from '../writing/part-buffers.ts'
import { PassingParts, type PassingPartsOptions } from './passing-parts.ts'
import { StoreUploads } from './store-uploads.ts'
import { type BegunUpload, listParts, type UploadedPart } from './uploaded-parts.ts'

export interface StorePartsOptions extends PassingPartsOptions {
  buffers: PartBuffers
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

/** Where a part may be the store's own. */
export interface PartPlace {
  at: Location
  number: number
  /** Of the number. */
  claim: NumberClaim
}

const LEFT_OUT =
  "This server's store does not leave out parts that were uploaded: abort the upload, and begin anew"

/** How often a version is completed, when parts that are still on their way come in the place of those that were copied. */
const MOST_COMPLETIONS = 5

/**
 * Parts that are the store's own from the beginning, so that nothing is copied when the version is made (decision 0044).
 * The store knows such a part by its number and forgets the one before it, whoever may still mean that one. So a number
 * is used once, by the part that has a claim of it.
 */
export class StoreParts {
  readonly #options: StorePartsOptions
  readonly #uploads: StoreUploads
  readonly #passing: PassingParts

  constructor(options: StorePartsOptions) {
    this.#options = options
    this.#uploads = new StoreUploads(options.store)
    this.#passing = new PassingParts(options)
  }

  /** Whether a part of so many bytes may be the store's own, once its number is claimed. */
  wantsClaim(size: number): boolean {
    return size >= MIN_PART && (size <= this.#options.buffers.partSize || this.#passing.mayBeTaken)
  }

  /** The version has ended. */
  forget(at: Location): void {
    this.#uploads.forget(this.#options.keys.of(at))
  }

  /** Null where the part has to be an object. */
  place(at: Location, number: number, claim: NumberClaim): PartPlace | null {
    return this.#uploads.mayBe(this.#options.keys.of(at), claim) ? { at, number, claim } : null
  }

  /** Whether a part of so many bytes may go on as it comes. */
  async mayPass(size: number): Promise<boolean> {
    // While the store is asked, others may come.
    return size >= MIN_PART && (await this.#passing.areTaken()) && this.#passing.hasRoom
  }

  /**
   * Sends a part, unless it is too small, or there is no upload any more.
   *
   * @returns null when it was not sent
   * @throws NoSuchUpload when the version has ended; StorageFull, BackendUnavailable, BackendRefused
   */
  async send(place: PartPlace, bytes: PartBuffer): Promise<StorePart | null> {
    if (bytes.length < MIN_PART) return null
    try {
      const { part } = await this.#sendTo(place, (target) => this.#options.sender.part(bytes, target))
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
   * @throws NoSuchUpload, EntityTooLarge, StorageFull, BackendUnavailable, the stream's own error
   */
  async pass(
    place: PartPlace,
    body: Readable,
    options: PartOptions,
  ): Promise<{ part: StorePart; sha256: string }> {
    const { part, sent } = await this.#sendTo(place, (target) => this.#passing.pass(target, body, options))
    return { part, sha256: sent.sha256 }
  }

  /** Uses a number, for what `send` sends. */
  async #sendTo<Sent extends CompletedPart>(
    { at, number, claim }: PartPlace,
    send: (target: PartTarget) => Promise<Sent>,
  ): Promise<{ part: StorePart; sent: Sent }> {
    const { store, keys } = this.#options
    const key = keys.of(at)
    const uploadId = await this.#uploads.of(key, claim)
    claim.use()
    try {
      const sent = await send({ Bucket: store.bucket, Key: key, UploadId: uploadId, PartNumber: number })
      const { ETag = '', ChecksumSHA256 } = sent
      return { part: { uploadId, ETag, ChecksumSHA256 }, sent }
    } catch (error) {
      // The version has ended meanwhile, or the store has given its upload up.
      if (storeCode(error) === 'NoSuchUpload') this.#uploads.lose(key)
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
      for (let completions = 1; ; completions++) {
        const own = await this.#findOwn(upload, parts)
        const copies = await this.#copy(upload, parts, copy)
        const error = await this.#completeOf(upload, [...own, ...copies])
        if (!error) return
        if (!(await this.#areReplaced(upload, copies))) {
          throw new StorageError('InvalidPart', { message: LEFT_OUT, cause: error })
        }
        if (completions === MOST_COMPLETIONS) throw new StorageError('BackendUnavailable', { cause: error })
      }
    } catch (error) {
      if (storeCode(error) !== 'NoSuchUpload') throw error
      // An attempt whose answer was lost may have completed it, and there is nothing left to complete.
      const size = parts.reduce((sum, part) => sum + part.size, 0)
      if ((await headObject(store, upload.key))?.size !== size) {
        throw new StorageError('MissingBytes', { cause: error })
      }
    }
  }

  /** @returns what the store has said, if these are not what it has */
  async #completeOf({ key, uploadId }: BegunUpload, parts: CompletedPart[]): Promise<unknown> {
    const Parts = parts.toSorted((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0))
    const input = { Bucket: this.#options.store.bucket, Key: key, UploadId: uploadId }
    const command = new CompleteMultipartUploadCommand({ ...input, MultipartUpload: { Parts } })
    try {
      await this.#options.store.send(command, { longWork: true })
      return null
    } catch (error) {
      if (storeCode(error) !== 'InvalidPart') throw error
      return error
    }
  }

  /**
   * Whether another part has come in the place of one of these, which were copied: one that was on its way when its client
   * brought it again, and that nobody waits for any more.
   */
  async #areReplaced(upload: BegunUpload, copies: CompletedPart[]): Promise<boolean> {
    const found = await this.#partsOf(upload)
    return copies.some(
      ({ PartNumber = 0, ETag }) => unquoted(found.get(PartNumber)?.completed.ETag) !== unquoted(ETag),
    )
  }

  /** @throws MissingBytes when one of them is not in the store, or is another one */
  async #findOwn(upload: BegunUpload, parts: Part[]): Promise<CompletedPart[]> {
    const found = await this.#partsOf(upload)
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

  /** What the store has, by number. @throws MissingBytes when it has no such upload */
  async #partsOf(upload: BegunUpload): Promise<Map<number, UploadedPart>> {
    const { store, partsPerPage } = this.#options
    const found = new Map<number, UploadedPart>()
    for await (const part of listParts(store, upload, 0, partsPerPage)) found.set(part.number, part)
    return found
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
