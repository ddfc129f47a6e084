import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { Written } from '../../backend/backend.ts'
import type { Md5Thread } from '../../lib/md5-thread.ts'
import { type Checksum, type ChecksumAlgorithm, isBase64Of } from '../../model/checksums.ts'
import { StorageError } from '../../model/errors.ts'
import {
  algorithmInTrailer,
  announcedTrailers,
  parseAlgorithm,
  refuseUnknownChecksums,
  sentChecksum,
} from './checksum-words.ts'
import type { DecodedBody } from './decoded-body.ts'
import { type BodyDigests, PassingDigests } from './passing-digests.ts'
import type { Payload } from './signature/payload.ts'

/**
 * The digests of a body, computed as it passes and compared with what the client says of it. SHA-256 is left to the store,
 * which computes it anyway.
 */
export class RunningBodyDigests {
  readonly #expectedMd5: string | undefined
  readonly #signedSha256: string | undefined
  readonly #expected: string | undefined
  readonly #isInTrailer: boolean
  readonly #passing: PassingDigests

  /**
   * @param headers of the request
   * @param payload what its signature says of the body
   * @param usual the algorithm of a client that names none
   * @throws InvalidDigest, InvalidRequest
   */
  constructor(headers: IncomingHttpHeaders, payload: Payload, usual?: ChecksumAlgorithm) {
    this.#expectedMd5 = parseContentMd5(headers['content-md5']?.toString())
    this.#signedSha256 = payload.kind === 'sha256' ? payload.hash : undefined
    const announced = announcedTrailers(headers)
    refuseUnknownChecksums([...Object.keys(headers), ...announced])
    const sent = sentChecksum(headers)
    const inTrailer = algorithmInTrailer(announced)
    if (sent && inTrailer) {
      throw new StorageError('InvalidRequest', {
        message: 'A checksum may be sent before the bytes or behind them',
      })
    }
    const named = parseAlgorithm(
      (headers['x-amz-sdk-checksum-algorithm'] ?? headers['x-amz-checksum-algorithm'])?.toString(),
    )
    const algorithm = sent?.algorithm ?? inTrailer ?? named ?? usual
    this.#expected = sent?.value
    this.#isInTrailer = inTrailer !== undefined
    this.#passing = new PassingDigests(algorithm)
  }

  /**
   * Sees the bytes of a body.
   *
   * @param thread computes the MD5 of what is long
   * @returns what is to be read in place of the body's stream
   */
  watch({ stream, length }: Pick<DecodedBody, 'stream' | 'length'>, thread: Md5Thread): Readable {
    return this.#passing.watch(stream, length, thread)
  }

  /** The chunks of the body are needed by nobody else any more: their memory is freed. */
  giveBack(chunks: Uint8Array[]): void {
    this.#passing.giveBack(chunks)
  }

  /** What is left of the body need not be looked at, and what was seen is forgotten. */
  leave(): void {
    this.#passing.leave()
  }

  /** Of all the bytes, once they have passed. */
  md5(): Promise<Buffer> {
    return this.#passing.md5()
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
    const { md5, eTag, checksum } = await this.#passing.digest({ sha256 })
    if (this.#expectedMd5 !== undefined && this.#expectedMd5 !== md5.toString('base64')) {
      throw new StorageError('BadDigest')
    }
    if (checksum) this.#verifyChecksum(checksum, trailers)
    return { eTag, checksum }
  }

  #verifyChecksum({ algorithm, value }: Checksum, trailers: ReadonlyMap<string, string>): void {
    const expected = this.#isInTrailer ? trailing(algorithm, trailers) : this.#expected
    if (expected === undefined || expected === value) return
    const message = `The ${algorithm} you specified did not match the calculated checksum; nothing was kept`
    throw new StorageError('BadDigest', { message })
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
