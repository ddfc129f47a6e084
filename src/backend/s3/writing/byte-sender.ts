import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type CompletedPart, PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { base64OfHex } from '../../../model/checksums.ts'
import { hasCode } from '../../../model/errors.ts'
import { existsAlready, isWrittenBy } from '../objects.ts'
import type { Store } from '../store.ts'
import { refusal, storeCode } from '../store-errors.ts'
import type { PartTarget } from './multipart-upload.ts'
import type { PartBuffer } from './part-buffers.ts'
import type { PassingPart } from './passing-part.ts'

export interface PutOptions {
  /** 64 lower-case hexadecimal digits, kept as metadata. */
  sha256?: string
  /** Whether an object that is there already is replaced; otherwise it is a bug. */
  replaces?: boolean
}

/** The pause before the second attempt takes less than twice as long, each further one less than twice the last. */
const PAUSE_MS = 100

/**
 * The requests that bring bytes of objects. Each but `pass` has them at hand, so that it can be tried again; its signature
 * has their SHA-256, by which the store knows that they arrived.
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
        ...(store.sendsChecksums && sha256 !== undefined && { ChecksumSHA256: base64OfHex(sha256) }),
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

  /**
   * A part as it comes. Tried again as long as its first bytes are at hand. Its signature is not of the bytes, which nobody
   * knows yet: the caller compares what the store says of them.
   *
   * @param size in bytes
   * @throws StorageFull, BackendUnavailable, BackendRefused, and when the signal breaks it off
   */
  async pass(
    part: PassingPart,
    target: PartTarget,
    { size, signal }: { size: number; signal: AbortSignal },
  ): Promise<CompletedPart> {
    const { attempts } = this.store.settings
    for (let attempt = 1; ; attempt++) {
      const Body = part.open()
      const command = new UploadPartCommand({
        ...target,
        Body,
        ContentLength: size,
        ...(this.store.sendsChecksums && { ChecksumAlgorithm: 'SHA256' }),
      })
      try {
        const stored = await this.store.send(command, { isPassing: true, signal })
        expectStored(stored)
        return { ETag: stored.ETag, ChecksumSHA256: stored.ChecksumSHA256 }
      } catch (error) {
        if (!part.canRepeat || attempt >= attempts || !mayPass(error)) throw error
      } finally {
        Body.destroy()
      }
      await delay(Math.random() * PAUSE_MS * 2 ** attempt, undefined, { signal })
    }
  }
}

/** Whether another attempt may succeed. */
function mayPass(error: unknown): boolean {
  return hasCode(error, 'BackendUnavailable') && storeCode(error) !== 'NoSuchUpload'
}

/** A web server that is no store may well answer 200 to a PUT, but does not know what an object is. */
function expectStored({ ETag }: { ETag?: string | undefined }): void {
  if (ETag !== undefined) return
  throw refusal('The answer to an upload has no ETag: is STORAGE_S3_ENDPOINT an S3 store?')
}
