import { MOST_BUCKETS, OTHER } from './bucket-labels.ts'
import type { Family } from './catalog.ts'

/** All processes' numbers as one process'. @param processes what each has said, the one that says what is the same for all first */
export async function merge(processes: Family[][]): Promise<Family[]> {
  const { AggregatorRegistry } = await import('prom-client')
  const registry = AggregatorRegistry.aggregate(processes)
  return (await registry.getMetricsAsJSON()) as unknown as Family[]
}

/**
 * Sees to it that the buckets of several processes are not more than those of one: which of them have series of their own is
 * decided once, so that no count ever goes backwards.
 */
export class SharedBuckets {
  readonly #known = new Set<string>()

  limit(families: Family[]): Family[] {
    return families.map((one) => {
      if (one.type === 'gauge' || !one.values.some(({ labels }) => labels.bucket !== undefined)) return one
      const values = one.values.map((sample) => {
        const { bucket } = sample.labels
        if (bucket === undefined || this.#has(bucket)) return sample
        return { ...sample, labels: { ...sample.labels, bucket: OTHER } }
      })
      return { ...one, values }
    })
  }

  #has(bucket: string): boolean {
    if (this.#known.has(bucket)) return true
    if (this.#known.size >= MOST_BUCKETS) return false
    this.#known.add(bucket)
    return true
  }
}
