import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import { openBackend } from '../backend/open.ts'
import { type Config, readConfig } from '../config.ts'
import type { Database } from '../database/client.ts'
import { connectBeside } from '../database/connect.ts'
import { StorageError } from '../errors.ts'
import { createLogger } from '../log.ts'

/** What a command has to work with that looks after the store, beside a running server or without one. */
export interface Maintenance {
  config: Config
  database: Database
  backend: Backend
  logger: Logger
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
}

/**
 * Opens database and backend, runs `work`, and closes them. Ctrl-C ends it in order.
 *
 * @throws EmbeddedPostgresError, MigrationError, BackendUnavailable
 */
export async function maintain(work: (parts: Maintenance) => Promise<void>): Promise<void> {
  const config = readConfig(process.env)
  // On a terminal the command's own report says what happened, so the log has what went wrong alone.
  const logger = createLogger(process.stderr.isTTY ? 'error' : config.logLevel, process.stderr)
  const dataDir = resolve(config.dataDir)
  if (config.backend === 'local' && !existsSync(join(dataDir, 'objects'))) {
    // Made anew, it would look as if all bytes were gone.
    throw new StorageError('BackendUnavailable', {
      message: `There are no files in ${dataDir}: run this where the server was started, or set STORAGE_DATA_DIR`,
    })
  }
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  const backend = await openBackend(config.backend, config)
  const database = await connectBeside({
    databaseUrl: config.databaseUrl,
    dataDir,
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
