import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Written } from '../../backend/backend.ts'
import { freeMemory } from '../../lib/free-memory.ts'
import type { Md5Thread, ThreadedMd5 } from '../../lib/md5-thread.ts'
import { type Look, PacedBody } from '../../lib/paced-body.ts'
import { beginChecksum, type Checksum, type ChecksumAlgorithm, md5Etag } from '../../model/checksums.ts'

/** What the MD5 of a body takes where it is received, up to this long, is less than the way to another thread. In bytes. */
const SHORT = 256 * 1024

/** What S3 knows of bytes that have come. */
export interface BodyDigests {
  /** The MD5, with its quotes. */
  eTag: string
  /** Undefined when nobody has named an algorithm. */
  checksum: Checksum | undefined
}

/**
 * The MD5 and one checksum of bytes, computed as they pass to somebody who reads them. SHA-256 is left to the store, which
 * computes it anyway.
 */
export class PassingDigests {
  readonly #algorithm: ChecksumAlgorithm | undefined
  readonly #checksum
  #digestMd5: () => Buffer | Promise<Buffer> = () => createHash('md5').digest() // of no bytes
  #md5: Promise<Buffer> | undefined
  #leave = () => {}
  #giveBack: (chunks: Uint8Array[]) => void = freeMemory

  constructor(algorithm: ChecksumAlgorithm | undefined) {
    this.#algorithm = algorithm
    this.#checksum = algorithm === 'SHA256' || !algorithm ? undefined : beginChecksum(algorithm)
  }

  /**
   * @param length in bytes; null when it is unknown
   * @param thread computes the MD5 of what is long
   * @returns what is to be read in place of the stream
   */
  watch(stream: Readable, length: number | null, thread: Md5Thread): Readable {
    return length !== null && length <= SHORT ? this.#tap(stream) : this.#pace(stream, thread.begin())
  }

  #tap(stream: Readable): Readable {
    const md5 = createHash('md5')
    this.#digestMd5 = () => md5.digest()
    const tap = (chunk: Uint8Array) => {
      md5.update(chunk)
      this.#checksum?.update(chunk)
    }
    stream.pause() // a listener would begin to read, and what passes before the reader comes is lost
    stream.on('data', tap)
    this.#leave = () => stream.off('data', tap)
    return stream
  }

  #pace(stream: Readable, md5: ThreadedMd5): Readable {
    this.#digestMd5 = () => md5.digest()
    this.#giveBack = (chunks) => md5.giveBack(chunks)
    const look: Look = (chunk, onRoom) => {
      this.#checksum?.update(chunk)
      return md5.update(chunk, onRoom)
    }
    const paced = new PacedBody(stream, look)
    paced.once('end', () => void md5.digest().catch(ignore)) // while what has been read is flushed
    this.#leave = () => {
      paced.destroy()
      md5.forget()
    }
    return paced
  }

  /** The next chunks are needed by nobody else any more, who has made them neither: their memory is freed. */
  giveBack(chunks: Uint8Array[]): void {
    this.#giveBack(chunks)
  }

  /** What is left need not be looked at, and what was seen is forgotten. */
  leave(): void {
    this.#leave()
  }

  /** Of all the bytes, once they have passed. */
  md5(): Promise<Buffer> {
    this.#md5 ??= Promise.resolve(this.#digestMd5())
    return this.#md5
  }

  /** @param written all the bytes */
  async digest({ sha256 }: Pick<Written, 'sha256'>): Promise<BodyDigests & { md5: Buffer }> {
    const md5 = await this.md5()
    return { md5, eTag: md5Etag(md5), checksum: this.#valueOf(sha256) }
  }

  #valueOf(sha256: string): Checksum | undefined {
    if (!this.#algorithm) return undefined
    const digest = this.#checksum?.digest() ?? Buffer.from(sha256, 'hex')
    return { algorithm: this.#algorithm, type: 'FULL_OBJECT', value: digest.toString('base64') }
  }
}

/** Who asks for the digests is told. */
const ignore = () => {}
