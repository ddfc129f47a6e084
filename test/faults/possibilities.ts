/** What may be at a path: SHA-256s, or null for nothing. */
export type Possible = ReadonlySet<string | null>

/** What may be at each path, as far as its writer was told: one that had no answer, or a failure, adds a possibility. */
export class Possibilities {
  readonly #paths = new Map<string, Set<string | null>>()
  #seen: Map<string, Set<string | null>> | undefined

  at(path: string): Possible {
    return this.#paths.get(path) ?? NOTHING
  }

  /** From now on it may be that as well. */
  may(path: string, now: Iterable<string | null>): void {
    const all = [...this.at(path), ...now]
    this.#paths.set(path, new Set(all))
    this.#seen?.set(path, new Set([...(this.#seen.get(path) ?? []), ...all]))
  }

  /** From now on it is one of those. */
  is(path: string, now: Iterable<string | null>): void {
    this.may(path, now)
    this.#paths.set(path, new Set(now))
  }

  [Symbol.iterator](): Iterator<[string, Possible]> {
    return this.#paths[Symbol.iterator]()
  }

  /**
   * For whoever looks at all paths at one moment between now and the call of the function that this returns: what may be seen
   * then at each of them.
   */
  watch(): () => Map<string, Possible> {
    const seen = new Map([...this.#paths].map(([path, possible]) => [path, new Set(possible)]))
    this.#seen = seen
    return () => {
      this.#seen = undefined
      return seen
    }
  }
}

const NOTHING: Possible = new Set([null])
