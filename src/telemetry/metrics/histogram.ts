import type { Sample } from './catalog.ts'

/**
 * How often something took how long. A look at a few bounds and two additions for each; all that Prometheus wants to be told
 * is made of it when it asks.
 */
export class Histogram {
  readonly #bounds: readonly number[]
  /** Those up to each bound, but above the one before; and at the end those above the last. */
  readonly #counts: number[]
  #sum = 0

  /** @param bounds rising, in seconds */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = new Array(bounds.length + 1).fill(0)
  }

  observe(seconds: number): void {
    let index = 0
    while (index < this.#bounds.length && seconds > (this.#bounds[index] as number)) index++
    this.#counts[index] = (this.#counts[index] as number) + 1
    this.#sum += seconds
  }

  /** With how many there are up to each bound, as Prometheus counts. */
  samples<Label extends string>(
    name: string,
    labels: Record<Label, string>,
  ): (Sample & { labels: typeof labels })[] {
    let count = 0
    const buckets = this.#counts.map((added, index) => {
      count += added
      const le = index < this.#bounds.length ? String(this.#bounds[index]) : '+Inf'
      return { labels: { ...labels, le }, value: count, metricName: `${name}_bucket` }
    })
    return [
      ...buckets,
      { labels, value: this.#sum, metricName: `${name}_sum` },
      { labels, value: count, metricName: `${name}_count` },
    ]
  }
}
