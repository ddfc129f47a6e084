import type { IncomingMessage } from 'node:http'
import { type ErrorCode, StorageError } from '../../model/errors.ts'
import { Shares } from '../../model/shares.ts'
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
  /** Places that one client may have, and what is thrown when it has them. */
  each?: { most: number; excess: ErrorCode }
}

interface Held {
  /** Since when what its connection has moved is counted. */
  since: number
  /** What it had moved by then, in bytes. */
  before: number
  /** Gives back the place in its client's share. */
  leaveShare(): void
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
  readonly #shares: Shares
  /** Those who are to give way, the slowest first, as of the last look. */
  #dribblers: IncomingMessage[] = []
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(options: YieldingCapacityOptions) {
    this.#options = options
    this.#fair = WHEN_FULL * options.minRate
    const { full, each = { most: options.most, excess: full } } = options
    // Of all together there are never more than places.
    this.#shares = new Shares({ most: Number.POSITIVE_INFINITY, each: each.most }, full, each.excess)
  }

  /** How many have a place. */
  get taken(): number {
    return this.#held.size
  }

  /**
   * Runs the work of a request, which says when it needs a place, and gives it back when it is over.
   *
   * @param client whose share it counts to; null is one who may have all places
   * @param work is given what takes the place, which may be called twice, and throws as `acquire`
   * @throws the errors for full and for excess before anything is done for a request that would get no place now
   */
  async during<T>(
    incoming: IncomingMessage,
    client: string | null,
    work: (admit: () => void) => Promise<T>,
  ): Promise<T> {
    this.#shares.admitOf(client)
    if (this.#held.size >= this.#options.most) this.#slowest()
    try {
      return await work(() => this.acquire(incoming, client))
    } finally {
      this.release(incoming)
    }
  }

  /** Takes a place. One request has one, however often it takes it. @throws the errors for full and for excess */
  acquire(incoming: IncomingMessage, client: string | null = null): void {
    if (this.#held.has(incoming)) return
    this.#shares.admitOf(client)
    if (this.#held.size >= this.#options.most) this.#makeRoom()
    const leaveShare = this.#shares.acquire(client)
    this.#held.set(incoming, { since: performance.now(), before: movedBytes(incoming), leaveShare })
  }

  /** Gives a place back; one that the request has not is a success. */
  release(incoming: IncomingMessage): void {
    this.#leave(incoming)
    if (this.#dribblers.length > 0 && this.#held.size < this.#options.most / 2) this.#dribblers = []
  }

  #leave(incoming: IncomingMessage): void {
    this.#held.get(incoming)?.leaveShare()
    this.#held.delete(incoming)
  }

  #makeRoom(): void {
    const slowest = this.#slowest()
    this.#leave(slowest)
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
