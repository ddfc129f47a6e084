import type { IncomingMessage } from 'node:http'
import { StorageError } from '../errors.ts'
import { breakOff, waitsForClient } from './body-pace.ts'

/** How many times the least rate of any body an upload has to bring when there are more uploads than places. */
const WHEN_FULL = 16

/** Long enough to tell how fast an upload is. In milliseconds. */
const JUDGED_AFTER_MS = 5000

interface Held {
  /** Since when what its connection has brought is counted. */
  since: number
  /** What it had brought by then, in bytes. */
  before: number
}

/**
 * The places for uploads under way. An upload takes one when its caller's policies have allowed it, before its body is
 * waited for: who may not upload holds none. Nobody waits for one either. When all are taken, a new upload gets the place
 * of the slowest one that only dribbles; if there is none such it is refused.
 */
export class UploadPlaces {
  readonly #most: number
  /** In bytes per second. */
  readonly #fair: number
  readonly #held = new Map<IncomingMessage, Held>()

  constructor({ uploads, minUploadRate }: { uploads: number; minUploadRate: number }) {
    this.#most = uploads
    this.#fair = WHEN_FULL * minUploadRate
  }

  /**
   * Runs an upload, and gives its place back when it is over.
   *
   * @param work is given what takes the place, which may be called twice, and throws TooManyUploads
   * @throws TooManyUploads before anything is asked for an upload that would get no place now
   */
  async during<T>(incoming: IncomingMessage, work: (admit: () => void) => Promise<T>): Promise<T> {
    if (this.#held.size >= this.#most) this.#slowest()
    try {
      return await work(() => this.#take(incoming))
    } finally {
      this.#held.delete(incoming)
    }
  }

  #take(incoming: IncomingMessage): void {
    if (this.#held.has(incoming)) return
    if (this.#held.size >= this.#most) {
      const slowest = this.#slowest()
      this.#held.delete(slowest)
      breakOff(slowest)
    }
    this.#held.set(incoming, { since: performance.now(), before: incoming.socket.bytesRead })
  }

  /** @throws TooManyUploads when all are fast enough, or wait for us, or have only begun */
  #slowest(): IncomingMessage {
    const now = performance.now()
    let slowest: IncomingMessage | undefined
    let lowest = this.#fair
    for (const [incoming, held] of this.#held) {
      const { bytesRead } = incoming.socket
      const elapsedMs = now - held.since
      if (elapsedMs < JUDGED_AFTER_MS) continue
      const rate = ((bytesRead - held.before) / elapsedMs) * 1000
      if (rate >= this.#fair || !waitsForClient(incoming)) {
        // What it was until now does not help one that stalls from here on.
        held.since = now
        held.before = bytesRead
      } else if (rate < lowest) {
        slowest = incoming
        lowest = rate
      }
    }
    if (!slowest) throw new StorageError('TooManyUploads')
    return slowest
  }
}
