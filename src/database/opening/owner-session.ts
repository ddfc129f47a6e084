import { join } from 'node:path'
import postgres from '#postgres'
import { StorageError } from '../../model/errors.ts'
import { explainConnectionError } from '../connection/connection-error.ts'
import { openUrl } from '../connection/database-url.ts'
import { findRunning } from '../embedded/embedded-postgres.ts'
import { SUPERUSER } from '../embedded/folder-owner.ts'
import { type ConnectOptions, connectBeside } from './connect.ts'

/** One connection, whose statements may take as long as they like. */
export interface OwnerSession {
  sql: postgres.Sql
  close(): Promise<void>
}

/**
 * Connects as somebody who may change the tables and their policies: with the login of DATABASE_URL, whatever that may, or
 * as the embedded database's superuser, beside a running server or without one.
 *
 * @param onNotice hears what the database has to say besides, such as `raise notice`
 * @throws EmbeddedPostgresError, MigrationError, DatabaseUnavailable
 */
export async function openOwnerSession(
  options: Pick<ConnectOptions, 'databaseUrl' | 'dataDir' | 'logger' | 'onLost'>,
  onNotice: (notice: postgres.Notice) => void,
): Promise<OwnerSession> {
  const settings = {
    max: 1,
    max_lifetime: null, // the driver would replace it after about an hour
    connect_timeout: 10,
    connection: { application_name: 'strongroom sql' },
    onnotice: onNotice,
  }
  if (options.databaseUrl !== undefined) return connectTo(options.databaseUrl, settings)
  // Keeps the database running for us, if no server does.
  const keeper = await connectBeside({ ...options, connections: 1 })
  const place = await findRunning(join(options.dataDir, 'postgres'))
  const sql = postgres({ ...place, username: SUPERUSER, pass: '', ssl: false, ...settings })
  const close = async () => {
    await sql.end({ timeout: 1 })
    await keeper.close()
  }
  return { sql, close }
}

async function connectTo(
  url: string,
  settings: postgres.Options<Record<string, never>>,
): Promise<OwnerSession> {
  let sql: postgres.Sql | undefined
  try {
    sql = openUrl(url, settings)
    await sql.unsafe('select 1').simple() // nothing prepared: it may be a pooler
  } catch (cause) {
    await sql?.end({ timeout: 1 })
    const message = explainConnectionError(cause, url) ?? (cause as Error).message
    throw new StorageError('DatabaseUnavailable', { cause, message })
  }
  const opened = sql
  return { sql: opened, close: () => opened.end({ timeout: 1 }) }
}
