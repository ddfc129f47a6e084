import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { dropSpentLocks } from '../database/queries/object-locks.ts'
import { countLockedDue, deleteDueVersions } from '../database/queries/version-retention.ts'
import { removeBytes } from '../storage/writing/byte-removal.ts'
import { WorkThrottle } from './throttle.ts'

export interface VersionRetentionOptions {
  database: Database
  backend: Backend
  logger: Logger
  /** How many go in one transaction. */
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
    const before = this.purged
    for (let count = batch; count === batch; ) {
      signal.throwIfAborted()
      const gone = await deleteDueVersions(database, batch)
      count = gone.count
      this.purged += count
      this.purgedTrash += gone.trash
      await removeBytes(this.options, gone.removals)
      await throttle.rest()
    }
    await dropSpentLocks(database, batch)
    const versions = this.purged - before
    const locked = await countLockedDue(database)
    this.locked += locked
    if (versions > 0)
      logger.info({ versions, locked }, 'versions were removed that were kept for long enough')
    else if (locked > 0)
      logger.info({ locked }, 'versions were kept for long enough, and stay since they are locked')
    return ROUND_MS
  }
}
