/**
 * A real PostgreSQL beside the server, for those who do not bring their own (design §10).
 *
 * It is a process of its own on a unix socket, no TCP port. What the parts know:
 * `system-account` who runs it, `postgres-runtime` the binaries, `cluster-folder` the data,
 * `folder-owner` that no two servers share it, `postgres-process` one run of it, `supervised-postgres` that there is
 * one for as long as we run, `server-log` what it says.
 *
 * If we die at any line, PostgreSQL may live on; the next start finds it through its postmaster.pid, sees
 * that nobody holds the owner's lock, stops it and starts its own.
 */

import { existsSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { systemReason } from '../../model/system-reason.ts'
import { ensureCluster, placeCluster } from './cluster-folder.ts'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { awaitOwner, DATABASE, takeOver } from './folder-owner.ts'
import { finishSwap, refuseMoved } from './next-cluster.ts'
import type { LaunchOptions } from './postgres-process.ts'
import { findPackage, prepareRuntime } from './postgres-runtime.ts'
import { readPostmasterFile } from './postmaster.ts'
import { socketFolder } from './socket-folder.ts'
import { SupervisedPostgres } from './supervised-postgres.ts'
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
  const launch: LaunchOptions = {
    account,
    native,
    folder,
    settings: {
      ...DEFAULTS,
      ...settings,
      ...onSocketAlone(host),
    },
  }
  const connection = { host, port: PORT, database: DATABASE }
  const server = new SupervisedPostgres(connection, { launch, logger, onLost: options.onLost })
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
