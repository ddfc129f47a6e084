/**
 * A real PostgreSQL beside the server, for those who do not bring their own (design §10).
 *
 * It is a process of its own on a unix socket, no TCP port. What the parts know:
 * `system-account` who runs it, `postgres-runtime` the binaries, `cluster-folder` the data,
 * `folder-owner` that no two servers share it, `postgres-process` one run of it, `server-log` what it says.
 *
 * If we die at any line, PostgreSQL may live on; the next start finds it through its postmaster.pid, sees
 * that nobody holds the owner's lock, stops it and starts its own.
 */

import { existsSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { systemReason } from '../../model/system-reason.ts'
import { ensureCluster, placeCluster } from './cluster-folder.ts'
import { EmbeddedPostgresError, FolderInUseError } from './embedded-error.ts'
import {
  awaitOwner,
  DATABASE,
  isNotReady,
  type OwnerLock,
  rivalOf,
  SUPERUSER,
  takeOver,
  takeOwnerLock,
} from './folder-owner.ts'
import { finishSwap, refuseMoved } from './next-cluster.ts'
import { type LaunchOptions, launch, type PostgresProcess } from './postgres-process.ts'
import { findPackage, prepareRuntime } from './postgres-runtime.ts'
import { POLL_MS, readPostmasterFile, stopPostmaster, waitUntil } from './postmaster.ts'
import { keepLogShort } from './server-log.ts'
import { socketFolder } from './socket-folder.ts'
import { type Account, accountFor, isRoot } from './system-account.ts'

export interface EmbeddedOptions {
  /** Folder of the cluster, normally <dataDir>/postgres. Becomes a link when PostgreSQL's user cannot go there. */
  clusterDir: string
  logger: { info(fields: object, message: string): void; warn(fields: object, message: string): void }
  /** PostgreSQL settings by name, over our defaults. */
  settings?: Record<string, string>
  /** Another server has taken the folder while we ran; the database is not ours any more. Stop serving. */
  onLost?: (error: EmbeddedPostgresError) => void
  /** Other places than the usual, for tests. */
  overrides?: { packageDir?: string; cacheDir?: string; libraryDir?: string }
}

export interface EmbeddedPostgres {
  /** For the `postgres` driver; `host` is the folder of the socket. Stays the same for as long as we run. */
  readonly connection: { readonly host: string; readonly port: number; readonly database: string }
  /** For migrations only: row-level security does not bind this login. */
  readonly superuser: string
  /** PostgreSQL's main process. Changes when it had to be started again. */
  readonly pid: number
  /** Shuts PostgreSQL down in order, breaking off its sessions, and returns once it is gone. Twice is harmless. */
  stop(): Promise<void>
}

/** Where databases of root's servers are whose own place PostgreSQL's user cannot reach, and copies of its programs. */
export const SYSTEM_LIBRARY = '/var/lib/strongroom'
export const SYSTEM_CACHE = '/var/cache/strongroom'

/** Of all clients together, unless the settings say something else. */
export const MAX_CONNECTIONS = 100

/** Settings that a user may change. */
const DEFAULTS = {
  shared_buffers: '128MB',
  max_connections: String(MAX_CONNECTIONS),
  jit: 'off', // compiling costs more than our short queries do
  timezone: 'UTC',
  log_timezone: 'UTC',
}

export const PORT = 5432 // only the name of the socket
const START_LIMIT_MS = 60_000
const LONGEST_BACKOFF_MS = 10_000
const EXIT_NOTICE_LIMIT_MS = 10_000

/** A server whose PostgreSQL broke down has it back by then, unless it has much to recover. */
const RETURN_LIMIT_MS = 5000

/**
 * Starts PostgreSQL on the folder, making it first if need be, and keeps it running until `stop`.
 *
 * @throws EmbeddedPostgresError saying what is wrong and what to do
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  try {
    return await start(options)
  } catch (cause) {
    if (cause instanceof EmbeddedPostgresError) throw cause
    const { path } = cause as NodeJS.ErrnoException
    throw new EmbeddedPostgresError(
      `The built-in PostgreSQL could not start on ${options.clusterDir}: ${systemReason(cause)}${path === undefined ? '' : ` (${path})`}`,
      { cause },
    )
  }
}

/**
 * Where the PostgreSQL of a running server is; undefined when no server runs on this folder. Where one may be bringing
 * its PostgreSQL back, that is waited for: to start another one meanwhile would take the folder from it.
 */
export async function findRunning(clusterDir: string): Promise<EmbeddedPostgres['connection'] | undefined> {
  const folder = await realpath(clusterDir)
  // An orderly stop removes the file.
  if ((await readPostmasterFile(folder)) === undefined) return undefined
  if ((await awaitOwner(folder, RETURN_LIMIT_MS)) === undefined) return undefined
  const found = await readPostmasterFile(folder)
  if (found?.socketDir === undefined) return undefined
  return { host: found.socketDir, port: found.port, database: DATABASE }
}

async function start(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { logger, settings = {} } = options

  // 1. Who runs it, where its files are, and the programs.
  const { account, folder, native, major } = await findGround(options)

  // 2. A cluster of the same version, in which the rows are.
  await refuseMoved(folder)
  if (!existsSync(join(folder, 'PG_VERSION'))) {
    logger.info({ folder }, 'making the database, which takes some seconds, once')
  }
  const fsync = settings.fsync !== 'off'
  await ensureCluster(folder, { account, native, major, fsync })

  // 3. Nobody else's.
  const orphan = await takeOver(folder)
  if (orphan !== undefined) {
    logger.warn({ postgres: orphan }, 'Stopped the PostgreSQL that a killed server left')
  }

  // 4. Ours, and kept running.
  const host = await socketFolder(folder, PORT, account)
  const launchOptions: LaunchOptions = {
    account,
    native,
    folder,
    settings: {
      ...DEFAULTS,
      ...settings,
      ...onSocketAlone(host),
    },
  }
  const server = new SupervisedPostgres(host, launchOptions, logger, options.onLost)
  await server.start()
  return server
}

/** Settings of a PostgreSQL that can be reached through its socket in the folder `host` alone. */
export function onSocketAlone(host: string): Record<string, string> {
  return {
    listen_addresses: '',
    port: String(PORT),
    unix_socket_directories: `"${host.replaceAll('"', '""')}"`, // a list: commas and blanks need the quotes
    unix_socket_permissions: '0700',
  }
}

/** What a PostgreSQL needs to run for a cluster. */
export interface Ground {
  account: Account
  /** The cluster's real path, which need not exist yet. */
  folder: string
  /** Folder that holds `bin/postgres`, which the account can run. */
  native: string
  /** The major version of those programs. */
  major: string
}

/** @throws EmbeddedPostgresError when one of them cannot be had */
export async function findGround(
  options: Pick<EmbeddedOptions, 'clusterDir' | 'logger' | 'overrides'>,
): Promise<Ground> {
  const { logger, overrides = {} } = options
  const clusterDir = resolve(options.clusterDir)
  const account = await accountFor(clusterDir)
  await finishSwap(clusterDir)
  const folder = await placeCluster(clusterDir, account, overrides.libraryDir ?? SYSTEM_LIBRARY)
  if (dirname(folder) !== dirname(clusterDir)) {
    logger.info({ clusterDir, folder }, `The database of ${clusterDir} is kept in ${folder}`)
  }
  const from = await findPackage(overrides.packageDir)
  const cacheDir = overrides.cacheDir ?? (isRoot() ? SYSTEM_CACHE : dirname(clusterDir))
  const native = await prepareRuntime(from, account, cacheDir, (copy) =>
    logger.info({ copy }, 'copying PostgreSQL to where it can be run, once'),
  )
  return { account, folder, native, major: from.major }
}

class SupervisedPostgres implements EmbeddedPostgres {
  readonly connection
  readonly superuser = SUPERUSER
  readonly #stopping = new AbortController()
  #run: PostgresProcess | undefined
  #lock: OwnerLock | undefined
  #supervision: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined
  #leaveLog: () => void = () => {}

  constructor(
    host: string,
    private readonly launchOptions: LaunchOptions,
    private readonly logger: EmbeddedOptions['logger'],
    private readonly onLost: EmbeddedOptions['onLost'],
  ) {
    this.connection = { host, port: PORT, database: DATABASE }
  }

  get pid(): number {
    return this.#run?.pid ?? 0
  }

  async start(): Promise<void> {
    const { folder, account } = this.launchOptions
    this.#leaveLog = keepLogShort(folder, account, (error) =>
      this.logger.warn({ err: error }, "PostgreSQL's log cannot be shortened"),
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
      await stopPostmaster(run.pid, this.launchOptions.folder)
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
          this.#lock = await takeOwnerLock(this.connection, this.launchOptions.folder)
          return
        } catch (error) {
          if (!isNotReady(error) || Date.now() > giveUpAt) throw error
        }
      } else if (Date.now() > giveUpAt || !failure.isPassing) {
        throw new EmbeddedPostgresError(
          `PostgreSQL could not start on ${this.launchOptions.folder}. It said:\n${failure.log}`,
        )
      }
      this.#stopping.signal.throwIfAborted()
      await delay(POLL_MS)
    }
  }

  async #runAnew(): Promise<{ log: string; isPassing: boolean } | undefined> {
    this.#stopping.signal.throwIfAborted()
    this.#run = await launch(this.launchOptions)
    const failure = await this.#run.ready(this.#stopping.signal)
    if (failure === undefined) return undefined
    const { exitCode, log } = failure
    if (log.includes('lock file "postmaster.pid" already exists'))
      throw await rivalOf(this.launchOptions.folder)
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
      this.logger.warn({ postgres: this.pid }, 'PostgreSQL broke down; bringing it back')
      if (!(await this.#bringBack())) return
      this.logger.info({ postgres: this.pid }, 'PostgreSQL is back')
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
        this.logger.warn({ err: error }, 'PostgreSQL cannot be brought back')
        if (error instanceof FolderInUseError) {
          this.onLost?.(error)
          return false
        }
      }
      await delay(backoffMs, undefined, { signal }).catch(() => {}) // a stop ends the wait
    }
    return false
  }
}
