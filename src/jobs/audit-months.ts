import type { Database } from '../database/connection/client.ts'
import { dropAuditMonths, makeAuditMonth } from '../database/queries/audit.ts'

const DAY_MS = 86_400_000

/** Between two rounds, in milliseconds. */
const ROUND_MS = 3_600_000

/**
 * Makes the months of the audit log that are about to begin, and drops those that ended too long ago. Twice is harmless, and a
 * month that is missing is also made by whoever writes into it.
 *
 * @param retentionDays null for ever
 * @returns when to come back, in milliseconds
 */
export async function keepAuditMonths(
  database: Pick<Database, 'run'>,
  retentionDays: number | null,
  now = new Date(),
): Promise<number> {
  await makeAuditMonth(database, now)
  await makeAuditMonth(database, new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1)))
  if (retentionDays !== null) {
    await dropAuditMonths(database, new Date(now.getTime() - retentionDays * DAY_MS))
  }
  return ROUND_MS
}
