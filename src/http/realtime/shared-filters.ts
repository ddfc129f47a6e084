import { LRUCache } from 'lru-cache'
import { type RecordFilter, readFilter } from './postgres-filter.ts'

/** Memory for them. In bytes. */
const MOST_BYTES = 4 * 1024 * 1024

/** What a filter takes, and each value that it compares with, besides its text. In bytes. */
const FILTER_BYTES = 500
const VALUE_BYTES = 64

/** The filters of all channels: those that ask for the same share it. Which are not asked for lately are forgotten. */
export class SharedFilters {
  readonly #filters = new LRUCache<string, RecordFilter>({
    maxSize: MOST_BYTES,
    sizeCalculation: ({ comparisons }, text) => FILTER_BYTES + 2 * text.length + VALUE_BYTES * comparisons,
  })

  /** @throws as `readFilter` */
  read(text: string): RecordFilter {
    const known = this.#filters.get(text)
    if (known) return known
    const filter = readFilter(text)
    this.#filters.set(text, filter)
    return filter
  }
}
