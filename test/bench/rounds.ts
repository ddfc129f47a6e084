export interface Contestant {
  /** @param round from 0; -1 is the warm-up, whose result does not count */
  measure(round: number): Promise<number>
}

/**
 * Lets the contestants take turns, the first of a round being the last of the next: what else the machine does
 * hits all alike.
 *
 * @returns of each, one figure a round
 */
export async function alternate(contestants: Contestant[], rounds: number): Promise<number[][]> {
  const results = contestants.map((): number[] => [])
  for (let round = -1; round < rounds; round++) {
    const order = [...contestants.keys()]
    if (round % 2 !== 0) order.reverse()
    for (const index of order) {
      const result = await contestants[index]?.measure(round)
      if (round >= 0 && result !== undefined) results[index]?.push(result)
    }
  }
  return results
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? Number.NaN
  return Number.isInteger(middle) ? (upper + (sorted[middle - 1] ?? Number.NaN)) / 2 : upper
}
