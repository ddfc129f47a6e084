import { type ErrorCode, StorageError } from './errors.ts'

export interface ShareLimits {
  /** Of all together. */
  most: number
  /** Of each. */
  each: number
}

/** A number of places of which nobody may have more than a share, so that there are some for the others. */
export class Shares {
  readonly #limits: ShareLimits
  #taken = 0
  readonly #takenBy = new Map<string, number>()

  constructor(
    limits: ShareLimits,
    /** What is thrown when all are taken. */
    private readonly full: ErrorCode,
    /** What is thrown when somebody has his share. */
    private readonly excess: ErrorCode,
  ) {
    this.#limits = limits
  }

  /** @param coming how many are about to take one @throws the error for full, if not all of them could */
  admit(coming = 1): void {
    if (this.#taken + coming > this.#limits.most) throw new StorageError(this.full)
  }

  /**
   * Takes a place. Returns what gives it back; a second time that does nothing.
   *
   * @param who null is somebody who may have all of them
   * @throws the error for full, or for excess
   */
  take(who: string | null): () => void {
    this.admit()
    const own = who === null ? 0 : (this.#takenBy.get(who) ?? 0)
    if (own >= this.#limits.each) throw new StorageError(this.excess)
    this.#taken++
    if (who !== null) this.#takenBy.set(who, own + 1)
    let isTaken = true
    return () => {
      if (isTaken) this.#giveBack(who)
      isTaken = false
    }
  }

  #giveBack(who: string | null): void {
    this.#taken--
    if (who === null) return
    const left = (this.#takenBy.get(who) ?? 1) - 1
    if (left === 0) this.#takenBy.delete(who)
    else this.#takenBy.set(who, left)
  }
}
