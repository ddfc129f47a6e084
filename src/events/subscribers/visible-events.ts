import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import {
  type Claimant,
  readableEvents,
  type Sight,
  type StorageEvent,
} from '../../database/queries/events.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { eventFor } from '../event.ts'

/** What the policies say of some events. */
export interface Visible {
  /** Those that may be heard, in order, and in the form in which they may. */
  visible: StorageEvent[]
  /** Those of which nobody knows whether they may be: it took too long or too much space, or we failed. */
  unasked: StorageEvent[]
}

/**
 * What a claimant may hear of these events. Where his claims or a row make a policy fail, it lets nothing through, as
 * in any other question: that is an answer. Nobody is told of a gap for it, or whoever may write such a row could make
 * all listeners look everything up again.
 *
 * @throws DatabaseUnavailable, TooManyConnections, TransactionConflict
 */
export async function visibleEvents(
  { database, logger }: { database: Database; logger: Logger },
  claimant: Claimant,
  events: StorageEvent[],
): Promise<Visible> {
  const failed: StorageEvent[] = []
  const unasked: StorageEvent[] = []
  let reason: unknown
  const ask = async (part: StorageEvent[]): Promise<StorageEvent[]> => {
    if (part.length === 0) return []
    try {
      const positions = part.map((event) => event.position)
      const sights = await readableEvents(database, claimant, positions)
      return part.flatMap((event) => eventFor(event, sights.get(event.position) ?? UNSEEN) ?? [])
    } catch (error) {
      if (isPassing(error)) throw error
      const isTooMuch = hasCode(error, 'DatabaseTimeout') || hasCode(error, 'StorageFull')
      if (part.length > 1 && !isTooMuch) {
        // One row can make a policy fail, by a cast of a part of its name for example.
        const half = Math.ceil(part.length / 2)
        const first = await ask(part.slice(0, half))
        return [...first, ...(await ask(part.slice(half)))]
      }
      const isAnswer = error instanceof StorageError && !isTooMuch
      ;(isAnswer ? failed : unasked).push(...part)
      reason = error
      return []
    }
  }
  const visible = await ask(events)
  const unsent = [...failed, ...unasked]
  if (unsent.length > 0) {
    const first = Math.min(...unsent.map((event) => event.position))
    const about = { err: reason, role: claimant.role, count: unsent.length, first }
    logger.warn(about, 'a policy failed; the events that it was asked about are not sent')
  }
  return { visible, unasked }
}

const UNSEEN: Sight = { sees: false, saw: false }

/** What is the database's trouble and not the claims'. */
function isPassing(error: unknown): boolean {
  return (
    hasCode(error, 'DatabaseUnavailable') ||
    hasCode(error, 'TooManyConnections') ||
    hasCode(error, 'TransactionConflict')
  )
}
