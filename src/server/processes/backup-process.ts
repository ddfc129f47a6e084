import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import type { Level, Logger } from 'pino'
import type { DatabasePlace } from '../../database/connection/place.ts'
import type { BackupCounts, BackupJob } from '../../database/queries/backup-jobs.ts'
import { BackupError } from '../../jobs/backup/backup-error.ts'
import type { BackupDeeds, JobRun } from '../../jobs/backup/job-run.ts'
import { errorOf, type FromBackupProcess, type ToBackupProcess } from './backup-messages.ts'

export interface BackupProcessesOptions {
  /** What is done in this process all the same. */
  deeds: Pick<BackupDeeds, 'findWhole' | 'remove' | 'idsIn'>
  /** Started, migrated, and the server's to stop. */
  database: DatabasePlace
  logger: Logger
}

/** So long a process may take to end once it was told to, or has said its last word. In milliseconds. */
const ENDING_LIMIT_MS = 10_000

/** What a process has said before its end is there by then. In milliseconds. */
const LAST_WORDS_LIMIT_MS = 1000

/**
 * Makes and restores backups in a process of their own, `strongroom backup-process`, which lets all others go first: to read,
 * hash and encrypt the bytes of a million objects is minutes of work, and whoever answers requests has none of it.
 *
 * A process whose server is gone ends where it stands, as the server itself has.
 */
export class BackupProcesses implements BackupDeeds {
  constructor(private readonly options: BackupProcessesOptions) {}

  /** @throws what the process has failed with; BackupError when it was killed */
  backup(run: JobRun): Promise<BackupCounts> {
    return this.#do(run)
  }

  /** @throws as `backup` */
  restore(run: JobRun): Promise<BackupCounts> {
    return this.#do(run)
  }

  findWhole(job: BackupJob): Promise<BackupCounts | null> {
    return this.options.deeds.findWhole(job)
  }

  remove(job: BackupJob, signal: AbortSignal): Promise<void> {
    return this.options.deeds.remove(job, signal)
  }

  idsIn(target: string): Promise<string[]> {
    return this.options.deeds.idsIn(target)
  }

  async #do({ job, signal, note }: JobRun): Promise<BackupCounts> {
    signal.throwIfAborted()
    const { database, logger } = this.options
    const child = startOne()
    const tell = (message: ToBackupProcess) => child.send(message, () => {}) // of its death `endOf` tells
    let killing: NodeJS.Timeout | undefined
    const endSoon = () => {
      killing ??= setTimeout(() => child.kill('SIGKILL'), ENDING_LIMIT_MS)
    }
    let isReady = false
    let outcome: Extract<FromBackupProcess, { type: 'done' | 'failed' }> | undefined
    child.on('message', (message: FromBackupProcess) => {
      if (message.type === 'note') note(message.progress, message.counts)
      else if (message.type === 'log') passOn(logger, message.line)
      else if (message.type === 'ready') {
        isReady = true
        tell(signal.aborted ? { type: 'stop' } : { type: 'do', job, database, logLevel: logger.level })
      } else {
        outcome = message
        endSoon()
      }
    })
    const stop = () => {
      if (isReady) tell({ type: 'stop' })
      endSoon()
    }
    signal.addEventListener('abort', stop)
    try {
      const end = await endOf(child)
      if (outcome?.type === 'done') return outcome.counts
      if (outcome) throw errorOf(outcome.failure)
      signal.throwIfAborted()
      throw new BackupError('Interrupted', `The process that did it has ended too early (${end})`)
    } finally {
      clearTimeout(killing)
      signal.removeEventListener('abort', stop)
    }
  }
}

/** The program that runs, once more. In a session of its own: Ctrl-C in a terminal is for the server, and see `giveWay`. */
function startOne(): ChildProcess {
  const [, program = ''] = process.argv
  return fork(program, ['backup-process'], {
    detached: process.platform !== 'win32',
    execArgv: process.execArgv.filter((option) => !option.startsWith('--inspect')),
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
}

/** Resolves once it has ended, and all that it has said has been heard: with its exit code, or the signal that ended it. */
async function endOf(child: ChildProcess): Promise<string> {
  const disconnected = new Promise<void>((resolve) => child.once('disconnect', resolve))
  const end = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code, signal) => resolve(signal ?? String(code)))
    child.on('error', (error) => child.pid === undefined && reject(error)) // else a message that did not reach it
  })
  // Of one that was killed in the middle of a message Node may not say that it is disconnected.
  const late = new AbortController()
  const limit = delay(LAST_WORDS_LIMIT_MS, undefined, { signal: late.signal }).catch(() => {})
  if (child.connected) await Promise.race([disconnected, limit])
  late.abort()
  return end
}

/** A line of its log, as one of the server's. */
function passOn(logger: Logger, line: string): void {
  const { level, msg, ...about } = JSON.parse(line) as { level: Level; msg: string }
  logger[level](about, msg)
}
