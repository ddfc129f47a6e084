import type { StorageError } from './errors.ts'

/** An amount of something, such as bytes, of which parts are taken and given back. */
export class Capacity {
  #taken = 0

  constructor(
    private readonly most: number,
    /** What is thrown when there is not enough left. */
    private readonly full: () => StorageError,
    /** What is taken of this one is taken of that one too. */
    private readonly whole?: Pick<Capacity, 'acquire'>,
  ) {}

  /** Takes a part. Returns what gives it back; a second time that does nothing. @throws the error for full, as the whole */
  acquire(amount: number): () => void {
    if (this.#taken + amount > this.most) throw this.full()
    const releaseWhole = this.whole?.acquire(amount)
    this.#taken += amount
    let isTaken = true
    return () => {
      if (!isTaken) return
      isTaken = false
      this.#taken -= amount
      releaseWhole?.()
    }
  }
}
