import { resolve } from 'node:path'
import type postgres from '#postgres'
import { readConfig } from '../config/config.ts'
import { openOwnerSession } from '../database/opening/owner-session.ts'
import { createLogger } from '../server/log.ts'
import { interruption } from './interruption.ts'

/**
 * Works with the rights of who owns the database, beside a running server or without one.
 *
 * @param work hears by its signal of Ctrl-C, and of a database that is gone
 * @param onNotice hears what PostgreSQL remarks
 * @throws ConfigError, DatabaseUnavailable, and as `work`
 */
export async function asOwner(
  work: (sql: postgres.Sql, signal: AbortSignal) => Promise<void>,
  onNotice: (notice: postgres.Notice) => void = () => {},
): Promise<void> {
  const config = readConfig(process.env)
  const interrupted = interruption()
  const session = await openOwnerSession(
    {
      databaseUrl: config.databaseDirectUrl ?? config.databaseUrl,
      dataDir: resolve(config.dataDir),
      logger: createLogger('error', { stream: process.stderr }),
      onLost: () => interrupted.abort(),
    },
    onNotice,
  )
  try {
    await work(session.sql, interrupted.signal)
  } finally {
    await session.close()
  }
}
