/** Runs what it is given, `limit` at a time; the others wait, in the order in which they came. */
export function limitConcurrency(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      // It takes over this one's place.
      if (next) next()
      else running--
    }
  }
}

/**
 * Does `work` for each item, some of them at once. After a failure no other is begun, and those under way are waited
 * for.
 *
 * @throws as one of the works that have failed
 */
export async function forEachConcurrent<T>(
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

/** The same for items that come one by one: no more of them are asked for than are worked on. The rest is let go of. */
export async function forEachAsItComes<T>(
  concurrency: number,
  items: AsyncIterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.asyncIterator]()
  let hasFailed = false
  const worker = async () => {
    try {
      for (let next = await rest.next(); !next.done && !hasFailed; next = await rest.next())
        await work(next.value)
    } catch (error) {
      hasFailed = true
      throw error
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: concurrency }, worker))
  if (hasFailed) await rest.return?.()
  for (const result of workers) if (result.status === 'rejected') throw result.reason
}

/**
 * `Promise.all`, but when one fails the others are waited for all the same: in a transaction, what is still under way
 * must not outlive it.
 *
 * @throws the first one's failure, in the order of the arguments
 */
export async function settleBoth<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second])
  return [await first, await second]
}
