import { backOff } from './back-off.ts'

/** So many new events have to fail in a row; then it is the receiver that is out of order, and not an event. */
const FAILURES_OF_THE_RECEIVER = 5

/**
 * Opens when a receiver seems not to work, which is then left in peace: it gets no new events but one now and then, to
 * see whether it is back. What it had already failed to take keeps its own times.
 */
export class CircuitBreaker {
  readonly #backOffMs: number
  #failures = 0
  #restsUntil = 0
  #pausedUntil = 0

  constructor(backOffMs: number) {
    this.#backOffMs = backOffMs
  }

  /** Whether the receiver counts as out of order. */
  get isOpen(): boolean {
    return this.#failures >= FAILURES_OF_THE_RECEIVER
  }

  /** How many new events it may get now. */
  get room(): number {
    if (!this.isOpen) return Number.POSITIVE_INFINITY
    return Date.now() < this.#restsUntil ? 0 : 1
  }

  /** Until it may get new events, in milliseconds. */
  get restMs(): number {
    return Math.max(0, this.#restsUntil - Date.now())
  }

  /** Until it may get anything, as it has asked for, in milliseconds. */
  get pauseMs(): number {
    return Math.max(0, this.#pausedUntil - Date.now())
  }

  succeeded(): void {
    this.#failures = 0
    this.#restsUntil = 0
  }

  /** @param isNew whether the event was tried for the first time: one that fails again says nothing of the receiver */
  failed({ isNew, retryAfterMs }: { isNew: boolean; retryAfterMs: number }): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, Date.now() + retryAfterMs)
    // Those that were under way together count as one.
    if (!isNew || Date.now() < this.#restsUntil) return
    this.#failures++
    if (this.isOpen) {
      this.#restsUntil = Date.now() + backOff(this.#backOffMs, this.#failures - FAILURES_OF_THE_RECEIVER + 1)
    }
  }
}
