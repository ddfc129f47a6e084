import type { IncomingMessage, ServerResponse } from 'node:http'
import { StorageError } from '../../model/errors.ts'
import { ProcessClock } from './process-clock.ts'

export interface BodyPaceOptions {
  /** A body brings its least in each such time. In milliseconds. */
  windowMs: number
  /** Bytes per second; 0 is any. */
  minRate: number
  /** For bodies that are to come in one go. In milliseconds. */
  requestMs: number
}

interface Watched {
  outgoing: ServerResponse
  startedAt: number
  /** Since when what its connection has brought is counted. */
  windowAt: number
  /** What it had brought by then, in bytes. */
  bytes: number
}

/**
 * Ends bodies that stall, or dribble so slowly that they only hold their place. Counts only while we wait for the client,
 * and not while a disk or a database keeps the client waiting.
 */
export class BodyPace {
  readonly #options: BodyPaceOptions
  readonly #bodies = new Map<IncomingMessage, Watched>()
  readonly #intervalMs: number
  readonly #clock: ProcessClock
  #timer: NodeJS.Timeout | undefined

  constructor(options: BodyPaceOptions) {
    this.#options = options
    this.#intervalMs = Math.min(5000, Math.ceil(Math.min(options.windowMs, options.requestMs) / 4))
    this.#clock = new ProcessClock(2 * this.#intervalMs)
  }

  /** Watches a request's body until its end or its answer. */
  watch(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const now = this.#clock.now()
    const { bytesRead } = incoming.socket
    this.#bodies.set(incoming, { outgoing, startedAt: now, windowAt: now, bytes: bytesRead })
    this.#timer ??= setInterval(() => this.#look(), this.#intervalMs).unref()
  }

  #look(): void {
    const { windowMs, minRate, requestMs } = this.#options
    const now = this.#clock.now()
    for (const [incoming, watched] of this.#bodies) {
      // One that was destroyed has no socket any more.
      if (incoming.complete || incoming.destroyed || watched.outgoing.headersSent) {
        this.#bodies.delete(incoming) // what comes behind an answer is dropped (`lingering.ts`)
        continue
      }
      const { bytesRead } = incoming.socket
      if (inOneGo.has(incoming) && now - watched.startedAt > requestMs) {
        this.breakOff(incoming)
      } else if (!waitsForClient(incoming)) {
        watched.windowAt = now
        watched.bytes = bytesRead
      } else if (now - watched.windowAt >= windowMs) {
        // Over all the time since: a look may be late.
        if (bytesRead - watched.bytes < (minRate * (now - watched.windowAt)) / 1000) this.breakOff(incoming)
        watched.windowAt = now
        watched.bytes = bytesRead
      }
    }
    if (this.#bodies.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Ends a body that waits for its client. */
  breakOff(incoming: IncomingMessage): void {
    if (!waitsForClient(incoming) || !this.#bodies.delete(incoming)) return
    breakOff(incoming)
  }
}

/** Ends a body so that whoever reads it can still answer: destroying it would take the connection away. */
export function breakOff(incoming: IncomingMessage): void {
  if (incoming.listenerCount('error') > 0) incoming.emit('error', new StorageError('RequestTimeout'))
  else incoming.socket.destroy()
}

/** Whether somebody reads the body as it comes. */
export function waitsForClient(incoming: IncomingMessage): boolean {
  return incoming.readableFlowing === true && !incoming.complete
}

const inOneGo = new WeakSet<IncomingMessage>()

/**
 * Marks a body that is short, and kept in memory until all of it is there; or the beginning of one.
 *
 * @returns says that it is there
 */
export function expectInOneGo(incoming: IncomingMessage): () => void {
  inOneGo.add(incoming)
  return () => inOneGo.delete(incoming)
}
