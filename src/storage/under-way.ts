/** Answers that are being found: who asks for one of them waits for that, instead of asking again. */
export class UnderWay<Answer> {
  readonly #asked = new Map<string, Promise<Map<string, Answer>>>()

  /**
   * @param find asks for those of the keys that nobody has asked for
   * @returns what was found; a key without an answer is missing
   * @throws as the `find` of whoever has asked
   */
  async of(
    keys: string[],
    find: (keys: string[]) => Promise<Map<string, Answer>>,
  ): Promise<Map<string, Answer>> {
    const wanted = keys.filter((key) => !this.#asked.has(key))
    const others = new Set(keys.flatMap((key) => this.#asked.get(key) ?? []))
    const own = wanted.length > 0 ? this.#begin(wanted, find) : undefined
    const found = await Promise.all([...others, ...(own ? [own] : [])])
    return new Map(found.flatMap((answers) => [...answers]))
  }

  #begin(keys: string[], find: (keys: string[]) => Promise<Map<string, Answer>>) {
    const finding = find(keys).finally(() => {
      for (const key of keys) this.#asked.delete(key)
    })
    for (const key of keys) this.#asked.set(key, finding)
    return finding
  }
}
