/**
 * The time that this process has been there. A client is judged by what it has sent, and that is read only after the timer
 * that judges: when both were late because the machine was busy, or asleep, the lateness is ours. So of the time between
 * two looks no more counts than one that comes in time would have seen.
 */
export class ProcessClock {
  readonly #longestMs: number
  #readAt = performance.now()
  #now = 0

  /** @param longestMs that counts between two looks, in milliseconds; more often than that it has to be looked at */
  constructor(longestMs: number) {
    this.#longestMs = longestMs
  }

  /** In milliseconds since some moment. */
  now(): number {
    const at = performance.now()
    this.#now += Math.min(at - this.#readAt, this.#longestMs)
    this.#readAt = at
    return this.#now
  }
}
