import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { forgetHolds } from '../../database/queries/backup-holds.ts'
import type { BackupCounts, BackupJob } from '../../database/queries/backup-jobs.ts'
import {
  chooseParent,
  completeJob,
  failDeadJobs,
  failJob,
  jobsUnderWay,
  noteFull,
  noteProgress,
} from '../../database/queries/backup-work.ts'
import { StorageError } from '../../model/errors.ts'
import { BackupError } from './backup-error.ts'

/** What is done about jobs. Each is safe beside a server at work, and leaves nothing behind when it fails. */
export interface BackupDeeds {
  /** Makes a backup into its target: an incremental one, upon `job.parent`. */
  backup(run: JobRun): Promise<BackupCounts>
  /** Brings `job.parent` back. */
  restore(run: JobRun): Promise<BackupCounts>
  /** What is in a backup that is whole in its target; null when it is not, or that cannot be told now. */
  findWhole(job: BackupJob): Promise<BackupCounts | null>
  /** Removes what a backup has in its target. Nothing there is a success. */
  remove(job: BackupJob, signal: AbortSignal): Promise<void>
  /** The ids of the backups that are in a target. */
  idsIn(target: string): Promise<string[]>
}

export interface JobRun {
  job: BackupJob
  /** Aborted when the server stops, or has lost the turn: another may take the job for dead then. */
  signal: AbortSignal
  /** Tells how far it is. May be called as often as one likes. @param progress from 0 to 1 */
  note(progress: number, counts: BackupCounts): void
}

export interface JobRunOptions {
  database: Database
  deeds: BackupDeeds
  /** Of backups that say nothing themselves; null is for ever. */
  retentionDays: number | null
  logger: Logger
}

/** Between two notes of how far a job is, in milliseconds. */
const NOTE_MS = 1000

/**
 * Does a job that was taken (`takePendingJob`), and notes what has become of it. Only for who has the turn of backups.
 *
 * @returns whether it has come to its end
 * @throws DatabaseUnavailable when it could not be noted; whoever has the turn next finds it dead
 */
export async function runJob(
  options: JobRunOptions,
  taken: BackupJob,
  signal: AbortSignal,
): Promise<boolean> {
  const { database, deeds, retentionDays, logger } = options
  const about = { job: taken.id, kind: taken.kind }
  logger.info(about, `a ${taken.kind} begins`)
  const notes = new ProgressNotes(options, taken.id)
  try {
    const job = taken.type === 'incremental' ? await withParent(database, taken) : taken
    const run = { job, signal, note: notes.note }
    const counts = await (job.kind === 'backup' ? deeds.backup(run) : deeds.restore(run)).finally(notes.end)
    if (!(await completeJob(database, job.id, counts, retentionDays))) {
      logger.error(about, `a ${taken.kind} was taken for dead before it had come to its end`)
      return false
    }
    logger.info({ ...about, ...counts }, `a ${taken.kind} has come to its end`)
    return true
  } catch (error) {
    await notes.end()
    logger.error({ ...about, err: error }, `a ${taken.kind} has failed`)
    await failJob(database, taken.id, signal.aborted ? 'It was interrupted' : sentenceOf(error))
    return false
  }
}

/**
 * What is said to be under way, while nobody but us has the turn of backups, has died: it ends, and what it holds with it. A
 * backup whose manifest was written by then is there for everybody, and is completed.
 */
export async function buryDeadJobs({ database, deeds, retentionDays, logger }: JobRunOptions): Promise<void> {
  for (const job of await jobsUnderWay(database)) {
    const counts = job.kind === 'backup' ? await deeds.findWhole(job) : null
    if (counts === null || !(await completeJob(database, job.id, counts, retentionDays))) continue
    logger.warn({ job: job.id }, 'a backup has come to its end, though whoever made it is no more')
  }
  const dead = await failDeadJobs(database)
  const holds = await forgetHolds(database)
  for (const job of dead) logger.error({ job }, 'a backup or a restore has failed: whoever did it is no more')
  if (holds > 0) logger.warn({ holds }, 'bytes that a dead backup has held are left to the cleanup')
}

/** Upon which one an incremental one is made, or that it is a full one, as there is none. */
async function withParent(database: Database, job: BackupJob): Promise<BackupJob> {
  const parent = await chooseParent(database, job.id)
  if (parent === null) await noteFull(database, job.id, 'It is a full backup, as there was none to build on')
  return { ...job, parent, type: parent === null ? 'full' : 'incremental' }
}

/** For the service, who sees it in the job. What nobody foresaw is for the log alone. */
function sentenceOf(error: unknown): string {
  if (error instanceof StorageError) return error.explanation
  if (error instanceof BackupError) return error.message
  return 'It has failed for a reason that the log of the server has'
}

/** The newest note, written down now and then. What is lost of them is only that somebody sees how far the job is. */
class ProgressNotes {
  #newest: { progress: number; counts: BackupCounts } | null = null
  #writing: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined

  constructor(
    private readonly options: JobRunOptions,
    private readonly id: string,
  ) {}

  readonly note = (progress: number, counts: BackupCounts): void => {
    this.#newest = { progress, counts }
    this.#timer ??= setTimeout(() => {
      this.#writing = this.#write().finally(() => {
        this.#timer = undefined
      })
    }, NOTE_MS)
  }

  /** Nothing is written behind this. */
  readonly end = async (): Promise<void> => {
    clearTimeout(this.#timer)
    await this.#writing
  }

  async #write(): Promise<void> {
    const { database, logger } = this.options
    if (this.#newest === null) return
    const { progress, counts } = this.#newest
    await noteProgress(database, this.id, { progress, ...counts }).catch((error: unknown) => {
      logger.debug({ err: error, job: this.id }, 'how far a job is could not be noted')
    })
  }
}
