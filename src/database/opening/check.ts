import postgres from '#postgres'
import type { CheckResult } from '../../model/check-result.ts'
import { type Database, openDatabase } from '../connection/client.ts'
import { explainConnectionError } from '../connection/connection-error.ts'
import { remarksOn } from '../connection/database-url.ts'
import type { DatabasePlace } from '../connection/place.ts'
import { type Demand, findAllowance, whyLittleRoom, whyNoRoom } from '../connection/room.ts'
import { findLogin, SUPERUSER_WARNING, whatToGrant } from '../migrations/login.ts'
import {
  findPending,
  isNothing,
  MigrationError,
  OLDEST_POSTGRES,
  whyNotMigrated,
} from '../migrations/migrate.ts'
import { findServiceRights, type ServiceRights, whatBinds, whoMayLetIn } from '../migrations/service-role.ts'
import { findPlace } from './find-place.ts'

/** What a check of the database leaves open for those that come after it, and has to be closed at the end. */
export interface OpenedForCheck {
  /** In the order of opening. */
  closers: (() => Promise<void>)[]
  /** Present once it is known to have all tables. */
  database?: Database
}

/**
 * Whether the database of DATABASE_URL lets us in, keeps sessions where they are needed, is new enough, writable and
 * migrated, and has room for what the processes of a server want. Changes nothing in it.
 */
export async function* checkDatabase(
  url: string,
  directUrl: string | undefined,
  demand: Demand,
  opened: OpenedForCheck,
): AsyncGenerator<CheckResult> {
  try {
    const place = await findPlace(url, directUrl)
    const remarks = remarksOn(url, directUrl)
    if (remarks.length > 0) yield { about: 'database address', state: 'warning', says: remarks.join('; ') }
    const open = (at: DatabasePlace) => {
      const database = openDatabase(at, { connections: 1 })
      opened.closers.push(() => database.close())
      return database
    }
    const database = open(place)
    const { sessions } = place
    const migrating = directUrl === undefined ? database : open({ transactions: sessions, sessions })
    const server = await findServer(migrating)
    yield { about: 'database', state: 'ok', says: `reached: ${describe(server)}` }
    const obstacle = whyUnusable(server)
    if (obstacle !== undefined) {
      yield { about: 'database', state: 'failed', says: obstacle }
      return
    }
    const how = describeWay(place, directUrl)
    if (how !== undefined) yield { about: 'database pooler', state: 'ok', says: how }
    const room = place.transactions.isPooler ? undefined : await checkRoom(database, demand)
    if (room) yield room
    const migrations = await checkMigrations(migrating)
    yield migrations
    if (!migrations.isComplete) return
    yield* checkLogin(database)
    opened.database = database
  } catch (error) {
    yield { about: 'database', state: 'failed', says: explain(error, url) }
  }
}

/** Nothing, where there is room for all. */
async function checkRoom({ sql }: Database, demand: Demand): Promise<CheckResult | undefined> {
  const about = 'database room'
  const allowance = await findAllowance(sql)
  const obstacle = whyNoRoom(allowance, demand)
  if (obstacle !== undefined) return { about, state: 'failed', says: obstacle }
  const says = whyLittleRoom(allowance, demand)
  return says === undefined ? undefined : { about, state: 'warning', says }
}

/** Whether the login may do what the server does: become each caller, and write. The roles must exist. */
export async function* checkLogin(database: Database): AsyncGenerator<CheckResult> {
  const login = await findLogin(database)
  if (login.missing.length > 0) {
    yield { about: 'database login', state: 'failed', says: await whatToGrant(database, login) }
    return
  }
  yield {
    about: 'database login',
    state: login.superuser ? 'warning' : 'ok',
    says: login.superuser
      ? SUPERUSER_WARNING
      : `${login.name} may become anon, authenticated and service_role`,
  }
  const service = checkService(await findServiceRights(database.sql))
  if (service) yield service
  if (service?.state !== 'failed') yield await checkWriting(database)
}

/** Nothing, where service_role bypasses policies. */
function checkService(rights: ServiceRights): CheckResult | undefined {
  const about = 'service_role'
  if (rights.bypasses) return undefined
  const [closed] = rights.closed
  if (closed) return { about, state: 'failed', says: whoMayLetIn(closed) }
  const bound = whatBinds(rights)
  if (bound !== undefined) return { about, state: 'warning', says: bound }
  return { about, state: 'ok', says: 'has no BYPASSRLS here; policies let it into all tables' }
}

interface Server {
  version: string
  /** Such as 150004. */
  number: number
  database: string
  login: string
  isStandby: boolean
  isReadOnly: boolean
}

async function findServer({ sql }: Database): Promise<Server> {
  const [server] = await sql<[Server]>`
    select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
      current_database() as database, current_user as login, pg_is_in_recovery() as "isStandby",
      current_setting('transaction_read_only')::boolean as "isReadOnly"`
  return server
}

function describe({ version, database, login }: Server): string {
  return `PostgreSQL ${version}, database "${database}", login "${login}"`
}

/** Undefined when PostgreSQL itself answers, and nothing more is set. */
function describeWay(
  { transactions, sessions }: DatabasePlace,
  directUrl: string | undefined,
): string | undefined {
  const pooler = transactions.isPooler ? 'a pooler' : 'PostgreSQL itself'
  const keeper = sessions.isPooler ? 'a pooler in session mode' : 'PostgreSQL itself'
  if (directUrl !== undefined) {
    return `DATABASE_URL leads to ${pooler}, STORAGE_DATABASE_DIRECT_URL to ${keeper}, and both to one database`
  }
  return sessions.isPooler ? `DATABASE_URL leads to ${keeper}` : undefined
}

function whyUnusable({ version, number, isStandby, isReadOnly }: Server): string | undefined {
  if (number < OLDEST_POSTGRES) {
    return `PostgreSQL 15 or newer is needed, and this is ${version}: set DATABASE_URL to a newer one`
  }
  if (isStandby) return 'This is a standby, which cannot be written: DATABASE_URL must name the primary'
  if (isReadOnly) {
    return 'It takes no writes: default_transaction_read_only is on for it, for the login or the database of DATABASE_URL'
  }
  return undefined
}

async function checkMigrations({ sql }: Database): Promise<CheckResult & { isComplete: boolean }> {
  const about = 'database tables'
  const pending = await findPending(sql)
  if (isNothing(pending)) return { about, state: 'ok', says: 'up to date', isComplete: true }
  const { migrations, functions } = pending
  const togo =
    migrations.length > 0 ? String(migrations.length) : functions.map((file) => file.name).join(', ')
  const what = `not up to date, ${togo} to go`
  const obstacle = await whyNotMigrated(sql, pending)
  if (obstacle === undefined) {
    const says = `${what}: the next start of the server does that, or \`strongroom migrate\` now`
    return { about, state: 'warning', says, isComplete: false }
  }
  return { about, state: 'failed', says: `They are ${what}, and ${obstacle}`, isComplete: false }
}

/** Writes a row as the server would, and takes it back. */
async function checkWriting({ sql }: Database): Promise<CheckResult> {
  const about = 'database write'
  const takenBack = new Error('taken back')
  try {
    await sql.begin(async (tx) => {
      for (const role of ['anon', 'authenticated', 'service_role']) await tx`set local role ${tx(role)}`
      await tx`insert into storage.removals (version, bucket_uid) values (gen_random_uuid(), gen_random_uuid())`
      throw takenBack
    })
  } catch (error) {
    if (error instanceof postgres.PostgresError) {
      const says = `Rows cannot be written: ${error.message}; look at the log of PostgreSQL, and the login's rights`
      return { about, state: 'failed', says }
    }
    if (error !== takenBack) throw error
  }
  return { about, state: 'ok', says: 'rows can be written' }
}

function explain(error: unknown, url: string): string {
  if (error instanceof MigrationError) return error.message
  const { message } = error as Error
  return explainConnectionError(error, url) ?? `The database of DATABASE_URL says: ${message}`
}
