import { MAX_PART_NUMBER } from '../../../backend/resumable-backend.ts'
import { StorageError } from '../../../model/errors.ts'
import type { UploadPlace } from '../../../storage/multipart/multipart-uploads.ts'
import type { S3Request } from '../request.ts'

/** Which upload a request is about. */
export function placeOf({ bucket, name, query }: S3Request): UploadPlace {
  return { bucket, name, uploadId: query.get('uploadId') ?? '' }
}

/** @throws InvalidParameter */
export function partNumberOf({ query }: S3Request): number {
  const text = query.get('partNumber') ?? ''
  const number = Number(text)
  if (/^\d{1,5}$/.test(text) && number >= 1 && number <= MAX_PART_NUMBER) return number
  throw new StorageError('InvalidParameter', {
    message: `partNumber must be a number between 1 and ${MAX_PART_NUMBER}`,
  })
}
