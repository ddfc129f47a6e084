/** What a reference's process has besides its work. It does not outlive its parent. */

/** What the parent wants of it. */
export function argument<T>(): T {
  process.once('disconnect', () => process.exit())
  return JSON.parse(process.argv[2] ?? '') as T // both ends are ours
}

/** Tells the parent: that it is ready, or an answer. */
export function tell(message: unknown): void {
  process.send?.(message)
}

/**
 * Answers each question `{ seconds, inFlight }` of the parent with how often per second `work` was done by so
 * many loops side by side.
 */
export function answerWithRate(work: () => Promise<unknown>): void {
  process.on('message', ({ seconds, inFlight }: { seconds: number; inFlight: number }) => {
    void (async () => {
      const startedAt = performance.now()
      let done = 0
      const loop = async () => {
        while (performance.now() - startedAt < seconds * 1000) {
          await work()
          done++
        }
      }
      await Promise.all(Array.from({ length: inFlight }, loop))
      tell(done / ((performance.now() - startedAt) / 1000))
    })()
  })
}
