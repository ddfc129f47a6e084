import { asCaller } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { findBucketSettings } from '../../database/queries/buckets.ts'
import { type KeptPart, partsOf } from '../../database/queries/multipart-parts.ts'
import {
  askMultipartUpload,
  beginMultipartUpload,
  type ComingPart,
  findMadeVersion,
  findMultipartUpload,
  type ListedUpload,
  listMultipartUploads,
  type MultipartContent,
  type MultipartUpload,
  type UploadListQuery,
} from '../../database/queries/multipart-uploads.ts'
import type { TakenUpload } from '../../database/queries/resumable-uploads.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { SystemMetadata } from '../../model/metadata.ts'
import { newVersion } from '../../model/version.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import { storedSample } from '../detection/stored-sample.ts'
import type { Invalidate } from '../object/changes.ts'
import { type NameRules, parseObjectName } from '../object/object-name.ts'
import type { S3Metadata } from '../object/s3-metadata.ts'
import { discardUpload } from '../resumable/discarding.ts'
import { unlessLost } from '../resumable/lost-bytes.ts'
import type { UploadLocks } from '../resumable/upload-locks.ts'
import { commitUpload, inUploadWords, type Stored } from '../writing/commit.ts'
import { foretold } from '../writing/conditional-write.ts'
import { attributesKept, keptAttributes } from '../writing/kept-attributes.ts'
import { intendedWrite, uploadedObject } from '../writing/new-object.ts'
import { type NamedPart, settleParts } from './chosen-parts.ts'
import { ExclusiveWork } from './exclusive-work.ts'
import { PartArrivals, type PartArrivalsOptions, type SentPart, type StoredPart } from './part-arrivals.ts'
import { makeUploadId, versionOf } from './upload-id.ts'

export interface MultipartUploadsOptions extends PartArrivalsOptions {
  nameRules: NameRules
  locks: UploadLocks
  invalidate: Invalidate
}

/** What an upload has become. */
export interface Completed {
  metadata: SystemMetadata
  /** What S3 calls the object's version; null where the bucket keeps none. */
  versionId: string | null
  /** The object, unless it was made by an earlier request. */
  made?: Stored
}

/** Which upload a request is about. */
export interface UploadPlace {
  bucket: string
  name: string
  uploadId: string
}

export interface NewUpload {
  bucket: string
  /** As the client named it; not yet checked. */
  name: string
  content: Omit<MultipartContent, 'contentType'> & { contentType: string | undefined }
  /** Whose unfinished uploads it is counted with; null counts for nobody. */
  share: string | null
}

export interface Completion {
  /** None stands for all that have come. */
  parts: NamedPart[]
  /** What must hold of the object that is there already. */
  condition: WriteCondition | undefined
  /**
   * What the object's row says of what it was made of: its ETag, at least.
   *
   * @throws when it is not what the client says
   */
  describe(parts: KeptPart[], content: MultipartContent): S3Metadata
}

/**
 * Uploads in parts, over many requests and through any server (wire §6.3): a resumable upload whose parts come in any
 * order, several at a time. Each request asks the policies again, and it ends like any upload: the row appears at once, or
 * not at all. What a crash leaves in between can be gone on with.
 *
 * A part counts once its row says so; until then it is bytes that nobody knows, which go with the upload. Once a version is
 * being made of parts they stay as they are, so that after a crash the same request makes it (decision 0051).
 */
export class MultipartUploads {
  readonly #options: MultipartUploadsOptions
  readonly #database: Database
  readonly #parts: PartArrivals
  readonly #exclusive: ExclusiveWork

  constructor(options: MultipartUploadsOptions) {
    this.#options = options
    this.#database = options.database
    this.#parts = new PartArrivals(options)
    this.#exclusive = new ExclusiveWork(options)
  }

  /**
   * Begins an upload.
   *
   * @returns its id
   * @throws InvalidKey, NoSuchBucket, EntityTooLarge, InvalidMimeType, AccessDenied, TooManyUnfinished
   */
  async create(caller: Caller, request: NewUpload): Promise<string> {
    const { nameRules, maxFileSize, types, unfinished, now } = this.#options
    const name = parseObjectName(request.name, nameRules)
    const bucket = await findBucketSettings(this.#database, request.bucket)
    if (!bucket) throw new StorageError('NoSuchBucket')
    const contentType = types.claimed({ ...request.content, name })
    const known = types.beforeBytes(contentType)
    checkFits(bucket, name, { contentType: known, size: null }, maxFileSize)
    const { content: sent } = request
    const content = { ...sent, contentType, ...keptAttributes(caller, { tags: sent.tags }) }
    const write = writeOf(caller, { bucketId: request.bucket, name, content })
    const at = { bucket: bucket.uid, version: newVersion() }
    const id = makeUploadId(at.version, now())
    const begun = { id, write, at, content, share: request.share }
    await inUploadWords(beginMultipartUpload(this.#database, caller, begun, unfinished))
    return id
  }

  /**
   * Stores a part, in the place of the one of its number.
   *
   * @throws NoSuchUpload, NoSuchBucket, AccessDenied, EntityTooLarge, InvalidMimeType, TooManyUnfinished, TooManyUploads,
   *   OperationAborted, StorageFull, BackendUnavailable, Aborted when the body breaks, and what `late` has thrown
   */
  async addPart(caller: Caller, place: UploadPlace, part: SentPart): Promise<StoredPart> {
    const { number, size } = part
    const claims = this.#options.backend.wantsClaim(size)
    const upload = await this.#ask(caller, place, { number, claims })
    if (upload.state === 'finished') throw new StorageError('NoSuchUpload')
    return this.#parts.add(upload, part)
  }

  /**
   * Makes the object of parts. Doing it again is a success, and told the same, for some minutes.
   *
   * @returns what the object's row says of the bytes
   * @throws NoSuchUpload, UploadGone, NoSuchBucket, AccessDenied, InvalidPart, InvalidPartOrder, EntityTooSmall,
   *   EntityTooLarge, InvalidMimeType, MismatchedMimeType, PreconditionFailed, LockTimeout while another request does it, TransactionConflict,
   *   StorageFull, BackendUnavailable, and what `describe` has thrown
   */
  async complete(caller: Caller, place: UploadPlace, completion: Completion): Promise<Completed> {
    const upload = await this.#ask(caller, place, null)
    if (upload.state === 'finished') return this.#finished(upload)
    const { version } = upload.at
    const make = (taken: TakenUpload) => this.#make(caller, upload, taken, completion)
    const made = await this.#exclusive.during(version, make)
    if (made) return made
    const ended = await findMultipartUpload(this.#database, version)
    if (ended?.state === 'finished') return this.#finished(ended)
    throw new StorageError('NoSuchUpload')
  }

  /** As it was told when it was made. */
  async #finished(upload: MultipartUpload): Promise<Completed> {
    return {
      metadata: upload.objectMetadata ?? {},
      versionId: await findMadeVersion(this.#database, upload),
    }
  }

  async #make(
    caller: Caller,
    upload: MultipartUpload,
    { attempt }: TakenUpload,
    completion: Completion,
  ): Promise<Completed> {
    const { at, bucket, bucketId, name, content } = upload
    const { condition } = completion
    const { backend, logger, maxFileSize, types, now } = this.#options

    // 1. The parts are chosen, and fit together; a condition that is false now is told here.
    if (!bucket) throw new StorageError('NoSuchBucket')
    if (condition) await foretold(this.#database, caller, writeOf(caller, upload), condition)
    const choice = { version: at.version, attempt, named: completion.parts }
    const parts = await settleParts(this.#database, choice, (chosen) => {
      const known = types.beforeBytes(content.contentType)
      checkFits(bucket, name, { contentType: known, size: sizeOf(chosen) }, maxFileSize)
      completion.describe(chosen, content)
    })
    const size = sizeOf(parts)
    const described = completion.describe(parts, content)

    // 2. From here on they stay as they are, and the backend makes the version of them.
    await unlessLost(logger, at, () => backend.assemble(at, parts))
    const { contentType: claimed, contentEncoding } = content
    const contentType = await types.settle({ contentType: claimed, contentEncoding }, () =>
      storedSample(backend, at, size),
    )
    checkFits(bucket, name, { contentType, size }, maxFileSize)

    // 3. As any upload. If it fails, what was made stays for the next time, until the upload ends.
    const [only] = parts.length === 1 ? parts : []
    const request = {
      bucket: bucketId,
      name,
      upsert: true,
      contentType,
      cacheControl: content.cacheControl,
      contentEncoding: content.contentEncoding,
      robotsTag: undefined,
      userMetadata: content.userMetadata,
      ...attributesKept(content),
      s3: { ...content.s3, ...described },
    }
    const written = { size, sha256: only?.sha256 ?? '' }
    const object = uploadedObject(caller, request, at, written, now())
    // Of several parts nobody has read the whole, which would take as long again: the scrub does it.
    const checksum = only?.sha256 ?? null
    const ownerId = upload.ownerId ?? object.ownerId
    const row = { ...object, checksum, ownerId }
    const { retainUntil, legalHold } = content.lock ?? {}
    const lock = content.lock && {
      legalHold,
      retainUntil: retainUntil === undefined ? undefined : new Date(retainUntil),
    }
    const made = await commitUpload(this.#options, caller, row, { upsert: true, condition, lock })
    return { metadata: object.metadata, versionId: made.object.versionId, made }
  }

  /** Ends an upload, and removes what there is of it. @throws NoSuchUpload, AccessDenied, LockTimeout */
  async abort(caller: Caller, place: UploadPlace): Promise<void> {
    const upload = await this.#ask(caller, place, null)
    if (upload.state === 'finished') throw new StorageError('NoSuchUpload')
    const isEnded = await this.#exclusive.during(upload.at.version, ({ attempt }) =>
      discardUpload(this.#options, upload.at, attempt),
    )
    if (!isEnded) throw new StorageError('NoSuchUpload')
  }

  /**
   * An upload, and its parts from after a number.
   *
   * @throws NoSuchUpload; AccessDenied when it is somebody else's
   */
  async parts(
    caller: Caller,
    place: UploadPlace,
    after: number,
    limit: number,
  ): Promise<{ upload: MultipartUpload; parts: KeptPart[] }> {
    const version = versionOf(place.uploadId)
    const found = version === null ? null : await findMultipartUpload(this.#database, version)
    const upload = theirs(caller, place, found)
    if (upload.state === 'finished') throw new StorageError('NoSuchUpload')
    return { upload, parts: await partsOf(this.#database, upload.at.version, after, limit) }
  }

  /**
   * Unfinished uploads of a bucket that the caller has begun, or that policies of users' own show (wire §7.3).
   *
   * @throws NoSuchBucket, TooManyQuestions, DatabaseTimeout
   */
  async list(caller: Caller, asker: string, query: UploadListQuery): Promise<ListedUpload[]> {
    if (!(await findBucketSettings(this.#database, query.bucketId))) throw new StorageError('NoSuchBucket')
    return this.#database.questions.ask(asker, (database) =>
      asCaller(database, caller, (tx) => listMultipartUploads(tx, query)),
    )
  }

  /** Asks the policies too, in the same round trip. @throws as `theirs` */
  async #ask(caller: Caller, place: UploadPlace, part: ComingPart | null): Promise<MultipartUpload> {
    const version = versionOf(place.uploadId)
    if (version === null) throw new StorageError('NoSuchUpload')
    const asking = askMultipartUpload(this.#database, caller, { ...place, version }, part)
    return theirs(caller, place, await inUploadWords(asking))
  }
}

/** @throws NoSuchUpload; AccessDenied when it is somebody else's */
function theirs(
  caller: Caller,
  { bucket, name, uploadId }: UploadPlace,
  upload: MultipartUpload | null,
): MultipartUpload {
  const isThere = upload && upload.bucketId === bucket && upload.name === name && upload.state !== 'expired'
  if (!isThere || (upload.id !== null && upload.id !== uploadId)) throw new StorageError('NoSuchUpload')
  const isTheirs =
    caller.role === 'service_role' || (upload.ownerId === caller.subject && upload.ownerRole === caller.role)
  if (!isTheirs) throw new StorageError('AccessDenied', { message: "The upload is somebody else's" })
  return upload
}

/** What the policies judge, each time: not its length, which nobody knows yet (wire §7.7). */
function writeOf(
  caller: Caller,
  { bucketId, name, content }: Pick<MultipartUpload, 'bucketId' | 'name' | 'content'>,
) {
  const { contentType, userMetadata } = content
  const body = { requestLength: null }
  return intendedWrite(caller, {
    bucket: bucketId,
    name,
    upsert: true,
    contentType,
    userMetadata,
    ...attributesKept(content),
    body,
  })
}

function sizeOf(parts: KeptPart[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}
