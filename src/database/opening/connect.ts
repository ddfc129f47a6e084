import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'
import { type Database, type DatabaseOptions, openDatabase } from '../connection/client.ts'
import { connectTo } from '../connection/connection.ts'
import { remarksOn } from '../connection/database-url.ts'
import type { DatabaseAddress, DatabasePlace } from '../connection/place.ts'
import {
  type Demand,
  describeShortage,
  findAllowance,
  roomIn,
  type Shortage,
  whyLittleRoom,
  whyNoRoom,
} from '../connection/room.ts'
import { EmbeddedPostgresError, FolderInUseError } from '../embedded/embedded-error.ts'
import { findRunning, MAX_CONNECTIONS, startEmbedded } from '../embedded/embedded-postgres.ts'
import { findLogin, SUPERUSER_WARNING, whatToGrant } from '../migrations/login.ts'
import { MigrationError, migrate } from '../migrations/migrate.ts'
import { SERVER_ROLE } from '../migrations/roles.ts'
import { findServiceRights, whatBinds } from '../migrations/service-role.ts'
import { explainPooler, findPlace } from './find-place.ts'
import { keepBeforeUpgrade, settleUpgrade } from './upgrade.ts'

export interface ConnectOptions {
  /** Another PostgreSQL than the embedded one. */
  databaseUrl: string | undefined
  /** Another way to that, where sessions are kept, if it does not keep them itself. */
  databaseDirectUrl?: string | undefined
  /** Where the embedded one keeps its cluster, in `postgres/`. */
  dataDir: string
  /** Largest number of connections. */
  connections: number
  /** As of `openDatabase`. */
  spareConnections?: number
  /** How long an answer may take, in milliseconds; any time when left out. */
  timeoutMs?: number
  /** How long the database may work on a question, in milliseconds. */
  questionMs?: number
  /** What a server wants, with all of its processes; left out by a command, which does with what there is. */
  demand?: Demand
  /** What the embedded one must have room for, when that is more than it has by default. */
  connectionsOfAll?: number
  /** As of `openDatabase`. */
  tracing?: Tracing | undefined
  logger: Logger
  /** The database is lost to another server, or a pooler has come in between; nothing can be served any more. */
  onLost(error: Error): void
}

/**
 * Opens the database, migrated and ready: DATABASE_URL, or the embedded PostgreSQL, which is started first.
 *
 * @throws EmbeddedPostgresError, MigrationError
 */
export async function connectDatabase(options: ConnectOptions): Promise<Database> {
  const { databaseUrl, databaseDirectUrl, logger } = options
  if (databaseUrl !== undefined) {
    const found = await findPlace(databaseUrl, databaseDirectUrl)
    for (const remark of remarksOn(databaseUrl, databaseDirectUrl)) logger.warn(remark)
    const place = await withRoom(found, options)
    await migrate(place.sessions, logger)
    const database = openDatabase(place, {
      ...options,
      onShortage: warnOfShortage(logger),
      onPooler: (error) => options.onLost(explainPooler(error, databaseDirectUrl)),
    })
    await checkLogin(database, logger)
    return database
  }
  const clusterDir = join(options.dataDir, 'postgres')
  const start = () =>
    startEmbedded({
      clusterDir,
      logger,
      settings: { max_connections: String(Math.max(MAX_CONNECTIONS, options.connectionsOfAll ?? 0)) },
      onLost: options.onLost,
    })
  let embedded = await start()
  try {
    if (await keepBeforeUpgrade(embedded, clusterDir, logger)) embedded = await start()
    const database = await openEmbedded(embedded.connection, embedded.superuser, options, logger)
    await settleUpgrade(embedded, clusterDir, logger)
    return {
      ...database,
      close: async () => {
        await database.close()
        await embedded.stop()
      },
    }
  } catch (error) {
    await embedded.stop()
    throw error
  }
}

/**
 * Opens the database for a command that may run beside a server: DATABASE_URL, the embedded PostgreSQL of the running
 * server, or, if none runs, one that is started for the command.
 *
 * @throws EmbeddedPostgresError, MigrationError
 */
export async function connectBeside(options: ConnectOptions): Promise<Database> {
  if (options.databaseUrl !== undefined) return connectDatabase(options)
  const clusterDir = join(options.dataDir, 'postgres')
  if (!existsSync(clusterDir)) {
    throw new EmbeddedPostgresError(
      `There is no database in ${options.dataDir}: run this where the server was started, or set STORAGE_DATA_DIR`,
    )
  }
  const beside = async () => {
    const running = await findRunning(clusterDir)
    return (
      running && openDatabase({ ...running, username: SERVER_ROLE }, { connections: options.connections })
    )
  }
  const found = await beside()
  if (found) return found
  try {
    return await connectDatabase(options)
  } catch (error) {
    if (!(error instanceof FolderInUseError)) throw error
    const started = await beside() // a moment ago
    if (!started) throw error
    return started
  }
}

/**
 * What Supabase gives the callers' roles on new tables in `public`: policies there may ask any of them, and RLS decides
 * about rows. Whoever has other default privileges in that schema keeps them.
 */
const PUBLIC_PRIVILEGES = `
  do $$ begin
    if not exists (select from pg_catalog.pg_default_acl where defaclnamespace = 'public'::regnamespace) then
      alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
      alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
      alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
    end if;
  end $$`

/**
 * Migrates as the superuser, and logs in as the server's own role from then on.
 *
 * What a statement of that role's meets is told to the server, whose log has what is a fault: PostgreSQL's own log would
 * have every refusal of a caller as well. It still says there what ends a session, or concerns PostgreSQL itself.
 */
export async function openEmbedded(
  place: { host: string; port: number; database: string },
  superuser: string,
  options: DatabaseOptions,
  logger: Logger,
): Promise<Database> {
  const asSuperuser: DatabaseAddress = { ...place, username: superuser }
  const migrations = await migrate(asSuperuser, logger)
  const admin = openDatabase(asSuperuser, { connections: 1 })
  try {
    if (migrations > 0) {
      await admin.sql.unsafe(PUBLIC_PRIVILEGES)
      // Until the next one PostgreSQL may not start again after a power failure: of a table that is not logged, the files
      // that recovery goes by need not be on the disk where their neighbours are ("could not create file …: File exists").
      await admin.sql.unsafe('set statement_timeout = 0; checkpoint')
    }
    // Reached through its socket alone, whose folder only the server's user may enter: no password needed.
    await admin.sql`alter role ${admin.sql(SERVER_ROLE)} login`
    await admin.sql`alter role ${admin.sql(SERVER_ROLE)} set log_min_messages = 'log'`
    // Nobody needs them here, and they could stand before our own names.
    await admin.sql`revoke temporary on database ${admin.sql(place.database)} from public`
  } finally {
    await admin.close()
  }
  return openDatabase({ ...place, username: SERVER_ROLE }, { ...options, onShortage: warnOfShortage(logger) })
}

/** For `onShortage`. */
export function warnOfShortage(logger: Logger): (shortage: Shortage) => void {
  return (shortage) => {
    const { has, wanted } = shortage
    logger.warn({ pool: has, wanted }, describeShortage(shortage))
  }
}

/**
 * Bounds what each process takes, if it is more than PostgreSQL allows. A pooler lets wait by itself.
 *
 * @throws MigrationError when it is too little for any server
 */
async function withRoom(
  place: DatabasePlace,
  { connections, demand, logger }: ConnectOptions,
): Promise<DatabasePlace> {
  if (place.transactions.isPooler) return place
  const sql = connectTo(place.transactions, { max: 1, fetch_types: false })
  try {
    const allowance = await findAllowance(sql)
    if (!demand) return { ...place, room: roomIn(allowance, { pool: connections, spare: 0, processes: 1 }) }
    const obstacle = whyNoRoom(allowance, demand)
    if (obstacle !== undefined) throw new MigrationError(obstacle)
    const room = roomIn(allowance, demand)
    const says = whyLittleRoom(allowance, demand)
    if (says !== undefined) {
      logger.warn({ allowed: allowance.connections, wanted: demand.pool, pool: room.pool }, says)
    }
    return { ...place, room }
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** @throws MigrationError when the login may not become the callers' roles */
async function checkLogin(database: Database, logger: Logger): Promise<void> {
  const login = await findLogin(database)
  if (login.missing.length > 0) {
    const says = await whatToGrant(database, login)
    await database.close()
    throw new MigrationError(says)
  }
  if (login.superuser) logger.warn({ login: login.name }, SUPERUSER_WARNING)
  const bound = whatBinds(await findServiceRights(database.sql))
  if (bound !== undefined) logger.warn(bound)
}
