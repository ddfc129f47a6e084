import { LRUCache } from 'lru-cache'

/** The first rest. In milliseconds. */
const SHORTEST_MS = 50

/** In milliseconds. */
const LONGEST_MS = 60_000

/** A rest is remembered for so many times its length. */
const REMEMBERED = 4

/** What has worked so often since the last trouble is not troubled: a hiccup of a busy machine among many calls is nothing. */
const OFTEN = 16

/** What has worked so often since does not rest for longer than the first time. */
const SOMETIMES = 4

/** How many are remembered. */
const MOST = 1000

/**
 * What is left alone for a while after it has not worked. If it does not work again soon after, it rests for twice as long: a
 * moment's trouble costs a moment, and what never works is hardly tried. What works nearly always does not rest.
 */
export class Rests {
  readonly #rests = new LRUCache<string, { ms: number; begunAt: number; worked: number }>({ max: MOST })

  /** Whether it rests now. */
  has(name: string): boolean {
    const rest = this.#rests.get(name)
    return rest !== undefined && performance.now() - rest.begunAt < rest.ms
  }

  /** Says that it has worked. */
  worked(name: string): void {
    const rest = this.#rests.get(name)
    if (rest) rest.worked++
  }

  /** Says that it has not worked: it rests, unless it has worked often since the last time. */
  begin(name: string): void {
    const now = performance.now()
    const last = this.#rests.get(name)
    if (last && last.worked >= OFTEN) {
      last.worked = 0
      return
    }
    const isSoon = last !== undefined && last.worked < SOMETIMES && now - last.begunAt < REMEMBERED * last.ms
    const ms = isSoon ? Math.min(2 * last.ms, LONGEST_MS) : SHORTEST_MS
    this.#rests.set(name, { ms, begunAt: now, worked: 0 })
  }
}
