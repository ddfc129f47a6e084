import { randomBytes } from 'node:crypto'
import postgres from '#postgres'
import type { Database } from '../connection/client.ts'
import { connectTo, heedsLogin } from '../connection/connection.ts'
import { explainConnectionError } from '../connection/connection-error.ts'
import { isDirect, NewPoolerError, NoSessionError, PoolerError } from '../connection/kept-session.ts'
import type { DatabasePlace, Endpoint } from '../connection/place.ts'
import { fromPostgres } from '../connection/postgres-error.ts'
import { openSession, type Session } from '../connection/session.ts'
import { MigrationError } from '../migrations/migrate.ts'

/**
 * What answers at the addresses of the settings: PostgreSQL, or a pooler, and whether it is one that keeps sessions where
 * they are needed (decision 0029). Changes nothing.
 *
 * @param url DATABASE_URL
 * @param directUrl STORAGE_DATABASE_DIRECT_URL: the same database, where sessions are kept
 * @throws MigrationError saying what to set
 */
export async function findPlace(url: string, directUrl: string | undefined): Promise<DatabasePlace> {
  const forSessions = directUrl ?? url
  const variable = sessionsVariable(directUrl)
  let session: Session | undefined
  try {
    const sessions = await explained(() => lookAt(forSessions, variable), variable, forSessions)
    session = await explained(() => openSession(sessions), variable, forSessions)
    if (directUrl === undefined) return { transactions: sessions, sessions }
    const transactions = await explained(() => lookAt(url, 'DATABASE_URL'), 'DATABASE_URL', url)
    await explained(() => checkSame(session as Session, transactions), 'DATABASE_URL', url)
    return { transactions, sessions }
  } catch (error) {
    throw error instanceof PoolerError ? explainPooler(error, directUrl) : error
  } finally {
    await session?.close()
  }
}

/** What to do about a pooler. */
export function explainPooler(error: PoolerError, directUrl: string | undefined): MigrationError {
  const variable = sessionsVariable(directUrl)
  const needed = 'the address of PostgreSQL itself, or of a pooler in session mode'
  const kind =
    'a pooler that gives each transaction another session (such as pool_mode=transaction of PgBouncer, port 6543 of Supabase, or -pooler of Neon)'
  const says =
    error instanceof NewPoolerError
      ? `${variable} leads to a pooler now, and did not at the start: start again, or let it lead to PostgreSQL itself`
      : directUrl === undefined
        ? `${variable} leads to ${kind}: set STORAGE_DATABASE_DIRECT_URL to ${needed}, for what needs sessions; or let DATABASE_URL be that address`
        : `${variable} leads to ${kind}: set it to ${needed}`
  return new MigrationError(says, { cause: error })
}

/** @throws MigrationError, DatabaseUnavailable when sessions are not to be had that were at the start */
export async function refusePooler(
  { place }: Pick<Database, 'place'>,
  directUrl: string | undefined,
): Promise<void> {
  try {
    const session = await openSession(place.sessions)
    await session.close()
  } catch (error) {
    if (error instanceof PoolerError) throw explainPooler(error, directUrl)
    if (error instanceof NoSessionError) throw new MigrationError(error.message, { cause: error })
    throw fromPostgres(error)
  }
}

/** The setting that says where sessions are. */
function sessionsVariable(directUrl: string | undefined): string {
  return directUrl === undefined ? 'DATABASE_URL' : 'STORAGE_DATABASE_DIRECT_URL'
}

/** @throws MigrationError when no transaction is possible there */
async function lookAt(address: string, variable: string): Promise<Endpoint> {
  const sql = connectTo({ address, isPooler: true }, { max: 1, fetch_types: false })
  try {
    if (await isDirect(sql)) return { address, isPooler: false }
    if (!(await takesTransactions(sql))) {
      throw new MigrationError(
        `${variable} leads to a pooler that takes no transactions (pool_mode=statement of PgBouncer): let its pool_mode be session`,
      )
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
  return { address, isPooler: !(await takesSettings(address)) }
}

/** In its `pool_mode=statement` PgBouncer ends the connection of whoever begins one. */
async function takesTransactions(sql: postgres.Sql): Promise<boolean> {
  try {
    await sql.begin(async () => {})
    return true
  } catch {
    await sql.unsafe('select 1') // else it is something else
    return false
  }
}

/** Whether sessions are made as we ask for them, though not by PostgreSQL itself. */
async function takesSettings(address: string): Promise<boolean> {
  const sql = connectTo({ address, isPooler: false }, { max: 1, fetch_types: false })
  try {
    return await heedsLogin(sql)
  } catch (error) {
    // Such as PgBouncer's "unsupported startup parameter"; without them it has been reached.
    if (error instanceof postgres.PostgresError) return false
    throw error
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/**
 * Sees to it that both addresses lead to one database: a lock that the session has cannot be had there.
 *
 * @throws MigrationError
 */
async function checkSame({ sql }: Session, transactions: Endpoint): Promise<void> {
  const key = randomBytes(8).readBigInt64BE()
  const pool = connectTo(transactions, { max: 1, fetch_types: false })
  try {
    await sql.unsafe(`select pg_advisory_lock(${key})`) // of a number that nobody else has
    const isFree = await pool.begin(async (tx) => {
      const [row] = await tx.unsafe(`select pg_try_advisory_xact_lock(${key}) as taken`)
      return row?.taken === true
    })
    if (!isFree) return
  } finally {
    await pool.end({ timeout: 1 })
  }
  throw new MigrationError(
    'DATABASE_URL and STORAGE_DATABASE_DIRECT_URL lead to two databases, or to a primary and its copy: both must name the same one',
  )
}

/** @throws MigrationError for what keeps us from an address, naming its variable */
async function explained<T>(work: () => Promise<T>, variable: string, url: string): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    if (thrown instanceof MigrationError || thrown instanceof PoolerError) throw thrown
    if (thrown instanceof NoSessionError) throw new MigrationError(thrown.message, { cause: thrown })
    const says = explainConnectionError(thrown, url)?.replaceAll('DATABASE_URL', variable)
    if (says === undefined) throw thrown
    throw new MigrationError(says, { cause: thrown })
  }
}
