import { resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import { openBackends, openExisting } from '../backend/open.ts'
import type { ResumableBackend } from '../backend/resumable-backend.ts'
import { type Config, readConfig } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { connectBeside } from '../database/opening/connect.ts'
import { createLogger } from '../server/log.ts'
import { InlineBackend } from '../storage/inline/inline-backend.ts'
import { interruption } from './interruption.ts'

/** How long a command waits for what a server does at the moment, such as a pass of its cleanup. In milliseconds. */
export const TURN_WAIT_MS = 60_000

/** What a command has to work with that looks after the store, beside a running server or without one. */
export interface Maintenance<Opened = Backend> {
  config: Config
  database: Database
  backend: Opened
  logger: Logger
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
}

/**
 * Opens database and backend, runs `work`, and closes them. Ctrl-C ends it in order.
 *
 * @throws EmbeddedPostgresError, MigrationError, BackendUnavailable
 */
export function maintain(work: (parts: Maintenance) => Promise<void>): Promise<void> {
  return maintainWith(openOutside, ({ backend, ...parts }) =>
    work({ ...parts, backend: new InlineBackend(backend, parts.database) }),
  )
}

/** Opens the backend of the settings, without the bytes that are in the database. @throws BackendUnavailable */
export function openOutside(config: Config): Promise<ResumableBackend> {
  // With a previous backend, the first server may not have made the present one yet.
  return config.backendPrevious === undefined ? openExisting(config.backend, config) : openBackends(config)
}

/** The same with a backend of the command's own choice, or several. */
export async function maintainWith<Opened extends { close(): Promise<void> }>(
  open: (config: Config) => Promise<Opened>,
  work: (parts: Maintenance<Opened>) => Promise<void>,
): Promise<void> {
  const config = readConfig(process.env)
  // On a terminal the command's own report says what happened, so the log has what went wrong alone.
  const logger = createLogger(process.stderr.isTTY ? 'error' : config.logLevel, { stream: process.stderr })
  const interrupted = interruption()
  const backend = await open(config)
  const database = await connectBeside({
    databaseUrl: config.databaseUrl,
    databaseDirectUrl: config.databaseDirectUrl,
    dataDir: resolve(config.dataDir),
    connections: 4,
    logger,
    onLost: () => interrupted.abort(),
  })
  try {
    await work({ config, database, backend, logger, signal: interrupted.signal })
  } catch (error) {
    if (!interrupted.signal.aborted) throw error
    process.stdout.write('Interrupted.\n')
    process.exitCode = 1
  } finally {
    await backend.close()
    await database.close()
  }
}
