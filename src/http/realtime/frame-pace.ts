/** What a client may send at once. Joining as many channels as one may have, each with a fresh token, takes 200. */
const AT_ONCE = 300

/** What it may send for longer. A heartbeat is one in 25 s (wire §10.1). */
const PER_SECOND = 30

/** A frame counts once for each of these, since a long one takes longer to read. In bytes. */
const COUNTED_BYTES = 4096

/** How many frames a client sends, pings and pongs too: a token bucket. */
export class FramePace {
  #left = AT_ONCE
  #since = performance.now()

  /** Counts a frame. Returns whether the client may send it. */
  take(bytes: number): boolean {
    const now = performance.now()
    this.#left = Math.min(AT_ONCE, this.#left + ((now - this.#since) / 1000) * PER_SECOND)
    this.#since = now
    this.#left -= Math.max(1, Math.ceil(bytes / COUNTED_BYTES))
    return this.#left >= 0
  }

  /** Whether it has gone on for as much again since it was told to stop. */
  get isHopeless(): boolean {
    return this.#left < -AT_ONCE
  }

  /** What a client is told. */
  static readonly excess = `too many frames: at most ${AT_ONCE} at once, and ${PER_SECOND} a second`
}
