/**
 * Does `work` for each item, some of them at once.
 *
 * @throws as the first work that fails; those that run then are not waited for
 */
export async function inParallel<T>(
  concurrency: number,
  items: Iterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  const worker = async () => {
    for (let next = rest.next(); !next.done; next = rest.next()) await work(next.value)
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
}
