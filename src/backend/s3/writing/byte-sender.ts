import { randomUUID } from 'node:crypto'
import { type CompletedPart, PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { existsAlready, isWrittenBy } from '../objects.ts'
import type { Store } from '../store.ts'
import { refusal, storeCode } from '../store-errors.ts'
import type { PartTarget } from './multipart-upload.ts'
import type { PartBuffer } from './part-buffers.ts'

export interface PutOptions {
  /** 64 lower-case hexadecimal digits, kept as metadata. */
  sha256?: string
  /** Whether an object that is there already is replaced; otherwise it is a bug. */
  replaces?: boolean
}

/**
 * The requests that bring bytes of objects. Each has them at hand, so that it can be tried again; its signature has
 * their SHA-256, by which the store knows that they arrived.
 */
export class ByteSender {
  /** Not every store knows the condition; one that does not says so the first time. */
  #canPutIfAbsent = true

  constructor(private readonly store: Store) {}

  /** A whole object in one request. @throws StorageFull, BackendUnavailable, BackendRefused */
  async put(key: string, bytes: Uint8Array, { sha256, replaces = false }: PutOptions = {}): Promise<void> {
    const { store } = this
    const writeId = randomUUID()
    const put = () =>
      new PutObjectCommand({
        Bucket: store.bucket,
        Key: key,
        Body: bytes,
        Metadata: { ...(sha256 !== undefined && { sha256 }), write: writeId },
        ...(this.#canPutIfAbsent && !replaces && { IfNoneMatch: '*' }),
        ...(store.sendsChecksums &&
          sha256 !== undefined && { ChecksumSHA256: Buffer.from(sha256, 'hex').toString('base64') }),
      })
    try {
      expectStored(await store.send(put(), { bringsBytes: true }))
    } catch (error) {
      const code = storeCode(error)
      if (code === 'NotImplemented' && this.#canPutIfAbsent && !replaces) {
        this.#canPutIfAbsent = false
        expectStored(await store.send(put(), { bringsBytes: true }))
      } else if (code !== 'PreconditionFailed') {
        throw error
      } else if (!(await isWrittenBy(store, key, writeId))) {
        // If it is ours, an earlier attempt was made, and its answer was lost.
        throw existsAlready(key)
      }
    }
  }

  /** @throws StorageFull, BackendUnavailable, BackendRefused, the signal's reason */
  async part(part: PartBuffer, target: PartTarget, signal?: AbortSignal): Promise<CompletedPart> {
    const stored = await this.store.send(
      new UploadPartCommand({
        ...target,
        Body: await part.content(),
        ...(this.store.sendsChecksums && { ChecksumAlgorithm: 'SHA256' }),
      }),
      { bringsBytes: true, ...(signal && { signal }) },
    )
    expectStored(stored)
    return { ETag: stored.ETag, ChecksumSHA256: stored.ChecksumSHA256 }
  }
}

/** A web server that is no store may well answer 200 to a PUT, but does not know what an object is. */
function expectStored({ ETag }: { ETag?: string | undefined }): void {
  if (ETag !== undefined) return
  throw refusal('The answer to an upload has no ETag: is STORAGE_S3_ENDPOINT an S3 store?')
}
