import type { Database } from '../database/connection/client.ts'
import { forgetLinks } from '../database/queries/links.ts'

/** Between two rounds, in milliseconds. */
const ROUND_MS = 3_600_000

const BATCH = 1000

/**
 * Forgets what was revoked and counted of signed URLs that are over (decision 0075). Twice is harmless, also at once.
 *
 * @returns when to come back, in milliseconds
 */
export async function forgetLinksThatAreOver(
  database: Pick<Database, 'run'>,
  signal: AbortSignal,
): Promise<number> {
  while (await forgetLinks(database, BATCH)) signal.throwIfAborted()
  return ROUND_MS
}
