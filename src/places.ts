import { type ErrorCode, StorageError } from './errors.ts'

/** A number of places for work that is under way. Nobody waits for one: there is one now, or an error. */
export class Places {
  #taken = 0

  constructor(
    private readonly most: number,
    /** What is thrown when all are taken. */
    private readonly full: ErrorCode,
  ) {}

  /** Takes a place. Returns what gives it back; a second time that does nothing. @throws the error for full */
  take(): () => void {
    if (this.#taken >= this.most) throw new StorageError(this.full)
    this.#taken++
    let isTaken = true
    return () => {
      if (isTaken) this.#taken--
      isTaken = false
    }
  }

  /** Runs `work` in a place of its own. @throws the error for full, before `work` has begun */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const giveBack = this.take()
    try {
      return await work()
    } finally {
      giveBack()
    }
  }
}
