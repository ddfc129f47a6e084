import type { Logger } from 'pino'
import type { Database } from '../database/client.ts'
import { type Claimant, readableEvents, type Sight, type StorageEvent } from '../database/events.ts'
import { hasCode } from '../errors.ts'
import { eventFor } from './event.ts'

/**
 * What a claimant may hear of these events, in order, and in the form in which he may. Where his claims make a policy
 * fail, it lets nothing through.
 *
 * @throws DatabaseUnavailable, TooManyConnections, TransactionConflict
 */
export async function visibleEvents(
  parts: { database: Database; logger: Logger },
  claimant: Claimant,
  events: StorageEvent[],
): Promise<StorageEvent[]> {
  if (events.length === 0) return []
  const positions = events.map((event) => event.position)
  try {
    const sights = await readableEvents(parts.database, claimant, positions)
    return events.flatMap((event) => eventFor(event, sights.get(event.position) ?? UNSEEN) ?? [])
  } catch (error) {
    if (isPassing(error)) throw error
    if (events.length > 1) {
      // One row can make a policy fail, by a cast of a part of its name for example.
      const half = Math.ceil(events.length / 2)
      const first = await visibleEvents(parts, claimant, events.slice(0, half))
      return [...first, ...(await visibleEvents(parts, claimant, events.slice(half)))]
    }
    parts.logger.warn(
      { err: error, role: claimant.role, positions },
      'a policy failed; its event is not sent',
    )
    return []
  }
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
