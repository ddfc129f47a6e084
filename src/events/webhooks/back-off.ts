/** In milliseconds. */
export const LONGEST_WAIT_MS = 3_600_000

/**
 * The wait after so many failures in a row, in milliseconds: it doubles with each, up to an hour, and up to half of it
 * is left to chance, so that what failed together does not come again together.
 *
 * @param firstMs the wait after one failure
 */
export function backOff(firstMs: number, failures: number): number {
  const fullMs = Math.min(firstMs * 2 ** (failures - 1), LONGEST_WAIT_MS)
  return fullMs * (1 - Math.random() / 2)
}
