/** Rounds of which the best counts: others use the machine as well. */
const ROUNDS = 10

/** What is linear grows by this much; what is quadratic by the square of it. */
const LONGER = 8

/** Where a test draws the line between them. */
export const FAR_FROM_SQUARE = 4 * LONGER

/** How many times as long something takes when it has eight times as much to do. @param length of the longer one */
export function growth(work: (length: number) => void, length: number): number {
  const best = { short: Number.POSITIVE_INFINITY, long: Number.POSITIVE_INFINITY }
  const measure = (which: keyof typeof best, amount: number) => {
    const start = performance.now()
    work(amount)
    best[which] = Math.min(best[which], performance.now() - start)
  }
  for (let round = 0; round < ROUNDS; round++) {
    measure('short', length / LONGER)
    measure('long', length)
  }
  return best.long / best.short
}
