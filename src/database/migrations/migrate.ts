import { setTimeout as delay } from 'node:timers/promises'
import { type MigrationMeta, readMigrationFiles } from 'drizzle-orm/migrator'
import type { Logger } from 'pino'
import type postgres from '#postgres'
import type { Database } from '../connection/client.ts'
import { explainConnectionError } from '../connection/connection-error.ts'
import { type DatabaseAddress, directly, type Endpoint } from '../connection/place.ts'
import { fromPostgres } from '../connection/postgres-error.ts'
import { openSession, type Session } from '../connection/session.ts'
import { takeTurn } from '../connection/turns.ts'
import {
  type FunctionFile,
  FunctionFileError,
  findChangedFiles,
  readFunctionFiles,
  runFunctionFiles,
} from './function-files.ts'
import { findObstacle } from './obstacles.ts'
import { makeRoles, SERVER_ROLE, whatToRun } from './roles.ts'
import { FOLDER, migrationOf, newestSchema, schemaVersion } from './schema-version.ts'
import { letServiceIn } from './service-role.ts'

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

export interface MigrateOptions {
  /** Where the migrations are. Ours when left out. */
  folder?: string
  /**
   * The last migration to make, such as `0036_sweeps`, and no functions: tables of before, for rows of before. The rest is
   * for another call.
   */
  through?: string
  /** Hears which files of functions were run in a database whose tables were up to date. */
  onFunctions?: (names: string[]) => void
}

/**
 * Brings the database up to the newest migration in `drizzle/` and the functions up to their texts in `drizzle/functions/`,
 * one server at a time and all or nothing, and sees to it that service_role gets at all tables. With nothing to do it only
 * reads, so that a login without the right to create anything can serve.
 *
 * @param at where sessions are kept, with a login that may create roles and schemas when something is pending
 * @returns how many migrations were applied
 * @throws MigrationError
 */
export async function migrate(
  at: DatabaseAddress | Endpoint,
  logger: Logger,
  { folder = FOLDER, through, onFunctions }: MigrateOptions = {},
): Promise<number> {
  const endpoint = typeof at === 'object' && 'address' in at ? at : directly(at).sessions
  // One session: the turn belongs to it, and the work is done in it.
  let session: Session | undefined
  try {
    session = await openSession(endpoint)
    const { sql } = session
    const find = async () => until(await findPending(sql, folder), through, folder)
    if (isNothing(await find())) {
      await openTables(sql)
      return 0
    }
    await sql`set statement_timeout = 0`
    await waitForTurn(sql, logger)
    // Another server may have done it while this one waited.
    const pending = await find()
    if (isNothing(pending)) return 0
    const obstacle = await whyNotMigrated(sql, pending)
    if (obstacle !== undefined) throw new MigrationError(`The database cannot be migrated: ${obstacle}`)
    const { migrations } = pending
    if (pending.from !== undefined && typeof endpoint.address === 'string') {
      logger.warn(
        { from: pending.from },
        'only a backup of yours brings back how the database is before this migration',
      )
    }
    logger.info(inLog(pending), 'migrating the database')
    await makeRoles(sql)
    await sql.begin((tx) => bringUpToDate(tx, pending, folder))
    logger.info(inLog(pending), 'the database was migrated')
    if (migrations.length === 0) onFunctions?.(pending.functions.map((file) => file.name))
    await openTables(sql)
    return migrations.length
  } catch (thrown) {
    throw asMigrationError(thrown, endpoint.address)
  } finally {
    await session?.close()
  }
}

/** Makes the migrations, and runs what has changed of the functions. */
async function bringUpToDate(
  tx: postgres.TransactionSql,
  { migrations, isPart }: Pending,
  folder: string,
): Promise<void> {
  if (migrations.length > 0) {
    await tx`create schema if not exists ${tx(TABLE.schema)}`
    await tx`
      create table if not exists ${tx(TABLE.schema)}.${tx(TABLE.name)} (
        id serial primary key, hash text not null, created_at bigint
      )`
  }
  for (const { sql: statements, hash, folderMillis } of migrations) {
    for (const statement of statements) await tx.unsafe(statement)
    await tx`insert into ${tx(TABLE.schema)}.${tx(TABLE.name)} (hash, created_at) values (${hash}, ${folderMillis})`
  }
  if (isPart) return
  const functions = readFunctionFiles(folder)
  await runFunctionFiles(tx, await findChangedFiles(tx, functions), functions.revision)
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

/** What keeps the login from doing what is pending, as the rest of a sentence. Only reads. */
export function whyNotMigrated(sql: Database['sql'], { migrations }: Pending): Promise<string | undefined> {
  return findObstacle(sql, readMigrationFiles({ migrationsFolder: FOLDER }), migrations.length)
}

/** @throws MigrationError when service_role does not get at a table */
async function openTables(sql: Database['sql']): Promise<void> {
  const closed = await letServiceIn(sql)
  if (closed !== undefined) throw new MigrationError(closed)
}

/** What is to be done yet. */
export interface Pending {
  migrations: MigrationMeta[]
  /** Files of functions to run; not known, and empty, as long as there are migrations. */
  functions: FunctionFile[]
  /** Whether there is more to be done than this. */
  isPart?: boolean
  /** What the tables are like that are there, such as `0036_sweeps`; undefined when there are none. */
  from?: string | undefined
}

/** That of it which comes up to a migration; all without one, and where that is the last. */
function until(pending: Pending, through: string | undefined, folder: string): Pending {
  const last = through === undefined ? undefined : migrationOf(through, folder)
  const migrations = pending.migrations.filter(({ folderMillis }) => folderMillis <= (last ?? folderMillis))
  if (migrations.length === pending.migrations.length) return pending
  return { migrations, functions: [], isPart: true }
}

export function isNothing({ migrations, functions }: Pending): boolean {
  return migrations.length === 0 && functions.length === 0
}

function inLog({ migrations, functions }: Pending) {
  return migrations.length > 0
    ? { migrations: migrations.length }
    : { functions: functions.map((file) => file.name) }
}

/** Only reads. @throws MigrationError when that cannot be told, or never works */
export async function findPending(sql: Database['sql'], folder = FOLDER): Promise<Pending> {
  const [version] = await sql<
    { number: number }[]
  >`select current_setting('server_version_num')::int as number`
  if (version && version.number < OLDEST_POSTGRES) {
    throw new MigrationError(
      'PostgreSQL 15 or newer is needed; this server is older. Set DATABASE_URL to a newer one.',
    )
  }
  const [table] = await sql<{ readable: boolean; knowsFunctions: boolean | null; login: string }[]>`
    select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as readable,
      (
        select has_schema_privilege(m.oid, 'usage') and has_table_privilege(f.oid, 'select')
        from pg_class f join pg_namespace m on m.oid = f.relnamespace
        where m.nspname = 'strongroom' and f.relname = 'function_texts'
      ) as "knowsFunctions",
      current_user as login
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${TABLE.schema} and c.relname = ${TABLE.name}`
  const migrations = readMigrationFiles({ migrationsFolder: folder })
  if (!table) return { migrations, functions: [] }
  if (!table.readable) {
    throw new MigrationError(
      `The database login ${table.login} may not use Strongroom's tables. ` +
        (await whatToRun(sql, SERVER_ROLE, table.login)),
    )
  }
  const [last] = await sql<{ created_at: string }[]>`
    select created_at from ${sql(TABLE.schema)}.${sql(TABLE.name)} order by created_at desc limit 1`
  const lastMade = Number(last?.created_at ?? 0)
  if (lastMade > (migrations.at(-1)?.folderMillis ?? 0)) throw new MigrationError(whyTooNew(folder))
  const later = migrations.filter((migration) => migration.folderMillis > lastMade)
  if (later.length > 0) return { migrations: later, functions: [], from: schemaVersion(lastMade, folder) }
  // Who may not look has no part in this, and is told so by whoever looks at logins.
  const functions = table.knowsFunctions ? await findChangedFiles(sql, readFunctionFiles(folder)) : []
  return { migrations: [], functions }
}

/** It may have what this build would not see, or break: what it says of itself is all that is known. */
function whyTooNew(folder: string): string {
  return (
    `The database is of a newer Strongroom than this one, which knows its tables up to ${newestSchema(folder)}: start that version ` +
    'or a newer one. The built-in database goes back by `strongroom rollback`, while nobody has written since it was upgraded; ' +
    'another one by the backup from before'
  )
}

function asMigrationError(thrown: unknown, address: DatabaseAddress): unknown {
  const unreached = typeof address === 'string' ? explainConnectionError(thrown, address) : undefined
  if (unreached !== undefined) return new MigrationError(unreached, { cause: thrown })
  if (thrown instanceof FunctionFileError) {
    return new MigrationError(`The database cannot be migrated: ${thrown.message}`, { cause: thrown.cause })
  }
  const error = fromPostgres(thrown)
  if (error instanceof MigrationError || !(error instanceof Error)) return error
  const cause = error.cause instanceof Error ? error.cause : error
  const hint = 'hint' in cause && typeof cause.hint === 'string' ? ` ${cause.hint}` : ''
  return new MigrationError(`The database cannot be migrated: ${cause.message}.${hint}`, { cause })
}
