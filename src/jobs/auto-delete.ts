import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { type DueObject, deleteDue, dueObjects } from '../database/queries/auto-delete.ts'
import { StorageError } from '../model/errors.ts'
import { removeBytes } from '../storage/writing/byte-removal.ts'
import { WorkThrottle } from './throttle.ts'
import { CLEANUP_TURN } from './turns.ts'

export interface AutoDeleteOptions {
  database: Database
  backend: Backend
  logger: Logger
  /** How many go in one transaction. */
  batch?: number
}

/** Between two rounds, and before the next look where another server cleans up. In milliseconds. */
const ROUND_MS = 3_600_000
const BUSY_MS = 60_000

const BATCH = 1000

/**
 * Deletes objects whose days are over (`auto_delete_after_days`), as their buckets say: into the trash, as a version, or for good.
 * One server at a time does, and none while one cleans up. Killed at any line, it has deleted whole batches, and the cleanup removes
 * what bytes it has left.
 */
export class AutoDelete {
  /** How many this server has deleted. */
  deleted = 0

  constructor(private readonly options: AutoDeleteOptions) {}

  /**
   * Deletes all that is due.
   *
   * @returns when to come back, in milliseconds
   * @throws DatabaseUnavailable
   */
  async round(signal: AbortSignal): Promise<number> {
    const { database, logger } = this.options
    const before = this.deleted
    const work = async (lost: AbortSignal) => this.#deleteAll(AbortSignal.any([signal, lost]))
    const done = await database.exclusively(CLEANUP_TURN, work)
    const objects = this.deleted - before
    if (objects > 0) logger.info({ objects }, 'objects were deleted whose days were over')
    return done === null ? BUSY_MS : ROUND_MS
  }

  async #deleteAll(signal: AbortSignal): Promise<true> {
    const { database, batch = BATCH } = this.options
    const throttle = new WorkThrottle()
    let last: DueObject | undefined
    for (;;) {
      signal.throwIfAborted()
      const due = await dueObjects(database, last, batch)
      last = due.at(-1)
      if (last === undefined) return true
      await this.#delete(due).catch((error: unknown) => this.#deleteEach(due, error))
      await throttle.rest()
    }
  }

  async #delete(due: DueObject[]): Promise<void> {
    const { database } = this.options
    const { deleted, removals } = await deleteDue(
      database,
      due.map(({ id }) => id),
    )
    this.deleted += deleted.length
    await removeBytes(this.options, removals)
  }

  /** What a user's trigger or reference says of one of them keeps that one alone. */
  async #deleteEach(due: DueObject[], why: unknown): Promise<void> {
    if (!isOfOne(why)) throw why
    for (const object of due) {
      try {
        await this.#delete([object])
      } catch (error) {
        if (!isOfOne(error)) throw error
        const { bucketId: bucket, name: path } = object
        this.options.logger.warn(
          { err: error, bucket, path },
          'an object whose days are over could not be deleted',
        )
      }
    }
  }
}

function isOfOne(error: unknown): boolean {
  return error instanceof StorageError && error.status < 500
}
