import type { ResumableUpload } from '../../database/queries/resumable-uploads.ts'
import { deferred } from '../../lib/deferred.ts'
import { checkFits } from '../buckets/bucket-rules.ts'
import { SAMPLE_BYTES } from '../detection/found-type.ts'
import type { TypeDetection } from '../detection/type-detection.ts'

/** The first bytes of an upload, seen as they pass to somebody else. */
export class FirstLook {
  readonly #sample = deferred<Uint8Array | null>()
  readonly #chunks: Uint8Array[] = []
  #size = 0
  #isOpen = true

  /** Whether there may be enough bytes yet. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /** `SAMPLE_BYTES`, once they are here; null when it has ended before. */
  get sample(): Promise<Uint8Array | null> {
    return this.#sample.promise
  }

  see(bytes: Uint8Array): void {
    if (!this.#isOpen) return
    // A copy: who writes them may free their memory at once.
    const part = Uint8Array.prototype.slice.call(bytes, 0, SAMPLE_BYTES - this.#size)
    this.#chunks.push(part)
    this.#size += part.length
    if (this.#size === SAMPLE_BYTES) this.#settle(Buffer.concat(this.#chunks))
  }

  /** No more is to come, or to be looked at. */
  end(): void {
    this.#settle(null)
  }

  #settle(sample: Uint8Array | null): void {
    this.#isOpen = false
    this.#sample.resolve(sample)
  }
}

/**
 * Judges an upload by its first bytes, if they have a say. What has fewer than are looked at is judged as a whole, once it
 * is here.
 *
 * @throws MismatchedMimeType, InvalidMimeType
 */
export async function judgeFirst(
  { types, maxFileSize }: { types: TypeDetection; maxFileSize: number },
  { bucket, name, content }: ResumableUpload,
  look: FirstLook,
): Promise<void> {
  if (!bucket || !types.wantsBytes(content.contentType)) return look.end()
  const sample = await look.sample
  if (!sample) return
  const claimed = { contentType: content.contentType, contentEncoding: undefined }
  const contentType = await types.settle(claimed, async () => sample)
  checkFits(bucket, name, { contentType, size: null }, maxFileSize)
}
