/**
 * Which server a folder belongs to: the one whose session holds an advisory lock in its database.
 *
 * A `kill -9` closes that session, so the lock never outlives its server, as a lock file would. PostgreSQL
 * does outlive it; one that runs while nobody holds the lock is an orphan and may be stopped.
 */

import { setTimeout as delay } from 'node:timers/promises'
import postgres from '#postgres'
import { EmbeddedPostgresError, FolderInUseError } from './embedded-error.ts'
import {
  answers,
  isAlive,
  isPostmasterOf,
  POLL_MS,
  readPostmasterFile,
  removeStaleFiles,
  stopPostmaster,
  waitUntil,
} from './postmaster.ts'

export const DATABASE = 'strongroom'
export const SUPERUSER = 'postgres'

/** The lock's two numbers, which nothing else in the program uses: "ROOM" and 1. */
const LOCK_CLASS = 0x524f4f4d
const LOCK_ID = 1

/** How long one that says it is ready may refuse us. One that still starts up gets all the time it needs. */
const ANSWER_LIMIT_MS = 60_000

export interface SocketAddress {
  /** Folder of the socket. */
  host: string
  port: number
}

export interface OwnerLock {
  /** Resolves when the session ends, ours to end or not: the lock is gone then. */
  readonly lost: Promise<void>
  release(): Promise<void>
}

/**
 * Takes the lock for as long as its session lives. Makes the database on first use.
 *
 * @throws FolderInUseError when another server has it
 */
export async function takeOwnerLock(at: SocketAddress, folder: string): Promise<OwnerLock> {
  await makeDatabase(at)
  let ended = () => {}
  const lost = new Promise<void>((resolve) => {
    ended = resolve
  })
  const sql = openSession(at, DATABASE, () => ended())
  try {
    let owner: number | undefined
    const isSettled = async () => {
      const [row] = await sql`select pg_try_advisory_lock(${LOCK_CLASS}::int, ${LOCK_ID}::int) as taken`
      owner = row?.taken ? undefined : await findOwner(sql)
      // The session of a server killed just now, or our own last one, is about to end: wait for it.
      return row?.taken || (owner !== undefined && owner !== process.pid && isAlive(owner))
    }
    const settled = await waitUntil(isSettled, 5_000)
    if (!settled || owner !== undefined) throw new FolderInUseError(folder, owner)
    return { lost, release: () => sql.end({ timeout: 0 }) }
  } catch (error) {
    await sql.end({ timeout: 0 })
    throw error
  }
}

/**
 * Clears the way for our own PostgreSQL on `folder`: stops one that a killed server left, removes what a
 * crashed one left, waits for one that is starting or stopping.
 *
 * @returns the pid of the orphan that was stopped
 * @throws FolderInUseError when another server lives here
 * @throws EmbeddedPostgresError when something runs here that cannot be stopped
 */
export async function takeOver(folder: string): Promise<number | undefined> {
  const giveUpAt = Date.now() + ANSWER_LIMIT_MS
  for (;;) {
    const found = await readPostmasterFile(folder)
    if (found === undefined) return undefined
    if (!(await isPostmasterOf(found.pid, folder))) {
      if (found.pid === 0 && (await isFilledSoon(folder))) continue
      try {
        await refuseIfUnreachable(folder, found.port)
        await removeStaleFiles(folder, found)
        return undefined
      } catch (error) {
        // A killed PostgreSQL is no process any more for an instant before its socket refuses.
        if (!isNotReady(error) || Date.now() > giveUpAt) throw error
        await delay(POLL_MS)
        continue
      }
    }
    if (found.status === 'ready' && found.socketDir !== undefined) {
      try {
        const lock = await takeOwnerLock({ host: found.socketDir, port: found.port }, folder)
        await stopPostmaster(found.pid, folder)
        await lock.release()
        return found.pid
      } catch (error) {
        if (!isNotReady(error)) throw error
        if (Date.now() > giveUpAt) {
          throw new EmbeddedPostgresError(
            `A PostgreSQL (pid ${found.pid}) runs on ${folder} but does not answer: see its server.log, then end it by hand`,
            { cause: error },
          )
        }
      }
    }
    await delay(POLL_MS)
  }
}

/** The error for a start that another server disturbed. Waits until that server has the lock, to name it. */
export async function rivalOf(folder: string): Promise<FolderInUseError> {
  return new FolderInUseError(folder, await awaitOwner(folder, 10_000))
}

/**
 * Pid of the server that owns the folder, without a try for the lock: even for an instant, it could cost that server
 * its start. Waits for one that is about to take it; undefined when there is none after `limitMs`.
 */
export async function awaitOwner(folder: string, limitMs: number): Promise<number | undefined> {
  let owner: number | undefined
  const hasOwner = async () => {
    const found = await readPostmasterFile(folder)
    if (found?.status !== 'ready' || found.socketDir === undefined) return false
    const sql = openSession({ host: found.socketDir, port: found.port }, DATABASE)
    owner = await findOwner(sql).catch(() => undefined)
    await sql.end({ timeout: 0 })
    return owner !== undefined
  }
  await waitUntil(hasOwner, limitMs)
  return owner
}

/** Whether the error only says that PostgreSQL is on its way up or down. */
export function isNotReady(error: unknown): boolean {
  const { code } = error as { code?: string }
  return code !== undefined && NOT_READY.has(code)
}

const NOT_READY = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  'ENOENT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'CONNECTION_CLOSED',
])

/** A start that is just writing the file takes an instant; an empty file that stays is a crashed machine's. */
function isFilledSoon(folder: string): Promise<boolean> {
  return waitUntil(async () => (await readPostmasterFile(folder))?.pid !== 0, 1_000)
}

/**
 * Containers that share a folder see each other's sockets but not each other's processes. Only the socket in
 * the folder itself is asked: a path in the file may be another container's, or that of a copied folder.
 */
async function refuseIfUnreachable(folder: string, port: number): Promise<void> {
  if (!(await answers(folder, port))) return
  const lock = await takeOwnerLock({ host: folder, port }, folder)
  await lock.release()
  throw new EmbeddedPostgresError(
    `A PostgreSQL runs on ${folder} in another container or under another root: stop it there first`,
  )
}

async function makeDatabase(at: SocketAddress): Promise<void> {
  const sql = openSession(at, 'postgres')
  try {
    const [found] = await sql`select 1 from pg_database where datname = ${DATABASE}`
    if (found === undefined) await sql`create database ${sql(DATABASE)}`
  } catch (error) {
    const { code } = error as { code?: string }
    // Made by another at the same time: duplicate_database, or unique_violation a little later.
    if (code !== '42P04' && code !== '23505') throw error
  } finally {
    await sql.end({ timeout: 0 })
  }
}

/** Pid of the server that holds the lock; undefined when nobody does. */
async function findOwner(sql: postgres.Sql): Promise<number | undefined> {
  const [holder] = await sql`
    select session.application_name as name
    from pg_locks as held join pg_stat_activity as session using (pid)
    where held.locktype = 'advisory' and held.granted
      and held.classid = ${LOCK_CLASS} and held.objid = ${LOCK_ID} and held.objsubid = 2
      and held.database = (select oid from pg_database where datname = ${DATABASE})`
  const pid = Number.parseInt(String(holder?.name).replace(/^strongroom /, ''), 10)
  return Number.isNaN(pid) ? undefined : pid
}

function openSession({ host, port }: SocketAddress, database: string, onclose = () => {}): postgres.Sql {
  return postgres({
    host,
    port,
    database,
    username: SUPERUSER,
    max: 1,
    ssl: false,
    fetch_types: false,
    connect_timeout: 10,
    idle_timeout: 0,
    // The driver replaces a connection after about an hour, and with it the lock would go.
    max_lifetime: null,
    onnotice: () => {},
    onclose,
    connection: { application_name: `strongroom ${process.pid}` },
  })
}
