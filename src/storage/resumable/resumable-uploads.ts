import type { Database } from '../../database/connection/client.ts'
import { findBucketSettings } from '../../database/queries/buckets.ts'
import {
  askResumableUpload,
  beginResumableUpload,
  findResumableUpload,
  type ResumableContent,
  type ResumableUpload,
  type TakenUpload,
  type UnfinishedBounds,
  type UploadAddress,
} from '../../database/queries/resumable-uploads.ts'
import { beginUpload } from '../../database/queries/trial-writes.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { SentAttributes } from '../../model/object-attributes.ts'
import { newVersion } from '../../model/version.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import { type NameRules, parseObjectName } from '../object/object-name.ts'
import { RecentlyAllowed } from '../uploads/recently-allowed.ts'
import { inUploadWords } from '../writing/commit.ts'
import { asConditionSays, foretold } from '../writing/conditional-write.ts'
import { attributesKept, type KeptAttributes, keptAttributes } from '../writing/kept-attributes.ts'
import { intendedWrite } from '../writing/new-object.ts'
import type { Chunk } from './chunk-arrival.ts'
import { UploadChunks, type UploadChunksOptions, type UploadStatus } from './upload-chunks.ts'
import type { UploadLocks } from './upload-locks.ts'

export interface ResumableUploadsOptions extends UploadChunksOptions {
  nameRules: NameRules
  locks: UploadLocks
  /** What one share may have; and how long an upload stays without a chunk when that is used up, in milliseconds. */
  unfinished: Omit<UnfinishedBounds, 'lifetimeMs'>
}

/** What a client begins. */
export interface ResumableRequest {
  bucket: string
  /** As the client named it; not yet checked. */
  name: string
  /** In bytes; null while the client does not say. */
  length: number | null
  /** As the client sent it. */
  uploadMetadata: string
  content: Omit<ResumableContent, 'contentType' | 'upsert' | keyof KeptAttributes> & {
    contentType: string | undefined
    sent: SentAttributes
  }
  /** Whose unfinished uploads it is counted with; null counts for nobody. */
  share: string | null
}

/** What a client is told of its upload. */
export interface ToldStatus extends UploadStatus {
  /** As it was sent. */
  uploadMetadata: string
}

/** Who goes on with an upload, and how. */
export interface Uploader {
  caller: Caller
  /** Whether a token of a signed upload URL proves it. */
  isSigned: boolean
  /** The bucket that the signer meant; undefined means whichever has the name. */
  bucketUid?: string | undefined
  /** Whether an object of that name may be replaced: counts when an upload begins, which remembers it. */
  upsert: boolean
  /** Aborted when nobody waits for the answer any more. */
  gone: AbortSignal
}

/**
 * Uploads in chunks, over many requests and through any server (wire §5). What is said of each chunk holds after
 * a crash. Each ends like any upload: the policies are asked again, and the row appears at once, or not at all.
 *
 * When all bytes are here and the row could not be made, as with the database away, the next request makes it,
 * whichever it is: a client that asks and hears that every byte has arrived takes the upload for done.
 */
export class ResumableUploads {
  readonly #options: ResumableUploadsOptions
  readonly #database: Database
  readonly #chunks: UploadChunks
  /** Who was allowed to go on with which version, and the UUID of its bucket. */
  readonly #recent = new RecentlyAllowed<string>()

  constructor(options: ResumableUploadsOptions) {
    this.#options = options
    this.#database = options.database
    this.#chunks = new UploadChunks(options)
  }

  /**
   * Begins an upload, with its first chunk if there is one. An empty one is finished at once.
   *
   * @throws InvalidKey, NoSuchBucket, EntityTooLarge, AccessDenied, KeyAlreadyExists, InvalidMimeType,
   *   PreconditionFailed, TooManyUnfinished, and as `append`
   */
  async create(
    uploader: Uploader,
    request: ResumableRequest,
    chunk: Chunk | undefined,
  ): Promise<ToldStatus & { version: string }> {
    const { caller, isSigned, upsert, bucketUid } = uploader
    const { length, uploadMetadata, share } = request
    const name = parseObjectName(request.name, this.#options.nameRules)
    const bucket = await findBucketSettings(this.#database, request.bucket)
    if (!bucket || (bucketUid !== undefined && bucket.uid !== bucketUid))
      throw new StorageError('NoSuchBucket')
    const { types } = this.#options
    const contentType = types.claimed({ ...request.content, name })
    const { sent, ...said } = request.content
    const content: ResumableContent = { ...said, contentType, upsert, ...keptAttributes(caller, sent) }
    const write = intendedWrite(caller, {
      bucket: request.bucket,
      name,
      upsert,
      contentType,
      userMetadata: content.userMetadata,
      ...attributesKept(content),
      ownerId: undefined, // the upload is its uploader's, whosever the object is to be
      body: { requestLength: length },
    })
    let largest: number
    try {
      const known = types.beforeBytes(contentType)
      largest = checkFits(bucket, name, { contentType: known, size: length }, this.#options.maxFileSize)
    } catch (error) {
      // A refusal by the policies comes before one of the type (wire §5.7).
      if (hasCode(error, 'InvalidMimeType')) {
        await inUploadWords(beginUpload(this.#database, caller, write, null))
      }
      throw error
    }
    const { condition } = content
    const database = this.#database
    if (condition) await inUploadWords(foretold(database, caller, write, condition))
    const at = { bucket: bucket.uid, version: newVersion() }
    const begun = { write, at, isSigned, length, uploadMetadata, content, share, largest }
    const { lifetimeMs, unfinished } = this.#options
    const beginning = beginResumableUpload(database, caller, begun, { lifetimeMs, ...unfinished })
    const expiresAt = await inUploadWords(asConditionSays(beginning, { database, caller, write, condition }))
    const { version } = at
    if (!chunk && length !== 0) {
      this.#recent.note(caller, version, at.bucket)
      return { version, offset: 0, length, uploadMetadata, expiresAt, isFinished: false }
    }
    try {
      const upload = await this.#find(uploader, { bucket: request.bucket, name, version })
      chunk?.admit()
      const status = await this.#append(at, uploader, Promise.resolve(upload), chunk)
      this.#recent.note(caller, version, at.bucket)
      return { version, ...status }
    } catch (error) {
      await this.#abandon(at.version, uploader) // the client never hears where it is
      throw error
    }
  }

  /**
   * Adds a chunk; the last one makes the object.
   *
   * @throws NoSuchUpload, UploadGone, AccessDenied, UploadFinished, LockTimeout, OffsetConflict, NoSuchBucket,
   *   EntityTooLarge, InvalidMimeType, KeyAlreadyExists, PreconditionFailed, InvalidRequest, ChecksumMismatch,
   *   StorageFull, BackendUnavailable, TooManyUploads; ResourceLocked when another request has taken over, Aborted when
   *   the body breaks: both keep what has come
   */
  async append(uploader: Uploader, address: UploadAddress, chunk: Chunk): Promise<ToldStatus> {
    const { caller } = uploader
    const { version } = address
    const denied = new AbortController()
    const asking = this.#ask(uploader, address).then((upload) => {
      if (upload.state === 'finished') throw new StorageError('UploadFinished')
      return upload
    })
    asking.catch((error: unknown) => denied.abort(error))
    try {
      // Whoever was allowed to a moment ago has his turn, and his bytes are written, while that is asked again. For a
      // stranger nothing is written; and he would end the request of another.
      const known = this.#recent.get(caller, version)
      const bucket = known ?? (await asking).at.bucket
      chunk.admit()
      const gone = AbortSignal.any([uploader.gone, denied.signal])
      const isTrusted = known !== undefined
      const status = await this.#append({ bucket, version }, { ...uploader, gone, isTrusted }, asking, chunk)
      this.#recent.note(caller, version, bucket)
      return status
    } catch (error) {
      this.#recent.forget(caller, version)
      await asking // what the policies say comes first
      throw error
    }
  }

  /** How far an upload is. Ends a request that still works on it. @throws as `append` */
  async find(uploader: Uploader, address: UploadAddress): Promise<ToldStatus> {
    let upload = await this.#find(uploader, address)
    if (upload.state === 'finished') return statusOf(upload)
    const { release } = await this.#options.locks.acquire(address.version, null, uploader.gone)
    try {
      upload = await this.#find(uploader, address)
    } finally {
      await release()
    }
    if (upload.state === 'finished' || upload.progress.offset !== upload.length) return statusOf(upload)
    return this.#append(upload.at, uploader, Promise.resolve(upload), undefined)
  }

  /** Ends an upload, and removes what there is of it. @throws as `append`; InvalidRequest when it is finished */
  async terminate(uploader: Uploader, address: UploadAddress): Promise<void> {
    const upload = await this.#ask(uploader, address).catch((error: unknown) => {
      // That somebody else has taken the name is no reason to keep it.
      if (hasCode(error, 'KeyAlreadyExists') || hasCode(error, 'PreconditionFailed')) {
        return this.#find(uploader, address)
      }
      throw error
    })
    const finished = () => new StorageError('InvalidRequest', { message: 'The upload is finished' })
    if (upload.state === 'finished') throw finished()
    await this.#holding(upload.at, uploader, (taken) => this.#chunks.discard(upload.at, taken)).catch(
      (error: unknown) => {
        throw hasCode(error, 'UploadFinished') ? finished() : error
      },
    )
  }

  /** @throws as `theirs` */
  async #find(uploader: Uploader, address: UploadAddress): Promise<ResumableUpload> {
    return theirs(uploader, address, await findResumableUpload(this.#database, address.version))
  }

  /** Asks the policies too, in the same round trip. @throws as `theirs`; AccessDenied, KeyAlreadyExists, PreconditionFailed */
  async #ask(uploader: Uploader, address: UploadAddress): Promise<ResumableUpload> {
    const asking = inUploadWords(askResumableUpload(this.#database, uploader.caller, address, uploader))
    return theirs(
      uploader,
      address,
      await asking.catch(async (error: unknown) => {
        if (hasCode(error, 'KeyAlreadyExists')) await this.#tellByCondition(uploader, address)
        throw error
      }),
    )
  }

  /** That an object is there which may not be replaced is told by the upload's condition. @throws PreconditionFailed */
  async #tellByCondition(uploader: Uploader, address: UploadAddress): Promise<void> {
    const { content, length } = await this.#find(uploader, address)
    const { condition, contentType, userMetadata } = content
    if (!condition) return
    const { caller } = uploader
    const body = { requestLength: length }
    const said = { contentType, userMetadata, ...attributesKept(content), body }
    const write = intendedWrite(caller, { ...address, upsert: false, ...said })
    await inUploadWords(foretold(this.#database, caller, write, condition))
  }

  /**
   * Adds a chunk, or only makes the object when all bytes are here.
   *
   * @param asking for the upload, and the policies; until they have allowed it, nothing that is written counts
   */
  async #append(
    at: Location,
    uploader: Uploader & { isTrusted?: boolean },
    asking: Promise<ResumableUpload>,
    chunk: Chunk | undefined,
  ): Promise<ToldStatus> {
    const { caller, isTrusted = false, upsert, bucketUid } = uploader
    const status = await this.#holding(at, uploader, async (taken, signal, leave) => {
      const request = { caller, asking, isTrusted, upsert, bucketUid, chunk, signal }
      const { status, left } = await this.#chunks.append(at, taken, request)
      if (left) leave(left)
      return status
    })
    return { ...status, uploadMetadata: (await asking).uploadMetadata }
  }

  /** Removes an upload that nobody can go on with. What fails is left to its expiry. */
  async #abandon(version: string, uploader: Uploader): Promise<void> {
    try {
      const upload = await findResumableUpload(this.#database, version)
      if (upload?.state !== 'open') return
      const alone = { ...uploader, gone: new AbortController().signal } // the client may well be gone
      await this.#holding(upload.at, alone, (taken) => this.#chunks.discard(upload.at, taken))
    } catch (error) {
      this.#options.logger.warn({ err: error, version }, 'a failed upload is left to the cleanup')
    }
  }

  /** Works on an upload alone. @param work may leave it, as it is then, for the next request of this server */
  async #holding<T>(
    { version }: Location,
    uploader: Uploader,
    work: (taken: TakenUpload, signal: AbortSignal, leave: (left: TakenUpload) => void) => Promise<T>,
  ): Promise<T> {
    const { locks, lifetimeMs, heartbeats } = this.#options
    const { taken, signal, release } = await locks.acquire(version, lifetimeMs, uploader.gone)
    let left: TakenUpload | undefined
    const leave = (next: TakenUpload) => {
      left = next
    }
    try {
      if (taken) return await inUploadWords(heartbeats.during(version, () => work(taken, signal, leave)))
    } finally {
      void release(left) // the answer need not wait for that
    }
    const ended = await findResumableUpload(this.#database, version)
    throw new StorageError(ended?.state === 'finished' ? 'UploadFinished' : 'UploadGone')
  }
}

/** @throws NoSuchUpload, UploadGone; NoSuchBucket, AccessDenied when it is somebody else's */
function theirs(
  { caller, isSigned, bucketUid }: Uploader,
  { bucket, name }: UploadAddress,
  upload: ResumableUpload | null,
): ResumableUpload {
  if (!upload || upload.bucketId !== bucket || upload.name !== name) throw new StorageError('NoSuchUpload')
  if (bucketUid !== undefined && upload.at.bucket !== bucketUid) throw new StorageError('NoSuchBucket')
  const isTheirs =
    upload.isSigned === isSigned && upload.ownerId === caller.subject && upload.ownerRole === caller.role
  if (!isTheirs) throw new StorageError('AccessDenied', { message: "The upload is somebody else's" })
  if (upload.state === 'expired' || upload.state === 'terminated') throw new StorageError('UploadGone')
  return upload
}

function statusOf({ progress, length, uploadMetadata, expiresAt, state }: ResumableUpload): ToldStatus {
  return { offset: progress.offset, length, uploadMetadata, expiresAt, isFinished: state === 'finished' }
}
