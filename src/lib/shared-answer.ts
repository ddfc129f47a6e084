/** What many ask for at once: it is found once for all of them, and good for a while after that. */
export class SharedAnswer<Answer> {
  readonly #find: () => Promise<Answer>
  readonly #keptMs: number
  #answer: Promise<Answer> | undefined

  /** @param find must not fail */
  constructor(find: () => Promise<Answer>, keptMs: number) {
    this.#find = find
    this.#keptMs = keptMs
  }

  get(): Promise<Answer> {
    this.#answer ??= this.#find().finally(() => {
      setTimeout(() => {
        this.#answer = undefined
      }, this.#keptMs).unref()
    })
    return this.#answer
  }
}
