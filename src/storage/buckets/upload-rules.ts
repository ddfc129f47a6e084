import type { BucketSettings } from '../../database/queries/buckets.ts'
import { StorageError } from '../../model/errors.ts'
import { isEmptyFolderPlaceholder } from '../object/object-name.ts'
import { effectiveLimit, mimeTypeAllowed } from './bucket-rules.ts'

/**
 * Whether a bucket takes such an object (contract §2.2).
 *
 * @param object its size is null as long as nobody knows it
 * @param globalLimit in bytes
 * @returns the largest length its bytes may have
 * @throws EntityTooLarge, InvalidMimeType
 */
export function checkFits(
  bucket: BucketSettings,
  name: string,
  object: { contentType: string; size: number | null },
  globalLimit: number,
): number {
  // The marker of an empty folder has no bytes, and any type (contract §3.1).
  const isPlaceholder = isEmptyFolderPlaceholder(name)
  const maxBytes = isPlaceholder ? 0 : effectiveLimit(bucket.fileSizeLimit, globalLimit)
  if (object.size !== null && object.size > maxBytes) throw new StorageError('EntityTooLarge')
  if (!isPlaceholder && !mimeTypeAllowed(object.contentType, bucket.allowedMimeTypes)) {
    throw new StorageError('InvalidMimeType', { message: `mime type ${object.contentType} is not supported` })
  }
  return maxBytes
}
