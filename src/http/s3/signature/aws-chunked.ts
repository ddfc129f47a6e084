import { createHash, type Hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { StorageError } from '../../../model/errors.ts'
import type { ChunkSignatures } from './chunk-signatures.ts'

export interface AwsChunkedOptions {
  /** Of the chunks, where they have some. */
  signatures: ChunkSignatures | null
  /** Whether headers stand behind the last chunk. */
  hasTrailer: boolean
  /** Those that the request has announced, in lower case: `x-amz-trailer`. */
  announced: string[]
  /** Of all decoded bytes, where the request says it: `x-amz-decoded-content-length`. */
  length: number | undefined
}

/** Of the line before a chunk: a length, and a signature of 64 digits. In bytes. */
const MAX_LINE = 256

/** Of all that stands behind the last chunk. In bytes. */
const MAX_TRAILER = 4096

/** A length in hex, far above what an object may have, and what is said of the chunk. */
const CHUNK_LINE = /^([\da-fA-F]{1,12})(?:;chunk-signature=([\da-f]{64}))?$/

const CR = 13
const LF = 10

/**
 * The bytes in a body of S3's own chunks (`aws-chunked`; wire §6.2): `<length>[;chunk-signature=<hex>] CRLF <bytes> CRLF`,
 * one of no bytes at the end, and perhaps headers behind it. Nothing is kept back: whoever reads has to wait for the end,
 * since only then all signatures have been verified. Reads of the request as its own reader does.
 *
 * Ends with SignatureDoesNotMatch, MalformedChunks, MalformedTrailer, Aborted.
 */
export class AwsChunkedBody extends Readable {
  readonly #incoming: IncomingMessage
  readonly #options: AwsChunkedOptions
  readonly #trailers = new Map<string, string>()
  #state: 'line' | 'bytes' | 'behind-bytes' | 'end' = 'line'
  /** What has come of a line, or of what stands behind the last chunk. */
  #text = ''
  /** Of the chunk that is being read. */
  #signature = ''
  #hash: Hash | undefined
  #bytesLeft = 0
  /** Of all chunks. */
  #total = 0
  #isStarted = false

  constructor(incoming: IncomingMessage, options: AwsChunkedOptions) {
    super()
    this.#incoming = incoming
    this.#options = options
  }

  /** What stood behind the last chunk, by lower-case names, without its signature. Known once all has been read. */
  get trailers(): ReadonlyMap<string, string> {
    return this.#trailers
  }

  override _read(): void {
    if (this.#isStarted) {
      this.#incoming.resume()
      return
    }
    this.#isStarted = true
    if (this.#incoming.destroyed) {
      this.#onClose() // that will not come again
      return
    }
    this.#incoming
      .on('data', this.#onData)
      .on('end', this.#onEnd)
      .on('close', this.#onClose)
      .on('error', this.#onError)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#isStarted) {
      // The listener for errors stays: what a left request still says must not be uncaught.
      this.#incoming.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose)
      if (!this.#incoming.readableEnded) this.#incoming.pause()
    }
    done(error)
  }

  readonly #onData = (bytes: Buffer): void => {
    try {
      if (!this.#take(bytes)) this.#incoming.pause()
    } catch (error) {
      this.destroy(error as Error) // what is thrown here is a StorageError
    }
  }

  readonly #onEnd = (): void => {
    try {
      this.#finish()
      this.push(null)
    } catch (error) {
      this.destroy(error as Error) // as above
    }
  }

  readonly #onError = (cause: Error): void => {
    this.destroy(cause instanceof StorageError ? cause : new StorageError('Aborted', { cause }))
  }

  readonly #onClose = (): void => {
    if (!this.#incoming.readableEnded) this.destroy(new StorageError('Aborted'))
  }

  /** @returns whether the reader wants more now */
  #take(bytes: Buffer): boolean {
    let wantsMore = true
    for (let at = 0; at < bytes.length; ) {
      if (this.#state === 'bytes') {
        const piece = bytes.subarray(at, at + this.#bytesLeft)
        at += piece.length
        this.#bytesLeft -= piece.length
        this.#hash?.update(piece)
        wantsMore = this.push(piece)
        if (this.#bytesLeft === 0) this.#state = 'behind-bytes'
      } else if (this.#state === 'end') {
        this.#text += bytes.toString('latin1', at)
        at = bytes.length
        if (this.#text.length > MAX_TRAILER) throw new StorageError('MalformedTrailer')
      } else {
        at = this.#takeLine(bytes, at)
      }
    }
    return wantsMore
  }

  /** @returns where the bytes behind what has been taken begin */
  #takeLine(bytes: Buffer, from: number): number {
    const feed = bytes.indexOf(LF, from)
    const end = feed < 0 ? bytes.length : feed + 1
    this.#text += bytes.toString('latin1', from, end)
    if (this.#text.length > MAX_LINE) throw malformed('a line before a chunk is too long')
    if (feed < 0) return end
    const line = this.#text
    this.#text = ''
    if (line.charCodeAt(line.length - 2) !== CR) throw malformed('a line ends without CRLF')
    if (this.#state === 'line') this.#beginChunk(line.slice(0, -2))
    else this.#endChunk(line)
    return end
  }

  #beginChunk(line: string): void {
    const { signatures, length = Number.POSITIVE_INFINITY } = this.#options
    const [, size = '', signature = ''] = CHUNK_LINE.exec(line) ?? []
    if (size === '') throw malformed('a chunk begins with its length in hex')
    if (signatures && signature === '') throw malformed('a chunk has no signature')
    this.#signature = signature
    this.#bytesLeft = Number.parseInt(size, 16)
    this.#total += this.#bytesLeft
    if (this.#total > length) throw malformed('the chunks have more bytes than x-amz-decoded-content-length')
    if (signatures) this.#hash = createHash('sha256')
    if (this.#bytesLeft > 0) {
      this.#state = 'bytes'
      return
    }
    if (length !== Number.POSITIVE_INFINITY && this.#total < length) {
      throw malformed('the chunks have fewer bytes than x-amz-decoded-content-length')
    }
    this.#verifyChunk()
    this.#state = 'end'
  }

  #endChunk(line: string): void {
    if (line.length !== 2) throw malformed('a chunk is longer than it says')
    this.#verifyChunk()
    this.#state = 'line'
  }

  #verifyChunk(): void {
    const { signatures } = this.#options
    if (!signatures || !this.#hash) return
    if (!signatures.isOfChunk(this.#signature, this.#hash.digest('hex'))) {
      throw new StorageError('SignatureDoesNotMatch', {
        message: 'The signature of a chunk of the body is not the one that this server calculates',
      })
    }
  }

  #finish(): void {
    if (this.#state !== 'end') throw malformed('the last chunk, of no bytes, is missing')
    if (!this.#options.hasTrailer) {
      if (this.#text !== '' && this.#text !== '\r\n')
        throw malformed('something stands behind the last chunk')
      return
    }
    // Some clients end lines with a line feed, or with both and one more.
    const lines = this.#text.split(/\r?\n/).filter((line) => line !== '')
    for (const line of lines) {
      const [, name = '', value = ''] = /^([\w-]{1,100}): *([!-~]*) *$/.exec(line) ?? []
      if (name === '' || this.#trailers.has(name.toLowerCase())) throw new StorageError('MalformedTrailer')
      this.#trailers.set(name.toLowerCase(), value)
    }
    this.#verifyTrailer()
  }

  #verifyTrailer(): void {
    const signature = this.#trailers.get(TRAILER_SIGNATURE)
    this.#trailers.delete(TRAILER_SIGNATURE)
    const { signatures, announced } = this.#options
    if (this.#trailers.size === 0 || !announced.every((name) => this.#trailers.has(name))) {
      throw new StorageError('MalformedTrailer')
    }
    if (!signatures) return
    if (signature === undefined) throw new StorageError('MalformedTrailer')
    const lines = [...this.#trailers].map(([name, value]) => `${name}:${value}\n`).join('')
    if (!signatures.isOfTrailer(signature, lines)) {
      throw new StorageError('SignatureDoesNotMatch', {
        message: 'The signature of the trailer is not the one that this server calculates',
      })
    }
  }
}

const TRAILER_SIGNATURE = 'x-amz-trailer-signature'

function malformed(what: string): StorageError {
  return new StorageError('MalformedChunks', { message: `The aws-chunked body is malformed: ${what}` })
}
