/**
 * How many bytes of a body are gathered before they are written, or put into a part. Half as many cost a seventh more of what
 * writing takes of the processor, twice as many gain nothing; about twice as much of a body is in memory. Many bodies at once
 * gather less each.
 */
export class BatchSize {
  #streams = 0

  /** For one body that is being read, in bytes. */
  readonly bytes = (): number => Math.min(BATCH, Math.max(SMALLEST_BATCH, GATHERED / this.#streams))

  /** Counts a body while `read` reads it. */
  async during<T>(read: () => Promise<T>): Promise<T> {
    this.#streams++
    try {
      return await read()
    } finally {
      this.#streams--
    }
  }
}

/** In bytes. */
const BATCH = 1024 * 1024

/** What all bodies together may gather, in bytes. */
const GATHERED = 16 * 1024 * 1024

/** Below this a write costs more than it saves in memory; and most uploads are smaller. In bytes. */
const SMALLEST_BATCH = 32 * 1024
