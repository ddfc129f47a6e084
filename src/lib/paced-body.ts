import { Readable } from 'node:stream'
import { prematureClose } from './streams.ts'

/** Sees a chunk. @returns whether it can take more now; else it calls back. What it throws breaks the body */
export type Look = (chunk: Uint8Array, onRoom: () => void) => boolean

/**
 * A body that somebody looks at as it passes, who may be slower than its reader: it waits for both. Reads of the body as
 * its own reader does, and leaves it open.
 */
export class PacedBody extends Readable {
  readonly #body: Readable
  readonly #look: Look
  #isStarted = false
  #isWanted = false
  #hasRoom = true

  constructor(body: Readable, look: Look) {
    super()
    this.#body = body
    this.#look = look
  }

  override _read(): void {
    this.#isWanted = true
    if (this.#isStarted) {
      if (this.#hasRoom) this.#body.resume()
      return
    }
    this.#isStarted = true
    // The listener for errors stays: what a left body still says must not be uncaught.
    this.#body.on('error', this.#onError)
    // Events that are past will not come again.
    if (this.#body.readableEnded) this.#onEnd()
    else if (this.#body.destroyed) this.#onClose()
    else this.#body.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose).resume()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#body.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose)
    if (this.#isStarted && !this.#body.readableEnded) this.#body.pause()
    done(error)
  }

  readonly #onData = (chunk: Uint8Array): void => {
    try {
      this.#hasRoom = this.#look(chunk, this.#onRoom)
    } catch (error) {
      this.destroy(error as Error)
      return
    }
    this.#isWanted = this.push(chunk)
    if (!this.#isWanted || !this.#hasRoom) this.#body.pause()
  }

  readonly #onRoom = (): void => {
    this.#hasRoom = true
    if (this.#isWanted && !this.destroyed) this.#body.resume()
  }

  readonly #onEnd = (): void => {
    this.push(null)
  }

  readonly #onError = (error: Error): void => {
    this.destroy(error)
  }

  readonly #onClose = (): void => {
    if (!this.#body.readableEnded) this.destroy(prematureClose(this.#body))
  }
}
