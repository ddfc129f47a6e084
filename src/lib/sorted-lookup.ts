/**
 * Finds what has a key in a sorted list that is read once, from its first to its last: keys are to be asked for in the same
 * order, each as often as one likes.
 */
export class SortedLookup<T> {
  #iterator: AsyncIterator<T> | undefined
  #now: T | undefined
  #isDone = false
  #turn: Promise<unknown> = Promise.resolve()

  /** @param list opened with the first question */
  constructor(
    private readonly list: () => AsyncIterable<T> | Promise<AsyncIterable<T>>,
    private readonly keyOf: (entry: T) => string,
  ) {}

  /** Those who ask at once are answered by turns, in the order in which they have asked. @throws what the list throws */
  find(key: string): Promise<T | undefined> {
    const found = this.#turn.then(() => this.#find(key))
    this.#turn = found.catch(() => {})
    return found
  }

  /** Lets go of the list. */
  async close(): Promise<void> {
    await this.#turn
    await this.#iterator?.return?.()
  }

  async #find(key: string): Promise<T | undefined> {
    this.#iterator ??= (await this.list())[Symbol.asyncIterator]()
    while (!this.#isDone && (this.#now === undefined || this.keyOf(this.#now) < key)) {
      const { done, value } = await this.#iterator.next()
      this.#isDone = done === true
      this.#now = done ? undefined : value
    }
    return this.#now !== undefined && this.keyOf(this.#now) === key ? this.#now : undefined
  }
}
