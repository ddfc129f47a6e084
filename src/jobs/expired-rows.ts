import type { Database } from '../database/connection/client.ts'

/** Between two rounds, in milliseconds. */
const ROUND_MS = 3_600_000

/** In one statement. */
const BATCH = 1000

/** Takes away up to `most` rows whose time is over. Returns whether there may be more. */
type Forget = (database: Pick<Database, 'run'>, most: number) => Promise<boolean>

/**
 * Takes away all rows of a kind whose time is over, a batch at a time. Twice is harmless, also at once.
 *
 * @returns when to come back, in milliseconds
 */
export async function forgetExpired(
  forget: Forget,
  database: Pick<Database, 'run'>,
  signal: AbortSignal,
): Promise<number> {
  while (await forget(database, BATCH)) signal.throwIfAborted()
  return ROUND_MS
}
