import { vi } from 'vitest'

/**
 * `performance.now()` of this process, in which a test's server runs too. While it is held it moves only when a test says
 * so, and nobody is late because the machine is busy. It never goes back. Timers go as ever.
 */
export class HeldClock {
  readonly #running = performance.now.bind(performance)
  readonly #spy = vi
    .spyOn(performance, 'now')
    .mockImplementation(() => this.#heldAt ?? this.#running() + this.#ahead)
  #heldAt: number | undefined
  /** Of the machine's, in milliseconds. */
  #ahead = 0

  hold(): void {
    this.#heldAt = performance.now()
  }

  /** Moves the clock that is held. */
  pass(ms: number): void {
    this.#heldAt = performance.now() + ms
  }

  /** It goes on by itself, from where it is. */
  release(): void {
    this.#ahead = performance.now() - this.#running()
    this.#heldAt = undefined
  }

  /** Holds it for so long as `work` takes. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.hold()
    try {
      return await work()
    } finally {
      this.release()
    }
  }

  /** It is the machine's again: for when nothing runs any more that has looked at it. */
  restore(): void {
    this.#spy.mockRestore()
  }
}
