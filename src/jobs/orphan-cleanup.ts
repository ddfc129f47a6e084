import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { forgetTurns } from '../database/connection/turns.ts'
import { bucketUid } from '../database/queries/drift.ts'
import { trimEvents } from '../database/queries/events.ts'
import { trimResumableUploads } from '../database/queries/resumable-uploads.ts'
import { StorageError } from '../model/errors.ts'
import { removeEmptyFolders } from './cleanup/empty-folders.ts'
import { expireStaleUploads, finishRemovals } from './cleanup/listed-versions.ts'
import { repairMissingBytes } from './cleanup/missing-bytes.ts'
import {
  CleanupPass,
  type CleanupReport,
  type CleanupSettings,
  noRepairs,
  type Repair,
} from './cleanup/pass.ts'
import { abandonUnfinishedWrites } from './cleanup/unfinished-writes.ts'
import { removeUnnamedBytes } from './cleanup/unnamed-bytes.ts'
import { CLEANUP_TURN } from './turns.ts'

export interface OrphanCleanupOptions extends CleanupSettings {
  database: Database
  backend: Backend
  logger: Logger
  /** How long events are kept, in milliseconds. */
  eventsKeptMs: number
}

export interface CleanupRequest {
  /** Only reports and logs what it would do. */
  dryRun?: boolean
  /** Only this bucket, by its id. */
  bucket?: string | undefined
  /** Ends the pass between two repairs, and the wait for it. */
  signal?: AbortSignal
  /** How long to wait for another's pass to end, in milliseconds; not at all when left out. */
  waitMs?: number
  onProgress?: (step: string, done: number) => void
}

/** For a client that asks for its upload a day after it has ended. */
const ENDED_UPLOADS_KEPT_MS = 86_400_000

/** How many rows one statement forgets. */
const ROWS_PER_STEP = 10_000

/** Repairs drift between rows and bytes (design §6). Safe beside running requests, and beside another cleanup. */
export class OrphanCleanup {
  /** What all passes of this process have repaired, dry runs aside. */
  readonly totals: Record<Repair, number> = noRepairs()
  /** What has become of them, dry runs and parts aside. */
  readonly counts = { success: 0, error: 0, skipped: 0, failures: 0 }
  /** What the last whole one has found. */
  last: { at: Date; held: number; unnamed: number } | null = null
  /** When another server was at it last. */
  skippedAt: Date | null = null

  constructor(private readonly options: OrphanCleanupOptions) {}

  /**
   * Makes one pass.
   *
   * @returns null when another server is cleaning up
   * @throws NoSuchBucket, BackendUnavailable, DatabaseUnavailable; what was repaired until then stays repaired
   */
  async pass(request: CleanupRequest = {}): Promise<CleanupReport | null> {
    const { database, backend, logger } = this.options
    const { dryRun = false, bucket, waitMs, onProgress } = request
    const waiting = waitMs === undefined ? undefined : { limitMs: waitMs, signal: request.signal }
    if (bucket !== undefined && (await bucketUid(database, bucket)) === null) {
      throw new StorageError('NoSuchBucket')
    }
    const work = async (lost: AbortSignal) => {
      // A disk that is not there would look as if all bytes were gone.
      await backend.check()
      const signal = AbortSignal.any([lost, ...(request.signal ? [request.signal] : [])])
      const pass = new CleanupPass({ ...this.options, dryRun, scope: bucket, signal, onProgress })
      // What the lists name costs nothing to find, so it comes first.
      await expireStaleUploads(pass)
      await finishRemovals(pass)
      await abandonUnfinishedWrites(pass)
      await removeUnnamedBytes(pass)
      await repairMissingBytes(pass)
      await removeEmptyFolders(pass)
      if (!dryRun && bucket === undefined) {
        await trim(pass, 'events', () => trimEvents(database, this.options.eventsKeptMs, ROWS_PER_STEP))
        await trim(pass, 'ended uploads', () =>
          trimResumableUploads(database, ENDED_UPLOADS_KEPT_MS, ROWS_PER_STEP),
        )
        await forgetTurns(database.sql)
      }
      if (!dryRun) for (const [repair, count] of pass.counts()) this.totals[repair] += count
      if (!dryRun && bucket === undefined) this.#note(pass.report)
      logger.info({ ...pass.report, totals: this.totals }, 'the cleanup has made a pass')
      return pass.report
    }
    try {
      const report = await database.exclusively(CLEANUP_TURN, work, waiting)
      if (report === null) this.#skip()
      return report
    } catch (error) {
      if (!request.signal?.aborted) this.counts.error++
      throw error
    }
  }

  #skip(): void {
    this.counts.skipped++
    this.skippedAt = new Date()
  }

  #note({ failures, held, unnamed }: CleanupReport): void {
    this.counts.success++
    this.counts.failures += failures
    this.last = { at: new Date(), held: held.length, unnamed: unnamed ?? this.last?.unnamed ?? 0 }
  }
}

/** Forgets all that is old enough: what a busy server adds between two passes may take many steps. */
async function trim(pass: CleanupPass, step: string, forget: () => Promise<number>): Promise<void> {
  for (let done = 0; ; ) {
    const count = await forget()
    if (count < ROWS_PER_STEP) return
    done += count
    await pass.between(step, done)
  }
}
