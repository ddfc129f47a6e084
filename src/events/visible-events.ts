import type { Logger } from 'pino'
import type { Database } from '../database/client.ts'
import { type Claimant, readableEvents, type Sight, type StorageEvent } from '../database/events.ts'
import { hasCode } from '../errors.ts'
import { eventFor } from './event.ts'

/**
 * What a claimant may hear of these events, in order, and in the form in which he may. Where his claims make a policy
 * fail, or take too long, it lets nothing through.
 *
 * @throws DatabaseUnavailable, TooManyConnections, TransactionConflict
 */
export async function visibleEvents(
  { database, logger }: { database: Database; logger: Logger },
  claimant: Claimant,
  events: StorageEvent[],
): Promise<StorageEvent[]> {
  const failed: StorageEvent[] = []
  let reason: unknown
  const ask = async (part: StorageEvent[]): Promise<StorageEvent[]> => {
    if (part.length === 0) return []
    try {
      const positions = part.map((event) => event.position)
      const sights = await readableEvents(database, claimant, positions)
      return part.flatMap((event) => eventFor(event, sights.get(event.position) ?? UNSEEN) ?? [])
    } catch (error) {
      if (isPassing(error)) throw error
      if (part.length > 1 && !hasCode(error, 'DatabaseTimeout')) {
        // One row can make a policy fail, by a cast of a part of its name for example.
        const half = Math.ceil(part.length / 2)
        const first = await ask(part.slice(0, half))
        return [...first, ...(await ask(part.slice(half)))]
      }
      failed.push(...part)
      reason = error
      return []
    }
  }
  const visible = await ask(events)
  if (failed.length > 0) {
    const about = { err: reason, role: claimant.role, count: failed.length, first: failed[0]?.position }
    logger.warn(about, 'a policy failed; the events that it was asked about are not sent')
  }
  return visible
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
