import { CopyObjectCommand, UploadPartCopyCommand } from '@aws-sdk/client-s3'
import { MAX_PARTS } from '../../../config/s3.ts'
import { StorageError } from '../../../model/errors.ts'
import { headObject, type ObjectHead, refuseExisting } from '../objects.ts'
import type { Store } from '../store.ts'
import { MultipartUpload } from './multipart-upload.ts'

export interface CopyLimits {
  /** Most bytes that are copied with one request. */
  atOnce: number
  /** How many parts are copied at once. */
  parallel: number
}

/** S3 copies 5 GiB with one request, but some stores take so long that connections break. In bytes. */
export const COPY_AT_ONCE = 1024 ** 3

/** In bytes. */
const PART = 256 * 1024 * 1024

/**
 * Copies an object within the store, which moves the bytes itself.
 *
 * @throws MissingBytes, StorageFull, BackendUnavailable, BackendRefused
 */
export async function copyObject(store: Store, from: string, to: string, limits: CopyLimits): Promise<void> {
  const source = await headObject(store, from)
  if (!source) throw new StorageError('MissingBytes')
  if (source.size > limits.atOnce) return copyInParts(store, from, to, source, limits)
  await refuseExisting(store, to)
  const input = { Bucket: store.bucket, Key: to, CopySource: `${store.bucket}/${from}` }
  await store.send(new CopyObjectCommand(input), { longWork: true })
}

async function copyInParts(
  store: Store,
  from: string,
  key: string,
  { size, metadata }: ObjectHead,
  { atOnce, parallel }: CopyLimits,
): Promise<void> {
  const upload = new MultipartUpload({ store, key, metadata, parallel })
  const length = Math.max(Math.min(PART, atOnce), Math.ceil(size / MAX_PARTS))
  try {
    for (let start = 0; start < size; start += length) {
      const range = `bytes=${start}-${Math.min(start + length, size) - 1}`
      await upload.add(async (target, signal) => {
        const input = { ...target, CopySource: `${store.bucket}/${from}`, CopySourceRange: range }
        const options = { signal, longWork: true }
        const { CopyPartResult } = await store.send(new UploadPartCopyCommand(input), options)
        return { ETag: CopyPartResult?.ETag, ChecksumSHA256: CopyPartResult?.ChecksumSHA256 }
      })
    }
    await upload.complete()
  } catch (error) {
    await upload.abort()
    throw error
  }
}
