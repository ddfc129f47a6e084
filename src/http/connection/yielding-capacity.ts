import type { IncomingMessage } from 'node:http'
import { type ErrorCode, StorageError } from '../../model/errors.ts'
import { breakOff, waitsForClient } from './body-pace.ts'

/** How many times the least rate of any body a request has to move when there are more requests than places. */
const WHEN_FULL = 16

/** Long enough to tell how fast a client is. In milliseconds. */
const JUDGED_AFTER_MS = 5000

/** How often all are looked at, at the most: whoever is refused asks again. In milliseconds. */
const LOOK_EVERY_MS = 250

export interface YieldingCapacityOptions {
  most: number
  /** Bytes per second that any body brings; 0 is any, and then nobody gives way. */
  minRate: number
  /** What is thrown when all are taken. */
  full: ErrorCode
}

interface Held {
  /** Since when what its connection has moved is counted. */
  since: number
  /** What it had moved by then, in bytes. */
  before: number
}

/**
 * Places for requests under way. Nobody waits for one: when all are taken, a new request gets the place of the slowest
 * one whose client only dribbles, with its body or in reading the answer; if there is none such it is refused.
 */
export class YieldingCapacity {
  readonly #options: YieldingCapacityOptions
  /** In bytes per second. */
  readonly #fair: number
  readonly #held = new Map<IncomingMessage, Held>()
  /** Those who are to give way, the slowest first, as of the last look. */
  #dribblers: IncomingMessage[] = []
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(options: YieldingCapacityOptions) {
    this.#options = options
    this.#fair = WHEN_FULL * options.minRate
  }

  /**
   * Runs the work of a request, which says when it needs a place, and gives it back when it is over.
   *
   * @param work is given what takes the place, which may be called twice, and throws as `acquire`
   * @throws the error for full before anything is done for a request that would get no place now
   */
  async during<T>(incoming: IncomingMessage, work: (admit: () => void) => Promise<T>): Promise<T> {
    if (this.#held.size >= this.#options.most) this.#slowest()
    try {
      return await work(() => this.acquire(incoming))
    } finally {
      this.release(incoming)
    }
  }

  /** Takes a place. One request has one, however often it takes it. @throws the error for full */
  acquire(incoming: IncomingMessage): void {
    if (this.#held.has(incoming)) return
    if (this.#held.size >= this.#options.most) this.#makeRoom()
    this.#held.set(incoming, { since: performance.now(), before: movedBytes(incoming) })
  }

  /** Gives a place back; one that the request has not is a success. */
  release(incoming: IncomingMessage): void {
    this.#held.delete(incoming)
    if (this.#dribblers.length > 0 && this.#held.size < this.#options.most / 2) this.#dribblers = []
  }

  #makeRoom(): void {
    const slowest = this.#slowest()
    this.#held.delete(slowest)
    if (waitsForClient(slowest)) breakOff(slowest)
    else slowest.socket.destroy()
  }

  /** @throws the error for full when all are fast enough, or wait for us, or have only begun */
  #slowest(): IncomingMessage {
    const now = performance.now()
    if (now - this.#lookedAt >= LOOK_EVERY_MS) {
      this.#lookedAt = now
      this.#dribblers = this.#look(now)
    }
    let slowest = this.#dribblers[0]
    while (slowest && !(this.#held.has(slowest) && isUpToClient(slowest))) {
      this.#dribblers.shift()
      slowest = this.#dribblers[0]
    }
    if (!slowest) throw new StorageError(this.#options.full)
    return slowest
  }

  #look(now: number): IncomingMessage[] {
    const slow: { incoming: IncomingMessage; rate: number }[] = []
    for (const [incoming, held] of this.#held) {
      const elapsedMs = now - held.since
      if (elapsedMs < JUDGED_AFTER_MS) continue
      const moved = movedBytes(incoming)
      const rate = ((moved - held.before) / elapsedMs) * 1000
      if (rate < this.#fair && isUpToClient(incoming)) {
        slow.push({ incoming, rate })
      } else {
        // What it was until now does not help one that stalls from here on.
        held.since = now
        held.before = moved
      }
    }
    return slow.sort((a, b) => a.rate - b.rate).map(({ incoming }) => incoming)
  }
}

/** Whether nothing goes on until the client sends, or reads. */
function isUpToClient(incoming: IncomingMessage): boolean {
  return waitsForClient(incoming) || incoming.socket.writableLength > 0
}

/** What a connection has brought, and what its client has been sent. In bytes. */
function movedBytes({ socket }: IncomingMessage): number {
  return socket.bytesRead + socket.bytesWritten - socket.writableLength
}
