import type { Logger } from 'pino'
import type { Progress, ResumableBackend } from '../../backend/resumable-backend.ts'
import type { Database } from '../../database/connection/client.ts'
import {
  advanceResumableUpload,
  type ResumableUpload,
  type TakenUpload,
} from '../../database/queries/resumable-uploads.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import type { TypeDetection } from '../detection/type-detection.ts'
import type { Invalidate } from '../object/changes.ts'
import type { Stored } from '../writing/commit.ts'
import type { Heartbeats } from '../writing/heartbeats.ts'
import { type Chunk, receiveChunk } from './chunk-arrival.ts'
import { discardUpload } from './discarding.ts'
import { finishUpload, isBeyondMending } from './finishing.ts'
import { FirstLook, judgeFirst } from './first-look.ts'
import { LateHash, LateRoom } from './late-hash.ts'
import { type RunningHash, RunningHashes } from './running-hashes.ts'
import { takenOver } from './upload-locks.ts'

export interface UploadChunksOptions {
  database: Database
  backend: ResumableBackend
  logger: Logger
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
  types: TypeDetection
  /** How long an upload stays after its last chunk, in milliseconds. */
  lifetimeMs: number
  heartbeats: Heartbeats
  invalidate: Invalidate
  now: () => Date
}

export interface ChunkRequest {
  caller: Caller
  /** Says what the upload is, once the policies have allowed to go on with it; fails as they do, and nothing is kept then. */
  asking: Promise<ResumableUpload>
  /** Whether bytes may be written before that is known. */
  isTrusted: boolean
  /** Whether an object of that name may be replaced, if the upload does not say. */
  upsert: boolean
  /** The only bucket that the object may appear in; undefined means whichever has the name. */
  bucketUid?: string | undefined
  /** Without one, only the object is made when all bytes are here. */
  chunk: Chunk | undefined
  /** Ends the chunk where it is. */
  signal: AbortSignal
}

/** How far an upload is. */
export interface UploadStatus {
  /** In bytes. */
  offset: number
  /** In bytes; null while the client has not said. */
  length: number | null
  expiresAt: Date
  /** Whether the object is there. */
  isFinished: boolean
  /** What was made just now. */
  made?: Stored
}

/** The bytes of resumable uploads, each in the hands of one request: chunks come in, and become an object. */
export class UploadChunks {
  readonly #options: UploadChunksOptions
  readonly #hashes = new RunningHashes()
  readonly #lateRoom = new LateRoom()

  constructor(options: UploadChunksOptions) {
    this.#options = options
  }

  /**
   * Adds a chunk; makes the object when all bytes are here.
   *
   * @returns how far the upload is; and, if it may be left here for the next chunk, what that one goes on with
   * @throws what `asking` throws, OffsetConflict, EntityTooLarge, InvalidMimeType, InvalidRequest, ChecksumMismatch: nothing
   *   of the chunk is kept; StorageFull, BackendUnavailable, DatabaseUnavailable, the signal's reason, the body's own error: what has
   *   come is kept, if it can be; NoSuchBucket, AccessDenied, KeyAlreadyExists, PreconditionFailed when the object
   *   cannot be made
   */
  async append(
    at: Location,
    taken: TakenUpload,
    { caller, asking, isTrusted, upsert, bucketUid, chunk, signal }: ChunkRequest,
  ): Promise<{ status: UploadStatus; left: TakenUpload | undefined }> {
    const { version } = at
    const { attempt, progress: start } = taken
    const before = this.#hashes.take(version, start.offset, attempt)
    const late = chunk && before && new LateHash({ ...chunk, hash: before.hash.copy(), room: this.#lateRoom })
    let progress = start
    let expiresAt: Date | undefined
    try {
      if (chunk && chunk.offset !== start.offset) throw new StorageError('OffsetConflict')
      const length = knownLength(taken, chunk)
      const asked = asking.then((upload) => ({ upload, limit: this.#limit(upload, length) }))
      const look = chunk && start.offset === 0 ? new FirstLook() : undefined
      const allowed = look ? asked.then(({ upload }) => judgeFirst(this.#options, upload, look)) : asked
      allowed.catch(() => {}) // whoever waits for it is told
      const note = async (next: Progress, declared = length) => {
        // Without its lock a request has no say any more.
        if (hasCode(signal.reason, 'DatabaseUnavailable')) throw signal.reason
        expiresAt = await this.#advance(version, { attempt, length: declared, progress: next })
        progress = next
      }
      let hash = before
      if (!isTrusted) await asked
      if (chunk) {
        const maxBytes = (length ?? (await asked).limit) - start.offset
        const undo = () => note(start, taken.length)
        const receiving = { chunk, maxBytes, late, look, asked, allowed, note, undo, signal }
        const received = await receiveChunk(this.#options, at, { ...taken, length }, receiving)
        hash = received.hash
        if (hash) this.#hashes.keep(version, hash, attempt)
        if (received.cut) throw received.cut
      }
      const isFinished = progress.offset === length
      const { upload } = await asked
      const request = { caller, upsert, bucketUid, attempt }
      const made = isFinished && (await this.#finish(upload, progress, hash, request))
      const { offset } = progress
      const status = {
        offset,
        length,
        expiresAt: expiresAt ?? upload.expiresAt,
        isFinished,
        ...(made && { made }),
      }
      // Whose chunks come here one after the other. Those that come through several servers would wait for each other.
      const isSettled = start.offset > 0 && before !== undefined && !isFinished
      return { status, left: isSettled ? { attempt, length, progress } : undefined }
    } catch (error) {
      // Nothing of the chunk is kept: the next one begins where this one did.
      if (before && progress.offset === start.offset) this.#hashes.keep(version, before, attempt)
      throw error
    } finally {
      late?.drop()
    }
  }

  /** Ends an upload that will never be an object, and removes its bytes. What fails is left to the cleanup. */
  async discard(at: Location, { attempt }: TakenUpload): Promise<void> {
    if (!(await discardUpload(this.#options, at, attempt))) throw takenOver()
    this.#hashes.forget(at.version)
  }

  /** Makes the object; whatever no chunk could mend ends the upload. @throws as `finishUpload` */
  async #finish(
    upload: ResumableUpload,
    progress: Progress,
    hash: RunningHash | undefined,
    request: Pick<ChunkRequest, 'caller' | 'upsert' | 'bucketUid'> & Pick<TakenUpload, 'attempt'>,
  ): Promise<Stored> {
    const { at } = upload
    try {
      const stored = await finishUpload(this.#options, upload, { ...request, progress, hash })
      this.#hashes.forget(at.version)
      return stored
    } catch (error) {
      if (isBeyondMending(error)) {
        this.#hashes.forget(at.version)
        await discardUpload(this.#options, at, request.attempt)
      }
      throw error
    }
  }

  /** The largest length that the upload may have, by the bucket's rules as they are now. */
  #limit({ bucket, name, content }: ResumableUpload, length: number | null): number {
    if (!bucket) throw new StorageError('NoSuchBucket')
    const { types, maxFileSize } = this.#options
    const contentType = types.beforeBytes(content.contentType)
    return checkFits(bucket, name, { contentType, size: length }, maxFileSize)
  }

  async #advance(version: string, state: TakenUpload): Promise<Date> {
    const { database, lifetimeMs } = this.#options
    const expiresAt = await advanceResumableUpload(database, version, state, lifetimeMs)
    if (!expiresAt) throw takenOver()
    return expiresAt
  }
}

/** In bytes; null while the client has not said. @throws InvalidRequest when it says something else than before */
function knownLength({ length, progress }: TakenUpload, chunk: Chunk | undefined): number | null {
  const declared = chunk?.length ?? null
  if (declared === null) return length
  if (length !== null && declared !== length) {
    throw new StorageError('InvalidRequest', { message: 'Upload-Length was declared before' })
  }
  if (declared < progress.offset) {
    throw new StorageError('InvalidRequest', { message: 'Upload-Length is less than what has arrived' })
  }
  return declared
}
