/**
 * Makes a cluster of a copy (online-copy.ts) and the log that belongs to it, as it was at one moment (decision 0060).
 *
 * All is done in `<cluster>.restoring-<pid>`, and what PostgreSQL has recovered there takes its name when it is whole:
 *
 *     cluster/         the copy, then the database
 *     asked/, given/   by which PostgreSQL gets the log (asked-segments.ts)
 *
 * If we die at any line, nothing is at the cluster's name; the next recovery stops what still runs and removes the rest.
 */

import { createWriteStream } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { flushPath } from '../../lib/fsync.ts'
import { systemReason } from '../../model/system-reason.ts'
import { directly } from '../connection/place.ts'
import { openSession } from '../connection/session.ts'
import { answerRequests, type GiveSegment, prepareFolders, RESTORE_COMMAND } from './asked-segments.ts'
import { removeLeftovers } from './atomic-folder.ts'
import { giveTo } from './cluster-folder.ts'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { type EmbeddedOptions, findGround, type Ground, onSocketAlone, PORT } from './embedded-postgres.ts'
import { DATABASE, SUPERUSER } from './folder-owner.ts'
import { type LaunchOptions, launch } from './postgres-process.ts'
import { readPostmasterFile, stopPostmaster, waitUntil } from './postmaster.ts'
import { socketFolder } from './socket-folder.ts'
import { type Account, isRoot } from './system-account.ts'

/** Up to where the log is gone through. */
export type RecoveryTarget =
  /** The moment of the copy, by its name. */
  | { restorePoint: string }
  /**
   * What was committed by then. `isComplete` says that all of that is in the log: then it may end before, since a database
   * at rest writes none.
   */
  | { time: Date; isComplete: boolean }
  /** All there is. */
  | { end: true }

export interface RecoveryOptions extends Pick<EmbeddedOptions, 'clusterDir' | 'logger' | 'overrides'> {
  /** The copy's, each path as `database/…` has it. */
  files: AsyncIterable<CopiedFile>
  /** Its folders, each behind the one that it is in. */
  directories: string[]
  /** The log from the copy's start to the target. */
  segment: GiveSegment
  target: RecoveryTarget
  /** Whether to wait for the disk. Only tests do without. */
  fsync?: boolean
  signal: AbortSignal
}

export interface CopiedFile {
  path: string
  open(): Promise<Readable>
}

/** The log ends before the moment that was asked for. */
export class LogTooShortError extends EmbeddedPostgresError {
  override readonly name = 'LogTooShortError'
}

/**
 * Lays out the copy, lets PostgreSQL recover it up to the target, and stops it again: what is at the cluster's place then
 * is as an orderly stop leaves it. It goes on on a timeline of its own.
 *
 * @throws EmbeddedPostgresError saying what is wrong; LogTooShortError; what `files` and `segment` throw
 */
export async function recoverCluster(options: RecoveryOptions): Promise<void> {
  const ground = await findGround(options)
  await refuseTaken(ground.folder)
  const stem = `${ground.folder}.restoring-`
  await removeLeftovers(stem, stopWhatRuns)
  const unfinished = `${stem}${process.pid}`
  try {
    await makeRoom(unfinished, ground.account)
    const cluster = join(unfinished, 'cluster')
    await layOut(cluster, options, ground)
    await prepareFolders(unfinished, ground.account)
    await recover(unfinished, options, ground)
    for (const name of LEFT_BEHIND) await rm(join(cluster, name), { force: true })
    await flushPath(cluster)
    await takePlace(cluster, ground.folder)
  } catch (error) {
    // Told to end, PostgreSQL may say in its own words that it has not got what it asked for.
    options.signal.throwIfAborted()
    if (error instanceof EmbeddedPostgresError || (error as NodeJS.ErrnoException).syscall === undefined)
      throw error
    throw new EmbeddedPostgresError(
      `The database cannot be restored to ${ground.folder}: ${systemReason(error)}`,
      {
        cause: error,
      },
    )
  } finally {
    await stopWhatRuns(unfinished)
    await rm(unfinished, { recursive: true, force: true })
  }
}

/** What a recovery leaves in a cluster that nobody needs. */
const LEFT_BEHIND = ['backup_label.old', 'server.log']

async function refuseTaken(folder: string): Promise<void> {
  const content = await readdir(folder).catch(() => [])
  if (content.length === 0) return
  throw new EmbeddedPostgresError(
    `There is a database in ${folder} already: move it away, or restore to another STORAGE_DATA_DIR`,
  )
}

/** A PostgreSQL outlives who has started it. */
async function stopWhatRuns(unfinished: string): Promise<void> {
  const cluster = await realpath(join(unfinished, 'cluster')).catch(() => undefined)
  const found = cluster === undefined ? undefined : await readPostmasterFile(cluster)
  if (cluster !== undefined && found !== undefined) await stopPostmaster(found.pid, cluster)
}

/** A folder that is ours, which PostgreSQL's user may enter, and nobody else. */
async function makeRoom(unfinished: string, account: Account): Promise<void> {
  await mkdir(unfinished, { mode: 0o700 })
  if (!isRoot()) return
  await chown(unfinished, 0, account.gid)
  await chmod(unfinished, 0o750)
}

async function layOut(cluster: string, options: RecoveryOptions, { account, major }: Ground): Promise<void> {
  const { files, directories, signal } = options
  await mkdir(cluster, { mode: 0o700 })
  for (const path of directories) await mkdir(inside(cluster, path), { mode: 0o700 })
  for await (const { path, open } of files) {
    signal.throwIfAborted()
    // PostgreSQL flushes them all before it recovers (SyncDataDirectory).
    const flags = { flags: 'wx', mode: 0o600 }
    await pipeline(await open(), createWriteStream(inside(cluster, path), flags), { signal })
  }
  const version = (await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch(() => '')).trim()
  if (version !== major) {
    throw new EmbeddedPostgresError(
      version === ''
        ? 'This is no copy of a database: it has no PG_VERSION'
        : `The copy was made of PostgreSQL ${version}, and this is PostgreSQL ${major}: restore it with the Strongroom that made it`,
    )
  }
  await writeFile(join(cluster, 'recovery.signal'), '', { mode: 0o600 })
  if (isRoot()) await giveTo(cluster, account)
}

/** A backup may have been changed by whoever can write where it is. */
function inside(folder: string, path: string): string {
  const isOdd = path.split('/').some((part) => part === '' || part === '.' || part === '..')
  if (isOdd || path.includes('\0')) throw new EmbeddedPostgresError(`No file of a database is at ${path}`)
  return join(folder, path)
}

async function recover(unfinished: string, options: RecoveryOptions, ground: Ground): Promise<void> {
  const { target, fsync = true } = options
  const folder = await realpath(join(unfinished, 'cluster'))
  const host = await socketFolder(folder, PORT, ground.account)
  const run = (until: Record<string, string>) => {
    const settings = { ...RECOVERING, ...until, fsync: fsync ? 'on' : 'off', ...onSocketAlone(host) }
    return runOnce({ ...ground, folder, host, settings }, unfinished, options)
  }
  const said = await run(settingsFor(target))
  if (said === undefined) return
  const mayEnd = 'time' in target && target.isComplete && isTooShort(said)
  const saidAtLast = mayEnd ? await run({}) : said
  if (saidAtLast !== undefined) throw explain(saidAtLast, target)
}

const RECOVERING = {
  restore_command: RESTORE_COMMAND,
  recovery_target_action: 'promote',
  recovery_target_inclusive: 'on',
  recovery_target_timeline: 'latest',
  hot_standby: 'off',
  archive_mode: 'off',
  logging_collector: 'off',
  log_min_messages: 'warning',
  lc_messages: 'C', // for `explain`
  log_timezone: 'UTC',
}

function settingsFor(target: RecoveryTarget): Record<string, string> {
  // What came after a copy that was restored before is on another timeline, and the copy's moment is not.
  if ('restorePoint' in target) {
    return { recovery_target_name: target.restorePoint, recovery_target_timeline: 'current' }
  }
  if (!('time' in target)) return {}
  // Names of time zones, `Z` among them, are not known yet when this is read.
  return { recovery_target_time: target.time.toISOString().replace('Z', '+00') }
}

/** Runs PostgreSQL until it has recovered and stopped again. Returns what it said when it failed, or undefined. */
async function runOnce(
  launchOptions: LaunchOptions & { host: string },
  unfinished: string,
  { segment, signal }: RecoveryOptions,
): Promise<string | undefined> {
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  const answering = answerRequests(unfinished, segment, either)
  answering.catch(() => over.abort()) // PostgreSQL would wait for its answer for ever
  try {
    const postgres = await launch(launchOptions)
    const failure = await postgres.ready(either)
    if (failure !== undefined) return failure.log
    await checkpoint(launchOptions.host)
    await stopPostmaster(postgres.pid, launchOptions.folder)
    await waitUntil(async () => postgres.hasExited, EXIT_NOTICE_LIMIT_MS)
    return undefined
  } finally {
    over.abort()
    await answering // whose failure is why the rest has failed
  }
}

/** However long the disk takes: a stop would wait for half a minute only, and leave the rest to the next start. */
async function checkpoint(host: string): Promise<void> {
  const address = { host, port: PORT, database: DATABASE, username: SUPERUSER }
  const session = await openSession(directly(address).sessions)
  try {
    await session.sql.unsafe('set statement_timeout = 0; checkpoint')
  } finally {
    await session.close()
  }
}

/** Node may hear of it a little later. */
const EXIT_NOTICE_LIMIT_MS = 10_000

function isTooShort(log: string): boolean {
  return log.includes('recovery ended before configured recovery target was reached')
}

/** What PostgreSQL says of a failure, in the words of whoever restores. */
function explain(log: string, target: RecoveryTarget): EmbeddedPostgresError {
  const moment = 'time' in target ? target.time.toISOString() : 'the moment of the backup'
  if (isTooShort(log)) {
    const last = /last completed transaction was at log time (.+)/.exec(log)?.[1]
    const ends = last === undefined ? 'has no transaction' : `ends with what was committed at ${last}`
    return new LogTooShortError(
      `The log does not reach ${moment}: it ${ends}. Choose that time or an earlier one`,
    )
  }
  if (log.includes('requested recovery stop point is before consistent recovery point')) {
    return new EmbeddedPostgresError(
      `${moment} is before this backup was complete: choose an older backup, or a later time`,
    )
  }
  if (/WAL ends before (end of online backup|consistent recovery point)/.test(log)) {
    return new EmbeddedPostgresError(
      'The log that belongs to the copy is incomplete, so it cannot be recovered',
    )
  }
  return new EmbeddedPostgresError(`PostgreSQL could not recover the copy. It said:\n${log}`)
}

async function takePlace(cluster: string, folder: string): Promise<void> {
  try {
    await rename(cluster, folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOTEMPTY' || code === 'EEXIST') await refuseTaken(folder)
    throw error
  }
  await flushPath(dirname(folder)) // the name itself must survive a crash too
}
