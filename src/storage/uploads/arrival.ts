import type { BucketSettings, KnownSettings } from '../../database/queries/buckets.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import type { KnownBuckets } from '../buckets/known-buckets.ts'
import { guessContentType } from '../object/content-type.ts'
import type { UploadRequest } from '../writing/upload-request.ts'

/** An upload whose name is legal, and the settings by which its bucket takes it. */
export interface Arrival {
  request: UploadRequest
  bucket: KnownSettings
}

export interface ArrivalParts {
  knownBuckets: KnownBuckets
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
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
  request: UploadRequest,
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

/**
 * Whether a bucket takes an upload. Returns the largest length its bytes may have.
 *
 * @param size of the bytes, or null as long as nobody knows it
 * @throws EntityTooLarge, InvalidMimeType
 */
export function checkUploadFits(
  { maxFileSize }: Pick<ArrivalParts, 'maxFileSize'>,
  { request, bucket }: { request: UploadRequest; bucket: BucketSettings },
  size: number | null,
): number {
  const contentType = request.contentType ?? guessContentType(request.name)
  return checkFits(bucket, request.name, { contentType, size }, maxFileSize)
}
