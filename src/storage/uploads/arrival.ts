import type { BucketSettings, KnownSettings } from '../../database/queries/buckets.ts'
import { readFirstBytes } from '../../lib/first-bytes.ts'
import { StorageError } from '../../model/errors.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import type { KnownBuckets } from '../buckets/known-buckets.ts'
import { SAMPLE_BYTES } from '../detection/found-type.ts'
import type { TypeDetection } from '../detection/type-detection.ts'
import type { LateFields, UploadBody, UploadRequest } from '../writing/upload-request.ts'

/** An upload of which it is known what type its object will have. */
export type TypedRequest = UploadRequest & { contentType: string }

/** An upload whose name is legal, and the settings by which its bucket takes it. */
export interface Arrival {
  request: TypedRequest
  bucket: KnownSettings
}

export interface ArrivalParts {
  knownBuckets: KnownBuckets
  types: TypeDetection
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
}

/**
 * Lets an upload in, of a type that is known then, if need be by its first bytes: nobody has asked the policies yet, so that
 * its client has to bring those at once.
 *
 * @param known as `letIn` has it
 * @param sent its name is legal
 * @returns with a body that is to be read, and discarded, in the place of the one that was sent
 * @throws MismatchedMimeType, and as `letIn` and the body do
 */
export async function arrive(
  parts: ArrivalParts,
  known: KnownSettings | undefined,
  sent: UploadRequest,
): Promise<Arrival> {
  const { types } = parts
  const { body } = sent
  const request = { ...sent, contentType: types.claimed(sent) }
  const wantsBytes = types.wantsBytes(request.contentType)
  const before = { ...request, contentType: types.beforeBytes(request.contentType) }
  // What is remembered cannot say that a body of which nobody knows the length is too long.
  const isOfUse = !wantsBytes || body.declaredSize !== null
  const bucket = await letIn(parts, isOfUse ? known : undefined, before, body.declaredSize)
  if (!wantsBytes) return { request, bucket }

  const maxBytes = checkUploadFits(parts, { request: before, bucket }, null)
  const beginningIsHere = body.expectBeginning()
  const { head, whole } = await readFirstBytes(body.stream, Math.min(SAMPLE_BYTES, maxBytes + 1))
  beginningIsHere()
  try {
    if (head.length > maxBytes) throw new StorageError('EntityTooLarge')
    const contentType = await types.settle(request, async () => head)
    const typed = { ...request, contentType, body: insteadOf(body, whole) }
    return { request: typed, bucket: await letIn(parts, bucket, typed, body.declaredSize) }
  } catch (error) {
    whole.destroy() // lets go of the body
    throw error
  }
}

function insteadOf(body: UploadBody, stream: UploadBody['stream']): UploadBody {
  return {
    ...body,
    stream,
    discard: () => {
      stream.destroy() // lets go of the body
      body.discard()
    },
  }
}

/**
 * An upload with what was known only behind its bytes, which holds in the place of what was known before.
 *
 * @param sample as of `TypeDetection.settle`
 * @throws MismatchedMimeType
 */
export async function completed(
  { types }: Pick<ArrivalParts, 'types'>,
  request: TypedRequest,
  { contentType: said, ...late }: LateFields,
  sample: () => Promise<Uint8Array>,
): Promise<TypedRequest> {
  const complete = { ...request, ...late }
  // By then it is known what the bytes say.
  if (said === undefined || types.isOpen(said)) return complete
  return { ...complete, contentType: await types.settle({ ...complete, contentType: said }, sample) }
}

/**
 * Lets an upload in by settings of its bucket that are known, or else by those of now: what is known may be out of date,
 * and refuses nothing.
 *
 * @param size of the bytes, or null as long as nobody knows it
 * @throws NoSuchBucket, EntityTooLarge, InvalidMimeType
 */
export async function letIn(
  parts: ArrivalParts,
  known: KnownSettings | undefined,
  request: FittingRequest & Pick<UploadRequest, 'bucket' | 'bucketUid'>,
  size: number | null,
): Promise<KnownSettings> {
  if (known) {
    try {
      checkUploadFits(parts, { request, bucket: known }, size)
      return known
    } catch {}
  }
  const bucket = await parts.knownBuckets.find(request.bucket, request.bucketUid)
  checkUploadFits(parts, { request, bucket }, size)
  return bucket
}

/** What a bucket looks at; the type is null as long as nobody knows it. */
type FittingRequest = Pick<UploadRequest, 'name'> & { contentType: string | null }

/**
 * Whether a bucket takes an upload. Returns the largest length its bytes may have.
 *
 * @param size of the bytes, or null as long as nobody knows it
 * @throws EntityTooLarge, InvalidMimeType
 */
export function checkUploadFits(
  { maxFileSize }: Pick<ArrivalParts, 'maxFileSize'>,
  { request, bucket }: { request: FittingRequest; bucket: BucketSettings },
  size: number | null,
): number {
  const { name, contentType } = request
  return checkFits(bucket, name, { contentType, size }, maxFileSize)
}
