/** Random choices that a seed repeats: mulberry32, by Tommy Ettinger, in the public domain. */
export class Random {
  #state: number

  constructor(readonly seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 up to, not including, `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0]
  }

  bytes(length: number): Buffer {
    const words = new Uint32Array(Math.ceil(length / 4))
    for (let at = 0; at < words.length; at++) words[at] = this.below(2 ** 32)
    return Buffer.from(words.buffer, 0, length)
  }
}

/**
 * Another one in each run, unless FAULTS_SEED names one from a failure's message: that repeats a run's choices, though
 * not its timing.
 */
export function newSeed(): number {
  return Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 2 ** 31))
}
