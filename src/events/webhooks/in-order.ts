import { forEachConcurrent } from '../../lib/concurrency.ts'

/**
 * `done`: what comes after it may go. `failed`: what comes after it waits. `left`: was not tried, and can be later.
 */
export type Fate = 'done' | 'failed' | 'behind' | 'left'

/**
 * Does `work` for each item, `concurrency` at once, but in order for those that share a place: what comes after one
 * that has failed is not tried.
 *
 * @param work tells its fate, and never fails
 */
export async function inOrder<T extends { places: string[] }>(
  concurrency: number,
  items: T[],
  work: (item: T) => Promise<Fate>,
): Promise<Map<T, Fate>> {
  const fates = new Map<T, Fate>()
  /** By place, the last one of it that was begun. */
  const latest = new Map<string, Promise<Fate>>()
  await forEachConcurrent(concurrency, items, async (item) => {
    // Those before it were begun before it, so one that waits here waits for one that runs.
    const before = item.places.flatMap((place) => latest.get(place) ?? [])
    const fate = Promise.all(before).then((earlier) => {
      if (earlier.includes('left')) return 'left'
      return earlier.every((other) => other === 'done') ? work(item) : 'behind'
    })
    for (const place of item.places) latest.set(place, fate)
    fates.set(item, await fate)
  })
  return fates
}
