import type { Database } from '../database/connection/client.ts'
import { forgetKeys } from '../database/queries/idempotency-keys.ts'

/** Between two rounds, in milliseconds. */
const ROUND_MS = 3_600_000

/** In one statement. */
const BATCH = 1000

/**
 * Takes away the keys of requests whose day is over. Twice is harmless: one that is gone is that of a new request.
 *
 * @returns when to come back, in milliseconds
 */
export async function forgetOldKeys(database: Pick<Database, 'run'>, signal: AbortSignal): Promise<number> {
  while (!signal.aborted && (await forgetKeys(database, BATCH)) === BATCH);
  return ROUND_MS
}
