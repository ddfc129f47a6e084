import { type BackupSettings, nextTime } from '../../config/backup.ts'
import { asService } from '../../database/as-caller.ts'
import {
  type BackupJob,
  hasFullSince,
  insertJob,
  lastScheduled,
  lockJobs,
  type NewBackupJob,
} from '../../database/queries/backup-jobs.ts'
import {
  type BackupWork,
  findWork,
  noteLost,
  noteRemoved,
  removableBackups,
  takePendingJob,
  trimJobs,
  usedTargets,
} from '../../database/queries/backup-work.ts'
import { uuidV7 } from '../../lib/uuid.ts'
import { hasCode } from '../../model/errors.ts'
import { BACKUP_TURN } from '../turns.ts'
import { type BackupTurnWaiting, inBackupTurn } from './backup-turn.ts'
import { buryDeadJobs, type JobRunOptions, runJob } from './job-run.ts'

export interface BackupRunnerOptions extends Omit<JobRunOptions, 'retentionDays'> {
  settings: Pick<BackupSettings, 'target' | 'retentionDays' | 'schedule'>
  /** The clock of the schedule. */
  now?: () => Date
}

/** How often a server looks for something to do, in milliseconds. */
const LOOK_MS = 1000

/** How often it tries to get the turn where what there is may be another's, or can wait. In milliseconds. */
const RETRY_MS = 10_000

/** After so long a backup that could not be removed is tried again. In milliseconds. */
const REMOVE_AGAIN_MS = 600_000

/** How often it looks whether backups are where they were put, in milliseconds. */
const TARGETS_MS = 3_600_000

/** How many backups are removed before a server looks again at what there is to do. */
const REMOVED_AT_ONCE = 100

/** A scheduled backup is a full one after so many days: what builds on one keeps it from expiring. */
const FULL_EVERY_DAYS = 7

/** For so long one can see what has become of a job that has left nothing. */
const JOBS_KEPT_DAYS = 90

/**
 * Does what is asked for in `storage.backup_jobs`, makes backups when the schedule says so, and removes those that are deleted or
 * expired. Runs in every server; one of them has the turn (decision 0058).
 *
 * Killed at any moment it leaves a row that says that it is under way. Whoever has the turn next, within `RETRY_MS`, knows that
 * it is not.
 */
export class BackupRunner {
  readonly #options: BackupRunnerOptions & JobRunOptions
  readonly #now: () => Date
  /** When the schedule wants the next one: undefined before the first look, null when never again. */
  #dueAt: Date | null | undefined
  #tryAt = 0
  #removeAt = 0
  #targetsAt = 0

  constructor(options: BackupRunnerOptions) {
    this.#options = { ...options, retentionDays: options.settings.retentionDays }
    this.#now = options.now ?? (() => new Date())
  }

  /** Looks once, and does what there is to do. @returns how long to wait for the next look, in milliseconds */
  async step(signal: AbortSignal): Promise<number> {
    const { database } = this.#options
    const work = await this.#look()
    if (work === null) return RETRY_MS
    const now = performance.now()
    const canWait =
      work.isUnderWay ||
      (work.isRemovable && now >= this.#removeAt) ||
      (work.isKept && now >= this.#targetsAt)
    if (!work.isPending && !(canWait && now >= this.#tryAt)) return LOOK_MS
    this.#tryAt = now + RETRY_MS
    const inTurn = (work: (over: AbortSignal) => Promise<boolean>) =>
      database.exclusively(BACKUP_TURN, (lost) => work(AbortSignal.any([signal, lost])))
    const tried = new Set<string>()
    let isMore = await inTurn(async (over) => {
      await this.#lookAfterJobs()
      return this.#work(tried, over)
    })
    // A removal a turn: whoever waits to make a backup, or to restore one, comes in between.
    while (isMore) isMore = await inTurn((over) => this.#work(tried, over))
    return LOOK_MS
  }

  /** Null while the database cannot be asked, of which others tell. */
  async #look(): Promise<BackupWork | null> {
    try {
      await this.#heedSchedule()
      return await findWork(this.#options.database)
    } catch (error) {
      if (!hasCode(error, 'DatabaseUnavailable')) throw error
      return null
    }
  }

  /** With the turn. */
  async #lookAfterJobs(): Promise<void> {
    await buryDeadJobs(this.#options)
    await this.#lookForLost()
    await trimJobs(this.#options.database, JOBS_KEPT_DAYS)
  }

  /**
   * With the turn: does what is asked for, and removes one backup.
   *
   * @param tried which are not tried again, as they may have failed; the next one is added
   * @returns whether there may be more to remove
   */
  async #work(tried: Set<string>, signal: AbortSignal): Promise<boolean> {
    const { database } = this.#options
    const job = await takePendingJob(database)
    if (job) await runJob(this.#options, job, signal)
    if (signal.aborted) return false
    // Asked in each turn: what was made in between may build on one that nobody has needed before.
    const removable = await removableBackups(database, REMOVED_AT_ONCE)
    const next = removable.find(({ id }) => !tried.has(id))
    if (next === undefined) return false
    tried.add(next.id)
    await this.#remove(next, signal)
    return !signal.aborted && tried.size < REMOVED_AT_ONCE
  }

  /** Backups may be taken out of a target by hand, and none is built upon what is not there. A target that is away says nothing. */
  async #lookForLost(): Promise<void> {
    const { database, deeds, logger } = this.#options
    this.#targetsAt = performance.now() + TARGETS_MS
    for (const target of await usedTargets(database)) {
      try {
        const lost = await noteLost(database, target, await deeds.idsIn(target))
        if (lost.length > 0)
          logger.warn({ backups: lost, target }, 'backups are not in their target any more')
      } catch (error) {
        if (hasCode(error, 'DatabaseUnavailable')) throw error
        logger.warn({ err: error, target }, 'whether backups are in their target cannot be told')
      }
    }
  }

  /** With the turn. */
  async #remove(job: BackupJob, signal: AbortSignal): Promise<void> {
    const { database, deeds, logger } = this.#options
    try {
      if (job.kind === 'backup') await deeds.remove(job, signal)
      await noteRemoved(database, job.id)
      if (job.kind === 'backup') logger.info({ backup: job.id, target: job.target }, 'a backup was removed')
    } catch (error) {
      if (signal.aborted) return
      logger.error({ err: error, backup: job.id }, 'a backup could not be removed; it will be tried again')
      this.#removeAt = performance.now() + REMOVE_AGAIN_MS
    }
  }

  /** Asks for a backup when it is time. A time that was missed is made up for once, however many they were. */
  async #heedSchedule(): Promise<void> {
    const { database, settings, logger } = this.#options
    const { schedule } = settings
    if (schedule === undefined) return
    const now = this.#now()
    if (this.#dueAt === undefined) {
      const last = await asService(database, lastScheduled)
      this.#dueAt = nextTime(schedule, last ?? now)
    }
    const dueAt = this.#dueAt
    if (dueAt === null || now < dueAt) return
    try {
      await asService(database, async (tx) => {
        // Another server may have heard the same bell.
        await lockJobs(tx)
        const last = await lastScheduled(tx)
        if (last !== null && last >= dueAt) return
        const isFullDue = !(await hasFullSince(tx, settings.target, FULL_EVERY_DAYS))
        const job = scheduledJob(settings.target, isFullDue ? 'full' : 'incremental')
        await insertJob(tx, { ...job, scheduledFor: now })
      })
    } catch (error) {
      if (!hasCode(error, 'BackupRunning')) throw error
      logger.warn({ dueAt }, 'a scheduled backup is left out: another one, or a restore, is under way')
    }
    this.#dueAt = nextTime(schedule, now)
  }
}

/**
 * Does a job here and now, for a command. Null when another is under way.
 *
 * @returns the job, and whether it has come to its end
 * @throws BackupRunning when one is to be done
 */
export async function runNow(
  options: JobRunOptions,
  wanted: NewBackupJob,
  waiting: BackupTurnWaiting,
): Promise<{ job: BackupJob; isDone: boolean } | null> {
  const { database } = options
  const work = async (lost: AbortSignal) => {
    await buryDeadJobs(options)
    await asService(database, (tx) => insertJob(tx, wanted))
    const job = await takePendingJob(database)
    if (job === null) throw new Error('a job that was put there is not there')
    return { job, isDone: await runJob(options, job, AbortSignal.any([waiting.signal, lost])) }
  }
  return inBackupTurn(database, work, waiting)
}

function scheduledJob(target: string, type: 'full' | 'incremental'): NewBackupJob {
  return {
    id: uuidV7(),
    kind: 'backup',
    type,
    target,
    parent: null,
    description: '',
    buckets: null,
    includeVersions: true,
    includeTrash: false,
    request: {},
    retentionDays: null,
    createdBy: 'schedule',
  }
}
