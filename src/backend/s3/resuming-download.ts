import { Readable } from 'node:stream'
import type { ByteRange } from '../../model/location.ts'
import type { Download } from './store.ts'

export interface ResumingDownloadOptions {
  /** The bytes that are wanted; none of them when it ends before it starts. */
  range: ByteRange
  /** The answer that brings them, already begun. */
  first: Download
  /** Asks for what is left of them. */
  resume(rest: ByteRange): Promise<Download>
  /** How long to wait for further bytes before asking again, or for a reader who has enough. In milliseconds. */
  stallMs: number
}

/**
 * The bytes of a download, though the store's connections may break: what is left is asked for again, and the reader
 * only notices a pause. Bytes under a version never change, so the pieces fit together.
 *
 * A reader who stops reading must not keep a connection from others: it is given up, and what is left is asked for when
 * the reader goes on.
 *
 * Breaks as `resume` does, or when several answers in a row have brought nothing at all.
 */
export class ResumingDownload extends Readable {
  readonly #options: ResumingDownloadOptions
  #body: Readable | undefined
  /** The next byte that is wanted. */
  #position: number
  #fruitless = 0
  /** Whether the reader waits for bytes. */
  #isHungry = false
  #isAsking = false
  #stall: NodeJS.Timeout | undefined

  constructor(options: ResumingDownloadOptions) {
    super({ highWaterMark: READ_AHEAD })
    this.#options = options
    this.#position = options.range.start
    this.#follow(options.first.body)
    if (options.range.end < options.range.start) this.#finish()
  }

  override _read(): void {
    this.#isHungry = true
    if (!this.#body) {
      this.#ask()
      return
    }
    this.#watch()
    this.#body.resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#leave()?.destroy()
    done(error)
  }

  #follow(body: Readable): void {
    this.#body = body
    body.pause()
    body.on('data', (chunk: Uint8Array) => this.#take(chunk))
    body.once('end', () => this.#lost(new Error('the store ended its answer early')))
    body.on('error', (error) => this.#lost(error))
    body.once('close', () => this.#lost(new Error('the store closed the connection')))
  }

  #take(chunk: Uint8Array): void {
    if (!this.#body) return
    const wanted = this.#options.range.end + 1 - this.#position
    const bytes = chunk.length > wanted ? chunk.subarray(0, wanted) : chunk
    this.#position += bytes.length
    if (bytes.length > 0) this.#fruitless = 0
    this.#isHungry = this.push(bytes)
    if (this.#position > this.#options.range.end) {
      this.#finish()
    } else {
      if (!this.#isHungry) this.#body.pause()
      this.#watch()
    }
  }

  #finish(): void {
    // What is read to its end leaves its connection free for others.
    this.#leave()?.resume()
    this.push(null)
  }

  #watch(): void {
    if (this.#stall) this.#stall.refresh()
    else this.#stall = setTimeout(() => this.#stalled(), this.#options.stallMs)
  }

  #stalled(): void {
    if (this.#isHungry) this.#lost(new Error('the store went silent'))
    else this.#leave()?.destroy() // the reader is slow, not the store
  }

  /** Takes leave of the answer that is being read. */
  #leave(): Readable | undefined {
    const body = this.#body
    this.#body = undefined
    clearTimeout(this.#stall)
    this.#stall = undefined
    body?.removeAllListeners('data').on('error', () => {})
    return body
  }

  #lost(reason: Error): void {
    const body = this.#leave()
    if (!body) return
    body.destroy()
    if (++this.#fruitless > MAX_FRUITLESS) {
      this.destroy(reason)
      return
    }
    if (this.#isHungry) this.#ask()
  }

  #ask(): void {
    if (this.#isAsking) return
    this.#isAsking = true
    this.#options.resume({ start: this.#position, end: this.#options.range.end }).then(
      ({ body: rest }) => {
        this.#isAsking = false
        if (this.destroyed) {
          rest.destroy()
          return
        }
        this.#follow(rest)
        this._read()
      },
      (error: Error) => this.destroy(error),
    )
  }
}

/** As much as the file streams of the local backend read at once. In bytes. */
const READ_AHEAD = 512 * 1024

/** Answers that bring not one byte; each was tried several times already. */
const MAX_FRUITLESS = 3
