import { join } from 'node:path'
import type postgres from '#postgres'
import { connectTo } from '../connection/connection.ts'
import type { Endpoint } from '../connection/place.ts'
import { type EmbeddedPostgres, startEmbedded } from '../embedded/embedded-postgres.ts'
import { migrate } from '../migrations/migrate.ts'
import { newestSchema } from '../migrations/schema-version.ts'
import { type ConnectOptions, openEmbedded } from './connect.ts'
import { findPlace } from './find-place.ts'
import type { OwnerSession } from './owner-session.ts'

type Place = Pick<ConnectOptions, 'databaseUrl' | 'databaseDirectUrl' | 'dataDir' | 'logger'>

/**
 * Opens a database that nobody serves as who owns its tables, and makes these what they were when rows of before were read:
 * the migrations since then are for when those are there. Tables of a later version stay as they are (`refuseLaterTables`).
 *
 * @param schema of the rows, such as `0037_backups`
 * @throws EmbeddedPostgresError, MigrationError
 */
export async function openForRows(place: Place, schema: string): Promise<OwnerSession> {
  const { databaseUrl, databaseDirectUrl, dataDir, logger } = place
  if (databaseUrl !== undefined) {
    const { sessions } = await findPlace(databaseUrl, databaseDirectUrl)
    const sql = await openTables(sessions, schema, logger)
    return { sql, close: () => sql.end({ timeout: 1 }) }
  }
  const embedded = await startEmbedded({ clusterDir: join(dataDir, 'postgres'), logger })
  try {
    const sql = await openEmbeddedTables(embedded, schema, logger)
    const close = async () => {
      await sql.end({ timeout: 1 })
      await embedded.stop()
    }
    return { sql, close }
  } catch (error) {
    await embedded.stop()
    throw error
  }
}

/** The same in a database of the operator's. */
export async function openTables(
  sessions: Endpoint,
  schema: string,
  logger: Place['logger'],
): Promise<postgres.Sql> {
  await migrate(sessions, logger, { through: schema })
  return connectTo(sessions, { max: 1, statementTimeoutMs: 0 })
}

/** The same in an embedded one that runs. */
export async function openEmbeddedTables(
  { connection, superuser }: EmbeddedPostgres,
  schema: string,
  logger: Place['logger'],
): Promise<postgres.Sql> {
  if (schema === newestSchema()) {
    const opened = await openEmbedded(connection, superuser, { connections: 1 }, logger)
    await opened.close()
  }
  return openTables({ address: { ...connection, username: superuser }, isPooler: false }, schema, logger)
}
