/** Most buckets that have series of their own; all others share `OTHER`. */
export const MOST_BUCKETS = 1000

export const OTHER = 'other'

/**
 * The buckets by which something is counted: those that are known to exist, and at most so many of them. One that was only
 * asked for gets no series, or whoever invents names would fill Prometheus, and this process, with them.
 */
export class BucketLabels<Counts> {
  readonly #known = new Map<string, Counts>()
  readonly #other: Counts
  readonly #make: () => Counts

  constructor(make: () => Counts) {
    this.#make = make
    this.#other = make()
  }

  /** @param exists whether it is known now that there is a bucket of that name */
  of(bucket: string, exists: boolean): Counts {
    return this.#known.get(bucket) ?? (exists ? this.#add(bucket) : this.#other)
  }

  entries(): [bucket: string, Counts][] {
    const ofOthers = this.#known.has(OTHER) ? [] : [[OTHER, this.#other] satisfies [string, Counts]]
    return [...this.#known, ...ofOthers]
  }

  #add(bucket: string): Counts {
    if (this.#known.size >= MOST_BUCKETS) return this.#other
    const counts = bucket === OTHER ? this.#other : this.#make()
    this.#known.set(bucket, counts)
    return counts
  }
}
