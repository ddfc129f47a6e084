import { type ErrorCode, StorageError } from './errors.ts'

export interface ShareLimits {
  /** Of all together. */
  most: number
  /** Of each. */
  each: number
}

/** Places, or an amount such as bytes, of which nobody may have more than a share, so that there is some for the others. */
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
   * @param who null is somebody who may have all of them
   * @param coming how many he is about to take
   * @throws the error for excess, if he could not
   */
  admitOf(who: string | null, coming = 1): void {
    if (who !== null && (this.#takenBy.get(who) ?? 0) + coming > this.#limits.each) {
      throw new StorageError(this.excess)
    }
  }

  /**
   * Takes a place, or an amount. Returns what gives it back; a second time that does nothing.
   *
   * @param who as for `admitOf`
   * @throws the error for full, or for excess
   */
  acquire(who: string | null, amount = 1): () => void {
    this.admit(amount)
    this.admitOf(who, amount)
    this.#taken += amount
    if (who !== null) this.#takenBy.set(who, (this.#takenBy.get(who) ?? 0) + amount)
    let isTaken = true
    return () => {
      if (isTaken) this.#release(who, amount)
      isTaken = false
    }
  }

  #release(who: string | null, amount: number): void {
    this.#taken -= amount
    if (who === null) return
    const left = (this.#takenBy.get(who) ?? amount) - amount
    if (left === 0) this.#takenBy.delete(who)
    else this.#takenBy.set(who, left)
  }
}
