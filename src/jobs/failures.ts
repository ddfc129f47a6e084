/** Objects that a run could not do. */
export interface Failures {
  count: number
  /** The first of them. */
  named: { bucketId: string; name: string; why: string }[]
}

/** How many a report names. */
const NAMED = 1000

export function noFailures(): Failures {
  return { count: 0, named: [] }
}

export function noteFailure(
  failures: Failures,
  { bucketId, name }: { bucketId: string; name: string },
  why: string,
): void {
  failures.count++
  if (failures.named.length < NAMED) failures.named.push({ bucketId, name, why })
}
