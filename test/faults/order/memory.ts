import type { Operation } from './linearizability.ts'

/** So long a server may tell from memory what another one has changed since (decision 0020). In milliseconds. */
const STALE_MS = 1000

/** An operation, and by which process of a server it was answered. */
export interface Answered extends Operation {
  /** Another one after each start. Undefined when it was not one alone. */
  by: string | undefined
  /** Whether the answer may have come from that process's memory. */
  mayBeFromMemory: boolean
}

/**
 * Operations on one name as they are promised: what may come from memory is a read that began up to a second earlier,
 * but that follows each change which its server had acknowledged by then.
 */
export function asPromised(history: readonly Answered[]): Operation[] {
  const acknowledged = new Map<string, Acknowledged>()
  for (const operation of [...history].sort((a, b) => a.end - b.end)) {
    if (!operation.isCertain || operation.leaves === undefined || operation.by === undefined) continue
    const changes = acknowledged.get(operation.by) ?? new Acknowledged()
    acknowledged.set(operation.by, changes)
    changes.add(operation)
  }
  return history.map((operation) => {
    if (!operation.mayBeFromMemory) return operation
    return earlier(operation, acknowledged.get(operation.by ?? ''))
  })
}

function earlier(read: Answered, changes: Acknowledged | undefined): Operation {
  const before = changes?.before(read.start)
  const start = Math.max(read.start - STALE_MS, before?.lastStart ?? Number.NEGATIVE_INFINITY)
  return { ...read, start, follows: before?.endedSince(start) ?? [] }
}

/** Changes that one process has acknowledged, in that order. */
class Acknowledged {
  readonly #changes: Operation[] = []
  /** Of each, the latest start up to it. */
  readonly #lastStarts: number[] = []

  add(change: Operation): void {
    this.#changes.push(change)
    this.#lastStarts.push(Math.max(this.#lastStarts.at(-1) ?? change.start, change.start))
  }

  /** Those that had ended by `moment`; undefined if there are none. */
  before(moment: number) {
    let [low, high] = [0, this.#changes.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#changes[middle]?.end ?? moment) < moment) low = middle + 1
      else high = middle
    }
    const lastStart = this.#lastStarts[low - 1]
    if (lastStart === undefined) return undefined
    return {
      lastStart,
      endedSince: (since: number) => {
        let first = low
        while (first > 0 && (this.#changes[first - 1]?.end ?? since) >= since) first--
        return this.#changes.slice(first, low)
      },
    }
  }
}
