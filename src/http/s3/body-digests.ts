import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { Written } from '../../backend/backend.ts'
import type { Md5Thread, ThreadedMd5 } from '../../lib/md5-thread.ts'
import {
  beginChecksum,
  type Checksum,
  type ChecksumAlgorithm,
  isBase64Of,
  md5Etag,
} from '../../model/checksums.ts'
import { StorageError } from '../../model/errors.ts'
import { algorithmInTrailer, parseAlgorithm, refuseUnknownChecksums, sentChecksum } from './checksum-words.ts'
import type { DecodedBody } from './decoded-body.ts'
import { type Look, PacedBody } from './paced-body.ts'
import type { Payload } from './signature/payload.ts'

/** What the MD5 of a body takes where it is received, up to this long, is less than the way to another thread. In bytes. */
const SHORT = 256 * 1024

/** What S3 knows of bytes that have come. */
export interface BodyDigests {
  /** The MD5, with its quotes. */
  eTag: string
  /** Undefined when the client has named no algorithm. */
  checksum: Checksum | undefined
}

/**
 * The digests of a body, computed as it passes and compared with what the client says of it. SHA-256 is left to the store,
 * which computes it anyway.
 */
export class RunningBodyDigests {
  readonly #expectedMd5: string | undefined
  readonly #signedSha256: string | undefined
  readonly #algorithm: ChecksumAlgorithm | undefined
  readonly #expected: string | undefined
  readonly #isInTrailer: boolean
  readonly #checksum
  #digestMd5: () => Buffer | Promise<Buffer> = () => createHash('md5').digest() // of no bytes
  #leave = () => {}

  /**
   * @param headers of the request
   * @param payload what its signature says of the body
   * @param usual the algorithm of a client that names none
   * @throws InvalidDigest, InvalidRequest
   */
  constructor(headers: IncomingHttpHeaders, payload: Payload, usual?: ChecksumAlgorithm) {
    this.#expectedMd5 = parseContentMd5(headers['content-md5']?.toString())
    this.#signedSha256 = payload.kind === 'sha256' ? payload.hash : undefined
    refuseUnknownChecksums(Object.keys(headers))
    const sent = sentChecksum(headers)
    const inTrailer = algorithmInTrailer(headers)
    const named = parseAlgorithm(
      (headers['x-amz-sdk-checksum-algorithm'] ?? headers['x-amz-checksum-algorithm'])?.toString(),
    )
    this.#algorithm = sent?.algorithm ?? inTrailer ?? named ?? usual
    this.#expected = sent?.value
    this.#isInTrailer = !sent && inTrailer !== undefined
    this.#checksum =
      this.#algorithm === 'SHA256' || !this.#algorithm ? undefined : beginChecksum(this.#algorithm)
  }

  /**
   * Sees the bytes of a body.
   *
   * @param thread computes the MD5 of what is long
   * @returns what is to be read in place of the body's stream
   */
  watch({ stream, length }: Pick<DecodedBody, 'stream' | 'length'>, thread: Md5Thread): Readable {
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
    const look: Look = (chunk, onRoom) => {
      this.#checksum?.update(chunk)
      return md5.update(chunk, onRoom)
    }
    const paced = new PacedBody(stream, look)
    this.#leave = () => {
      paced.destroy()
      md5.forget()
    }
    return paced
  }

  /** What is left of the body need not be looked at, and what was seen is forgotten. */
  leave(): void {
    this.#leave()
  }

  /**
   * @param written all the bytes
   * @param trailers what came behind them
   * @throws ContentHashMismatch, BadDigest, InvalidRequest
   */
  async verify({ sha256 }: Written, trailers: ReadonlyMap<string, string> = NONE): Promise<BodyDigests> {
    if (this.#signedSha256 !== undefined && this.#signedSha256 !== sha256) {
      throw new StorageError('ContentHashMismatch')
    }
    const md5 = await this.#digestMd5()
    if (this.#expectedMd5 !== undefined && this.#expectedMd5 !== md5.toString('base64')) {
      throw new StorageError('BadDigest')
    }
    return { eTag: md5Etag(md5), checksum: this.#verifyChecksum(sha256, trailers) }
  }

  #verifyChecksum(sha256: string, trailers: ReadonlyMap<string, string>): Checksum | undefined {
    const algorithm = this.#algorithm
    if (!algorithm) return undefined
    const digest = this.#checksum?.digest() ?? Buffer.from(sha256, 'hex')
    const value = digest.toString('base64')
    const expected = this.#isInTrailer ? trailing(algorithm, trailers) : this.#expected
    if (expected !== undefined && expected !== value) {
      const message = `The ${algorithm} you specified did not match the calculated checksum; nothing was kept`
      throw new StorageError('BadDigest', { message })
    }
    return { algorithm, type: 'FULL_OBJECT', value }
  }
}

const NONE: ReadonlyMap<string, string> = new Map()

/** @throws InvalidRequest when it is not there, though it was announced */
function trailing(algorithm: ChecksumAlgorithm, trailers: ReadonlyMap<string, string>): string {
  const sent = sentChecksum(Object.fromEntries(trailers))
  if (sent?.algorithm === algorithm) return sent.value
  throw new StorageError('InvalidRequest', { message: 'The checksum of x-amz-trailer did not come' })
}

/** @throws InvalidDigest */
function parseContentMd5(header: string | undefined): string | undefined {
  if (header === undefined || isBase64Of(header, 16)) return header
  throw new StorageError('InvalidDigest')
}
