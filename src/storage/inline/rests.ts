import { LRUCache } from 'lru-cache'

/** The first rest. In milliseconds. */
const SHORTEST_MS = 50

/** In milliseconds. */
const LONGEST_MS = 60_000

/** A rest is remembered for so many times its length. */
const REMEMBERED = 4

/** How many are remembered. */
const MOST = 1000

/**
 * What is left alone for a while after it has not worked. If it does not work again soon after, it rests for twice as long: a
 * moment's trouble costs a moment, and what never works is hardly tried.
 */
export class Rests {
  readonly #rests = new LRUCache<string, { ms: number; begunAt: number }>({ max: MOST })

  /** Whether it rests now. */
  has(name: string): boolean {
    const rest = this.#rests.get(name)
    return rest !== undefined && performance.now() - rest.begunAt < rest.ms
  }

  begin(name: string): void {
    const now = performance.now()
    const last = this.#rests.get(name)
    const isSoon = last !== undefined && now - last.begunAt < REMEMBERED * last.ms
    this.#rests.set(name, { ms: isSoon ? Math.min(2 * last.ms, LONGEST_MS) : SHORTEST_MS, begunAt: now })
  }
}
