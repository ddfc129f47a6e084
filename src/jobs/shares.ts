import type { Database } from '../database/connection/client.ts'
import { forgetShares } from '../database/queries/shares.ts'

/** Between two rounds, in milliseconds. */
const ROUND_MS = 3_600_000

const BATCH = 1000

/**
 * Takes away the shares that ended 30 days ago. Twice is harmless, also at once.
 *
 * @returns when to come back, in milliseconds
 */
export async function forgetSharesThatAreOver(
  database: Pick<Database, 'run'>,
  signal: AbortSignal,
): Promise<number> {
  while (await forgetShares(database, BATCH)) signal.throwIfAborted()
  return ROUND_MS
}
