import { createHash } from 'node:crypto'
import type { Progress, ResumableBackend } from '../../backend/resumable-backend.ts'
import type { ResumableUpload } from '../../database/queries/resumable-uploads.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import { storedSample } from '../detection/stored-sample.ts'
import type { TypeDetection } from '../detection/type-detection.ts'
import { type CommitParts, commitUpload, type Stored } from '../writing/commit.ts'
import { attributesKept } from '../writing/kept-attributes.ts'
import { uploadedObject } from '../writing/new-object.ts'
import { unlessLost } from './lost-bytes.ts'
import type { RunningHash } from './running-hashes.ts'

export interface FinishingParts extends CommitParts {
  backend: ResumableBackend
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
  types: TypeDetection
  now: () => Date
}

export interface Finish {
  caller: Caller
  /** Whether an object of that name may be replaced, if the upload does not say. */
  upsert: boolean
  /** The only bucket that the object may appear in; undefined means whichever has the name. */
  bucketUid?: string | undefined
  progress: Progress
  /** Of all the bytes; undefined when another process, now dead perhaps, has had some of them. */
  hash: RunningHash | undefined
}

/**
 * From all the bytes of an upload to the row, as any upload.
 *
 * @throws InvalidChecksum, MismatchedMimeType, InvalidMimeType: see `isBeyondMending`; and as `commitUpload`
 */
export async function finishUpload(
  parts: FinishingParts,
  upload: ResumableUpload,
  { caller, progress, hash, bucketUid, ...request }: Finish,
): Promise<Stored> {
  const { backend, logger, now } = parts
  const { at, bucketId, name, content } = upload
  const upsert = content.upsert ?? request.upsert
  const size = progress.offset
  await unlessLost(logger, at, () => backend.complete(at, progress))
  const sha256 = hash ? hash.hash.copy().digest('hex') : await hashWhole(backend, at, size)
  if (content.sha256 !== undefined && content.sha256 !== sha256) throw new StorageError('InvalidChecksum')
  const uploaded = {
    bucket: bucketId,
    name,
    upsert,
    contentType: await settledType(parts, upload, size),
    cacheControl: content.cacheControl,
    contentEncoding: undefined,
    robotsTag: undefined,
    userMetadata: content.userMetadata,
    ...attributesKept(content),
  }
  const object = uploadedObject(caller, uploaded, at, { size, sha256 }, now())
  const { condition } = content
  return commitUpload(parts, caller, object, { upsert, bucketUid, condition })
}

/** Whether it is about all the bytes of an upload, so that it will never be an object. */
export function isBeyondMending(error: unknown): boolean {
  return (['InvalidChecksum', 'MismatchedMimeType', 'InvalidMimeType'] as const).some((code) =>
    hasCode(error, code),
  )
}

/** The type by all the bytes, if they have a say. Of the first chunk it has been seen as soon as it was long enough. */
async function settledType(
  { backend, types, maxFileSize }: FinishingParts,
  { at, bucket, name, content }: ResumableUpload,
  size: number,
): Promise<string> {
  const claimed = { contentType: content.contentType, contentEncoding: undefined }
  const contentType = await types.settle(claimed, () => storedSample(backend, at, size))
  if (bucket && types.isOpen(content.contentType)) checkFits(bucket, name, { contentType, size }, maxFileSize)
  return contentType
}

async function hashWhole(backend: ResumableBackend, at: Location, size: number): Promise<string> {
  const hash = createHash('sha256')
  for await (const bytes of await backend.read(at, { size })) hash.update(bytes)
  return hash.digest('hex')
}
