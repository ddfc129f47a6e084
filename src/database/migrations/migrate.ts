import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator'
import type { Logger } from 'pino'
import type { Database } from '../connection/client.ts'
import { explainConnectionError } from '../connection/connection-error.ts'
import { drizzleOver } from '../connection/drizzle.ts'
import { type DatabaseAddress, directly, type Endpoint } from '../connection/place.ts'
import { fromPostgres } from '../connection/postgres-error.ts'
import { openSession, type Session } from '../connection/session.ts'
import { takeTurn } from '../connection/turns.ts'
import { findObstacle } from './obstacles.ts'
import { makeRoles, SERVER_ROLE, whatToRun } from './roles.ts'
import { letServiceIn } from './service-role.ts'

const FOLDER = fileURLToPath(new URL('../../../drizzle', import.meta.url))
/** PostgreSQL 15, as `server_version_num` has it. */
export const OLDEST_POSTGRES = 150_000

const TABLE = { schema: 'storage', name: 'strongroom_migrations' }

/** One number that all servers agree on, so that only one of them migrates at a time where there are no turns yet. */
const ADVISORY_LOCK = 0x5f72_6f6f

/** From then on all servers know it by this name. */
const TURN = 'migration'

/** How often a server asks whether it may migrate, and when it says that it waits. In milliseconds. */
const RETRY_MS = 50
const LONG_WAIT_MS = 3_000

/** The database cannot be made ready. The message says what to do. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError'
}

/**
 * Brings the database up to the newest migration in `drizzle/`, one server at a time, and sees to it that service_role
 * gets at all tables. With nothing to do it only reads, so that a login without the right to create anything can serve.
 *
 * @param at where sessions are kept, with a login that may create roles and schemas when something is pending
 * @returns how many migrations were applied
 * @throws MigrationError
 */
export async function migrate(at: DatabaseAddress | Endpoint, logger: Logger): Promise<number> {
  const endpoint = typeof at === 'object' && 'address' in at ? at : directly(at).sessions
  // One session: the turn belongs to it, and the work is done in it.
  let session: Session | undefined
  try {
    session = await openSession(endpoint)
    const { sql } = session
    if ((await pendingMigrations(sql)) === 0) {
      await openTables(sql)
      return 0
    }
    await sql`set statement_timeout = 0`
    await waitForTurn(sql, logger)
    // Another server may have done it while this one waited.
    const count = await pendingMigrations(sql)
    if (count === 0) return 0
    const obstacle = await whyNotMigrated(sql, count)
    if (obstacle !== undefined) throw new MigrationError(`The database cannot be migrated: ${obstacle}`)
    logger.info({ migrations: count }, 'migrating the database')
    await makeRoles(sql)
    await applyMigrations(drizzleOver(sql), {
      migrationsFolder: FOLDER,
      migrationsSchema: TABLE.schema,
      migrationsTable: TABLE.name,
    })
    logger.info({ migrations: count }, 'the database was migrated')
    await openTables(sql)
    return count
  } catch (thrown) {
    throw asMigrationError(thrown, endpoint.address)
  } finally {
    await session?.close()
  }
}

/**
 * Waits until no other server migrates. A database that has no turns yet (before 0016) has a lock that anybody may hold
 * who can connect; so it is said who does.
 */
async function waitForTurn(sql: Database['sql'], logger: Logger): Promise<void> {
  const hasTurns = async () => {
    const [row] = await sql`select to_regprocedure('storage.take_turn(text, boolean)') is not null as there`
    return row?.there === true
  }
  const tryLock = async () => {
    const [row] = await sql`select pg_try_advisory_lock(${ADVISORY_LOCK}) as taken`
    return row?.taken === true
  }
  const startedAt = performance.now()
  const wait = async (isTaken: () => Promise<boolean>) => {
    for (let hasSaid = false; !(await isTaken()); await delay(RETRY_MS)) {
      if (hasSaid || performance.now() - startedAt < LONG_WAIT_MS) continue
      hasSaid = true
      logger.warn({ by: await lockHolders(sql) }, 'another session migrates the database; waiting for it')
    }
  }
  if (!(await hasTurns())) await wait(tryLock)
  // The one that was waited for may have made them; others have turns then.
  if (await hasTurns()) await wait(() => takeTurn(sql, TURN, true))
}

async function lockHolders(sql: Database['sql']): Promise<{ pid: number; login: string }[]> {
  return sql<{ pid: number; login: string }[]>`
    select a.pid, a.usename as login from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.classid = 0 and l.objid = ${ADVISORY_LOCK}
      and l.database = (select oid from pg_database where datname = current_database())`
}

/** What keeps the login from making the pending migrations, as the rest of a sentence. Only reads. */
export function whyNotMigrated(sql: Database['sql'], pending: number): Promise<string | undefined> {
  return findObstacle(sql, readMigrationFiles({ migrationsFolder: FOLDER }), pending)
}

/** @throws MigrationError when service_role does not get at a table */
async function openTables(sql: Database['sql']): Promise<void> {
  const closed = await letServiceIn(sql)
  if (closed !== undefined) throw new MigrationError(closed)
}

/** How many migrations are to be made yet. Only reads. @throws MigrationError when that cannot be told, or never works */
export async function pendingMigrations(sql: Database['sql']): Promise<number> {
  const [version] = await sql<
    { number: number }[]
  >`select current_setting('server_version_num')::int as number`
  if (version && version.number < OLDEST_POSTGRES) {
    throw new MigrationError(
      'PostgreSQL 15 or newer is needed; this server is older. Set DATABASE_URL to a newer one.',
    )
  }
  const [table] = await sql<{ readable: boolean; login: string }[]>`
    select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as readable,
      current_user as login
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${TABLE.schema} and c.relname = ${TABLE.name}`
  const migrations = readMigrationFiles({ migrationsFolder: FOLDER })
  if (!table) return migrations.length
  if (!table.readable) {
    throw new MigrationError(
      `The database login ${table.login} may not use Strongroom's tables. ` +
        (await whatToRun(sql, SERVER_ROLE, table.login)),
    )
  }
  const [last] = await sql<{ created_at: string }[]>`
    select created_at from ${sql(TABLE.schema)}.${sql(TABLE.name)} order by created_at desc limit 1`
  return migrations.filter((migration) => migration.folderMillis > Number(last?.created_at ?? 0)).length
}

function asMigrationError(thrown: unknown, address: DatabaseAddress): unknown {
  const unreached = typeof address === 'string' ? explainConnectionError(thrown, address) : undefined
  if (unreached !== undefined) return new MigrationError(unreached, { cause: thrown })
  const error = fromPostgres(thrown)
  if (error instanceof MigrationError || !(error instanceof Error)) return error
  const cause = error.cause instanceof Error ? error.cause : error
  const hint = 'hint' in cause && typeof cause.hint === 'string' ? ` ${cause.hint}` : ''
  return new MigrationError(`The database cannot be migrated: ${cause.message}.${hint}`, { cause })
}
