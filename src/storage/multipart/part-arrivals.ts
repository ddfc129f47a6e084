import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import type { Part, ResumableBackend } from '../../backend/resumable-backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { isCertainlyRolledBack } from '../../database/connection/postgres-error.ts'
import { type KeptPart, keepPart } from '../../database/queries/multipart-parts.ts'
import type { MultipartContent, MultipartUpload } from '../../database/queries/multipart-uploads.ts'
import type { UnfinishedBounds } from '../../database/queries/resumable-uploads.ts'
import { readFirstBytes } from '../../lib/first-bytes.ts'
import { StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import { SAMPLE_BYTES } from '../detection/found-type.ts'
import type { TypeDetection } from '../detection/type-detection.ts'
import { asUploadError } from '../writing/commit.ts'
import type { Heartbeats } from '../writing/heartbeats.ts'
import type { UploadBody } from '../writing/upload-request.ts'
import { PartClaim } from './part-claim.ts'
import { PendingParts } from './pending-parts.ts'

export interface PartArrivalsOptions {
  database: Database
  backend: ResumableBackend
  logger: Logger
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
  types: TypeDetection
  heartbeats: Heartbeats
  /** How long an upload stays after its last part; and what one share may have. */
  unfinished: UnfinishedBounds
  now: () => Date
}

export interface SentPart {
  /** From 1 to 10 000. */
  number: number
  /** In bytes. */
  size: number
  /** Its bytes, once the policies have allowed them. */
  open(content: MultipartContent): PartBody
}

/** What comes late is how S3 clients know the part: its ETag, at least. */
export interface PartBody extends Pick<UploadBody, 'stream' | 'giveBack' | 'admit' | 'discard' | 'late'> {
  /** Of all the bytes, once they have passed. */
  md5(): Promise<Buffer>
}

export type StoredPart = Omit<KeptPart, 'id'>

/** As of S3 (wire §6.3). In bytes. */
const LARGEST_PART = 5 * 1024 ** 3

/** The bytes of parts, any number of them at once: each is stored, and then noted in its upload. */
export class PartArrivals {
  readonly #options: PartArrivalsOptions
  readonly #pending = new PendingParts()

  constructor(options: PartArrivalsOptions) {
    this.#options = options
  }

  /** As `MultipartUploads.addPart`, to an upload that is open and the caller's. */
  async add(upload: MultipartUpload, part: SentPart): Promise<StoredPart> {
    const { number, size } = part
    const { version } = upload.at
    const { database, heartbeats } = this.#options
    const claim = upload.claim ? new PartClaim({ database, version, number, ...upload.claim }) : undefined
    try {
      const maxBytes = this.#checkPart(upload, number, size)
      const store = () => this.#store(upload, part, maxBytes, claim)
      return await this.#pending.during({ version, number, share: upload.share, size }, () =>
        heartbeats.during(version, store),
      )
    } finally {
      await claim?.giveBack()
    }
  }

  /** Judges a part before its bytes. @returns the largest length that all parts may have together, in bytes */
  #checkPart(upload: MultipartUpload, number: number, size: number): number {
    if (!upload.bucket) throw new StorageError('NoSuchBucket')
    const { maxFileSize, types, unfinished } = this.#options
    const { bucket, name, content, others, share, shareOthers } = upload
    const total = others + this.#pending.others(upload.at.version, number) + size
    if (size > LARGEST_PART) {
      throw new StorageError('EntityTooLarge', { message: 'A part may have 5 GiB at most' })
    }
    const contentType = types.beforeBytes(content.contentType)
    const maxBytes = checkFits(bucket, name, { contentType, size: total }, maxFileSize)
    if (shareOthers !== null && shareOthers + this.#pending.ofShare(share) + size > unfinished.bytes) {
      throw new StorageError('TooManyUnfinished')
    }
    return maxBytes
  }

  async #store(
    upload: MultipartUpload,
    { number, size, open }: SentPart,
    maxBytes: number,
    claim: PartClaim | undefined,
  ): Promise<StoredPart> {
    const { at, content } = upload
    const body = open(content)
    let whole: Readable | undefined
    try {
      body.admit()
      if (number === 1 && this.#options.types.wantsBytes(content.contentType)) {
        whole = await this.#lookAt(upload, body.stream)
      }
      const md5 = async () => (await body.md5()).toString('hex')
      const { stream, giveBack } = body
      const part = await this.#options.backend.writePart(at, number, whole ?? stream, {
        size,
        md5,
        claim,
        giveBack,
      })
      return await this.#keep(at, part, body, maxBytes)
    } catch (error) {
      whole?.destroy() // lets go of the body
      body.discard()
      throw asUploadError(error)
    }
  }

  /**
   * Judges the first part by its first bytes. If they are fewer than are looked at, the object's will tell, once it is made.
   *
   * @returns what is to be read in place of the stream
   * @throws MismatchedMimeType, InvalidMimeType
   */
  async #lookAt({ bucket, name, content }: MultipartUpload, stream: Readable): Promise<Readable> {
    const { head, whole } = await readFirstBytes(stream, SAMPLE_BYTES)
    if (head.length < SAMPLE_BYTES || !bucket) return whole
    const { types, maxFileSize } = this.#options
    const { contentType: claimed, contentEncoding } = content
    try {
      const contentType = await types.settle({ contentType: claimed, contentEncoding }, async () => head)
      checkFits(bucket, name, { contentType, size: null }, maxFileSize)
      return whole
    } catch (error) {
      whole.destroy() // lets go of the stream
      throw error
    }
  }

  async #keep(at: Location, part: Part, body: PartBody, maxBytes: number): Promise<StoredPart> {
    const { database, unfinished } = this.#options
    const { lifetimeMs, bytes: shareBytes } = unfinished
    try {
      const { eTag = `"${part.sha256}"`, checksum } = (await body.late(part)).s3 ?? {}
      const kept = {
        ...part,
        etag: eTag,
        checksums: checksum ? { [checksum.algorithm]: checksum.value } : {},
      }
      const noted = await keepPart(database, at.version, kept, { maxBytes, shareBytes, lifetimeMs })
      if (noted.outcome !== 'kept') throw new StorageError(REFUSALS[noted.outcome])
      const { replaced } = noted
      if (replaced) await this.#remove(at, { ...part, ...replaced })
      return { ...kept, createdAt: this.#options.now() }
    } catch (error) {
      // When nobody knows whether it is noted, it stays, and goes with the upload.
      if (isCertainlyRolledBack(error)) await this.#remove(at, part)
      throw error
    }
  }

  /** What fails goes with the upload. */
  async #remove(at: Location, part: Part): Promise<void> {
    const { backend, logger } = this.#options
    try {
      await backend.removePart(at, part)
    } catch (error) {
      const { version } = at
      logger.warn({ err: error, version, part: part.number }, 'a superfluous part goes with its upload')
    }
  }
}

const REFUSALS = {
  gone: 'NoSuchUpload',
  listed: 'OperationAborted',
  large: 'EntityTooLarge',
  full: 'TooManyUnfinished',
} as const
