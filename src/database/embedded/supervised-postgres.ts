import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedPostgresError, FolderInUseError } from './embedded-error.ts'
import {
  isNotReady,
  type OwnerLock,
  rivalOf,
  type SocketAddress,
  SUPERUSER,
  takeOwnerLock,
} from './folder-owner.ts'
import { type LaunchOptions, launch, type PostgresProcess } from './postgres-process.ts'
import { POLL_MS, stopPostmaster, waitUntil } from './postmaster.ts'
import { keepLogShort } from './server-log.ts'

export interface SupervisedOptions {
  launch: LaunchOptions
  logger: { info(fields: object, message: string): void; warn(fields: object, message: string): void }
  /** Another server has taken the folder; there will be no PostgreSQL of ours any more. */
  onLost: ((error: EmbeddedPostgresError) => void) | undefined
}

const START_LIMIT_MS = 60_000
const LONGEST_BACKOFF_MS = 10_000
const EXIT_NOTICE_LIMIT_MS = 10_000

/** PostgreSQL on a folder that is ours, started again when it breaks down. */
export class SupervisedPostgres {
  readonly superuser = SUPERUSER
  readonly #stopping = new AbortController()
  #run: PostgresProcess | undefined
  #lock: OwnerLock | undefined
  #supervision: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined
  #leaveLog: () => void = () => {}

  constructor(
    readonly connection: SocketAddress & { database: string },
    private readonly options: SupervisedOptions,
  ) {}

  get pid(): number {
    return this.#run?.pid ?? 0
  }

  async start(): Promise<void> {
    const { folder, account } = this.options.launch
    this.#leaveLog = keepLogShort(folder, account, (error) =>
      this.options.logger.warn({ err: error }, "PostgreSQL's log cannot be shortened"),
    )
    try {
      await this.#bringUp()
    } catch (error) {
      await this.stop()
      throw error
    }
    this.#supervision = this.#supervise()
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#shutDown()
    return this.#stopped
  }

  async #shutDown(): Promise<void> {
    this.#stopping.abort()
    await this.#supervision
    const run = this.#run
    if (run !== undefined && !run.hasExited) {
      await stopPostmaster(run.pid, this.options.launch.folder)
      // Gone, but Node may not have heard of it. Looked for, since waiting for an event of a process that does not
      // hold us would let our own end here.
      await waitUntil(async () => run.hasExited, EXIT_NOTICE_LIMIT_MS)
    }
    this.#leaveLog()
    await this.#lock?.release() // last, so that nobody takes a PostgreSQL that is shutting down for an orphan
  }

  /**
   * Runs PostgreSQL if it does not run, and takes the lock. Recovery from a crash may take as long as it
   * likes; failures that pass by themselves are tried again for a minute.
   */
  async #bringUp(): Promise<void> {
    await this.#lock?.release()
    this.#lock = undefined
    const giveUpAt = Date.now() + START_LIMIT_MS
    for (;;) {
      const failure = this.#run?.hasExited === false ? undefined : await this.#runAnew()
      if (failure === undefined) {
        try {
          this.#lock = await takeOwnerLock(this.connection, this.options.launch.folder)
          return
        } catch (error) {
          if (!isNotReady(error) || Date.now() > giveUpAt) throw error
        }
      } else if (Date.now() > giveUpAt || !failure.isPassing) {
        throw new EmbeddedPostgresError(
          `PostgreSQL could not start on ${this.options.launch.folder}. It said:\n${failure.log}`,
        )
      }
      this.#stopping.signal.throwIfAborted()
      await delay(POLL_MS)
    }
  }

  async #runAnew(): Promise<{ log: string; isPassing: boolean } | undefined> {
    this.#stopping.signal.throwIfAborted()
    this.#run = await launch(this.options.launch)
    const failure = await this.#run.ready(this.#stopping.signal)
    if (failure === undefined) return undefined
    const { exitCode, log } = failure
    if (log.includes('lock file "postmaster.pid" already exists'))
      throw await rivalOf(this.options.launch.folder)
    // Sessions of a PostgreSQL whose main process was killed end by themselves, when their query does.
    const isOutlived = log.includes('pre-existing shared memory block')
    // Another server that starts at the same time saw ours without an owner yet. One of us will win.
    const wasAskedToStop = exitCode === 0
    return { log, isPassing: isOutlived || wasAskedToStop }
  }

  async #supervise(): Promise<void> {
    const { signal } = this.#stopping
    const stopAsked = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    while (!signal.aborted) {
      await Promise.race([stopAsked, this.#run?.exited, this.#lock?.lost])
      if (signal.aborted) return
      this.options.logger.warn({ postgres: this.pid }, 'PostgreSQL broke down; bringing it back')
      if (!(await this.#bringBack())) return
      this.options.logger.info({ postgres: this.pid }, 'PostgreSQL is back')
    }
  }

  /** Tries until PostgreSQL runs again. False when we are to stop, or another server has the folder now. */
  async #bringBack(): Promise<boolean> {
    const { signal } = this.#stopping
    for (let backoffMs = 50; !signal.aborted; backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS)) {
      try {
        await this.#bringUp()
        return true
      } catch (error) {
        if (signal.aborted) return false
        this.options.logger.warn({ err: error }, 'PostgreSQL cannot be brought back')
        if (error instanceof FolderInUseError) {
          this.options.onLost?.(error)
          return false
        }
      }
      await delay(backoffMs, undefined, { signal }).catch(() => {}) // a stop ends the wait
    }
    return false
  }
}
