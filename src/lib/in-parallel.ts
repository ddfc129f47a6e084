/**
 * Does `work` for each item, some of them at once. After a failure no other is begun, and those under way are waited
 * for.
 *
 * @throws as one of the works that have failed
 */
export async function inParallel<T>(
  concurrency: number,
  items: Iterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  let hasFailed = false
  const worker = async () => {
    for (let next = rest.next(); !next.done && !hasFailed; next = rest.next()) {
      await work(next.value).catch((error: unknown) => {
        hasFailed = true
        throw error
      })
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: concurrency }, worker))
  for (const result of workers) if (result.status === 'rejected') throw result.reason
}
