import { type History, told } from './history.ts'

/** What each name may be, by its path, as far as its writer was told. */
export class Histories {
  readonly #possible = new Map<string, History[]>()
  #seen: Map<string, Set<string>> | undefined

  get possible(): ReadonlyMap<string, readonly History[]> {
    return this.#possible
  }

  /** Of a name about which nobody is in doubt. */
  of(path: string): History {
    return this.#possible.get(path)?.[0] ?? []
  }

  /** From now on it may be one of those as well. */
  may(path: string, ...histories: History[]): void {
    this.#possible.set(path, [...(this.#possible.get(path) ?? [[]]), ...histories])
    this.#see(path)
  }

  /** From now on it is that. */
  is(path: string, history: History): void {
    this.#possible.set(path, [history])
    this.#see(path)
  }

  /**
   * For whoever looks at all names at one moment between now and the call of the function that this returns: what each may be
   * then, as `told` has it.
   */
  watch(): () => Map<string, Set<string>> {
    const seen = new Map([...this.#possible].map(([path, all]) => [path, new Set(all.map(told))]))
    this.#seen = seen
    return () => {
      this.#seen = undefined
      return seen
    }
  }

  #see(path: string): void {
    if (this.#seen === undefined) return
    const seen = this.#seen.get(path) ?? new Set([''])
    for (const history of this.#possible.get(path) ?? []) seen.add(told(history))
    this.#seen.set(path, seen)
  }
}
