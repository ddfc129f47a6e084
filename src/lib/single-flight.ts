/**
 * Answers that are being found: who asks the same meanwhile waits for that, instead of asking again. Only the very same:
 * who asks for less than another would wait for all that the other wants to know.
 */
export class SingleFlight<Answer> {
  readonly #asked = new Map<string, Promise<Answer>>()

  /** @throws as the `find` of whoever has asked */
  of(question: string, find: () => Promise<Answer>): Promise<Answer> {
    const asked = this.#asked.get(question)
    if (asked) return asked
    const finding = find().finally(() => this.#asked.delete(question))
    this.#asked.set(question, finding)
    return finding
  }
}
