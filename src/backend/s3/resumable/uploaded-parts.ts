import {
  type CompletedPart,
  CompleteMultipartUploadCommand,
  ListPartsCommand,
  type ListPartsCommandInput,
  type ListPartsCommandOutput,
} from '@aws-sdk/client-s3'
import { StorageError } from '../../../model/errors.ts'
import type { Store } from '../store.ts'
import { storeCode } from '../store-errors.ts'

/** A multipart upload that was begun, maybe by another process. */
export interface BegunUpload {
  key: string
  uploadId: string
}

/** A part that the store has. */
export interface UploadedPart {
  /** Counted from 1. */
  number: number
  /** In bytes. */
  size: number
  completed: CompletedPart
}

/** @throws MissingBytes when the store does not have the part, or the upload; BackendUnavailable, BackendRefused */
export async function expectPart(store: Store, upload: BegunUpload, part: number): Promise<void> {
  for await (const { number } of listParts(store, upload, part - 1, 1)) {
    if (number === part) return
    break
  }
  throw new StorageError('MissingBytes')
}

/**
 * Makes the object of the upload's parts 1 to `count`.
 *
 * @param size of them together, in bytes
 * @param pageSize how many parts are asked for at once; as many as the store likes when undefined
 * @throws MissingBytes when these are not there; StorageFull, BackendUnavailable, BackendRefused
 */
export async function completeParts(
  store: Store,
  upload: BegunUpload,
  { count, size }: { count: number; size: number },
  pageSize: number | undefined,
): Promise<void> {
  const Parts: CompletedPart[] = []
  let found = 0
  for await (const { number, size: length, completed } of listParts(store, upload, 0, pageSize)) {
    if (number > count) break
    Parts.push(completed)
    found += length
  }
  if (Parts.length !== count || found !== size) throw new StorageError('MissingBytes')
  const input = {
    Bucket: store.bucket,
    Key: upload.key,
    UploadId: upload.uploadId,
    MultipartUpload: { Parts },
  }
  try {
    await store.send(new CompleteMultipartUploadCommand(input), { longWork: true })
  } catch (error) {
    // Ceph wants all parts of the upload, and so cannot forget those that the caller has gone back from for good.
    if (storeCode(error) === 'InvalidPart') throw new StorageError('MissingBytes', { cause: error })
    throw missingIfGone(error)
  }
}

/**
 * In their order, from the one after `after`.
 *
 * @param pageSize how many are asked for at once; as many as the store likes when undefined
 * @throws MissingBytes when there is no such upload; BackendUnavailable, BackendRefused
 */
export async function* listParts(
  store: Store,
  { key, uploadId }: BegunUpload,
  after: number,
  pageSize: number | undefined,
): AsyncGenerator<UploadedPart> {
  let marker: string | undefined = String(after)
  do {
    const input: ListPartsCommandInput = {
      Bucket: store.bucket,
      Key: key,
      UploadId: uploadId,
      PartNumberMarker: marker,
      MaxParts: pageSize,
    }
    const page: ListPartsCommandOutput = await store
      .send(new ListPartsCommand(input))
      .catch((error: unknown) => {
        throw missingIfGone(error)
      })
    for (const { PartNumber = 0, Size = 0, ETag, ChecksumSHA256 } of page.Parts ?? []) {
      yield { number: PartNumber, size: Size, completed: { PartNumber, ETag, ChecksumSHA256 } }
    }
    marker = page.IsTruncated ? page.NextPartNumberMarker : undefined
  } while (marker !== undefined)
}

function missingIfGone(error: unknown): unknown {
  return storeCode(error) === 'NoSuchUpload' ? new StorageError('MissingBytes', { cause: error }) : error
}
