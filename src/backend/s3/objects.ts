import type { Readable } from 'node:stream'
import { DeleteObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { ReadOptions } from '../backend.ts'
import { ResumingDownload } from './resuming-download.ts'
import type { Store } from './store.ts'

/** What the store tells of an object without its bytes. */
export interface ObjectHead {
  /** In bytes. */
  size: number
  /**
   * `sha256`: of the bytes, in hexadecimal digits, if it was known before they were sent. `write`: an id of the write
   * that has made the object, by which a lost answer is told from a second writer.
   */
  metadata: Record<string, string>
}

/** Null when there is no such object. @throws BackendUnavailable, BackendRefused */
export async function headObject(store: Store, key: string): Promise<ObjectHead | null> {
  try {
    const found = await store.send(new HeadObjectCommand({ Bucket: store.bucket, Key: key }))
    return { size: found.ContentLength ?? 0, metadata: found.Metadata ?? {} }
  } catch (error) {
    if (hasCode(error, 'MissingBytes')) return null
    throw error
  }
}

/** Whether the object was made by this write. @throws BackendUnavailable, BackendRefused */
export async function isWrittenBy(store: Store, key: string, writeId: string): Promise<boolean> {
  return (await headObject(store, key))?.metadata.write === writeId
}

/** A version is written once; a second writer is a bug. Not every store can be asked to see to it by itself. */
export async function refuseExisting(store: Store, key: string): Promise<void> {
  if (await headObject(store, key)) throw existsAlready(key)
}

export function existsAlready(key: string): Error {
  return new Error(`A version was to be written twice: ${key}`)
}

/** Deleting nothing is a success. @throws BackendUnavailable, BackendRefused */
export async function deleteObject(store: Store, key: string): Promise<void> {
  try {
    await store.send(new DeleteObjectCommand({ Bucket: store.bucket, Key: key }))
  } catch (error) {
    // Amazon is content when there is nothing to delete; some stores say that it is missing.
    if (!hasCode(error, 'MissingBytes')) throw error
  }
}

export interface ReadObjectOptions extends ReadOptions {
  /** Whether we read it at once, so that no slow client keeps its connection. */
  isShort?: boolean
}

/** @throws MissingBytes when there is no such object, or not of that size; BackendUnavailable, BackendRefused */
export async function readObject(
  store: Store,
  key: string,
  { range, size, isShort = false }: ReadObjectOptions = {},
): Promise<Readable> {
  const first = await store.download(key, { range, isShort })
  if (size !== undefined && first.size !== size) {
    first.body.destroy()
    throw new StorageError('MissingBytes')
  }
  return new ResumingDownload({
    range: range ?? { start: 0, end: first.size - 1 },
    first,
    resume: (rest) => store.download(key, { range: rest, etag: first.etag, isShort }),
    stallMs: store.settings.timeoutMs,
  })
}
