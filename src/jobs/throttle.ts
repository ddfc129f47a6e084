import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

/** A rest takes so many times as long as the work before it. With 1, uploads were measured a quarter slower. */
const REST_PER_WORK = 4

/** Keeps background work at a fifth of the time, so that requests hardly notice it. */
export class WorkThrottle {
  #since = performance.now()

  constructor(private readonly restPerWork = REST_PER_WORK) {}

  /** Call between pieces of work: waits in proportion to what the last piece took. */
  async rest(): Promise<void> {
    await delay(this.restPerWork * (performance.now() - this.#since))
    this.#since = performance.now()
  }
}

/** Keeps a stream of bytes under a rate. */
export class ByteThrottle {
  #nextAt = performance.now()

  /** @param bytesPerSecond Infinity for no limit */
  constructor(private readonly bytesPerSecond: number) {}

  /** Call after each piece: waits until so many bytes may have passed. */
  async spend(bytes: number): Promise<void> {
    const now = performance.now()
    this.#nextAt = Math.max(this.#nextAt, now) + (bytes / this.bytesPerSecond) * 1000
    if (this.#nextAt - now > SHORTEST_WAIT_MS) await delay(this.#nextAt - now)
  }
}

/** A shorter wait costs more than it is long; the debt is kept. */
const SHORTEST_WAIT_MS = 10
