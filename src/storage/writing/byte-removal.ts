import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { forgetRemovals } from '../../database/queries/listed-versions.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import type { Location } from '../../model/location.ts'

/** How many are removed at once: a store far away takes its time for each. */
const CONCURRENCY = 16

/**
 * Removes the bytes of versions that a committed transaction has made superfluous, and strikes them off
 * `storage.removals`. Never fails: what it cannot do stays on the list for the cleanup. Returns what is removed.
 */
export async function removeBytes<At extends Location>(
  { backend, database, logger }: { backend: Backend; database: Database; logger: Logger },
  locations: At[],
): Promise<At[]> {
  if (locations.length === 0) return []
  const removed: At[] = []
  await forEachConcurrent(CONCURRENCY, locations, async (at) => {
    try {
      await backend.remove(at)
      removed.push(at)
    } catch (error) {
      logger.warn(
        { err: error, version: at.version },
        'bytes could not be removed; the cleanup will try again',
      )
    }
  })
  if (removed.length === 0) return removed
  try {
    await forgetRemovals(
      database,
      removed.map((at) => at.version),
    )
  } catch (error) {
    logger.warn(
      { err: error, count: removed.length },
      'removals could not be struck off; the cleanup will do it',
    )
  }
  return removed
}
