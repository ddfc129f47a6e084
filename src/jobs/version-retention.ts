import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { dropSpentLocks } from '../database/queries/object-locks.ts'
import { type DuePage, type DuePlace, deleteDueVersions } from '../database/queries/version-retention.ts'
import { removeBytes } from '../storage/writing/byte-removal.ts'
import { WorkThrottle } from './throttle.ts'

export interface VersionRetentionOptions {
  database: Database
  backend: Backend
  logger: Logger
  /** How many are looked at in one transaction. */
  batch?: number
}

/** Between two rounds, in milliseconds. */
const ROUND_MS = 3_600_000

const BATCH = 500

/**
 * Takes away what a bucket has kept for long enough: versions that are not the current ones, and what is in the trash, by their
 * `purge_at` (decision 0070). All servers do, none what another is at. Killed at any line, it has deleted whole batches, and the
 * cleanup removes what bytes it has left.
 */
export class VersionRetention {
  /** How many this server has taken away. */
  purged = 0
  /** How many of these were in the trash. */
  purgedTrash = 0
  /** How often it has left alone what is locked. */
  locked = 0

  constructor(private readonly options: VersionRetentionOptions) {}

  /**
   * Takes away all that is due.
   *
   * @returns when to come back, in milliseconds
   * @throws DatabaseUnavailable; ObjectLocked when somebody has locked one at this moment, and the next round goes on there
   */
  async round(signal: AbortSignal): Promise<number> {
    const { database, logger, batch = BATCH } = this.options
    const throttle = new WorkThrottle()
    let versions = 0
    let locked = 0
    let after: DuePlace | null = null
    do {
      signal.throwIfAborted()
      const page: DuePage = await deleteDueVersions(database, after, batch)
      after = page.end
      versions += page.count
      locked += page.locked
      this.purged += page.count
      this.purgedTrash += page.trash
      this.locked += page.locked
      await removeBytes(this.options, page.removals)
      await throttle.rest()
    } while (after !== null)
    await dropSpentLocks(database, batch)
    if (versions > 0)
      logger.info({ versions, locked }, 'versions were removed that were kept for long enough')
    else if (locked > 0)
      logger.info({ locked }, 'versions were kept for long enough, and stay since they are locked')
    return ROUND_MS
  }
}
