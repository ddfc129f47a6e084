import cluster from 'node:cluster'
import { openBackends } from '../backend/open.ts'
import type { Assignment, FromWorker, ToWorker } from '../cluster/messages.ts'
import { Siblings } from '../cluster/siblings.ts'
import { CLOSING_LIMIT_MS } from '../cluster/worker-pool.ts'
import { readConfig } from '../config.ts'
import { type DatabaseOptions, openDatabase } from '../database/client.ts'
import { warnOfShortage } from '../database/connect.ts'
import { explainPooler, refusePooler } from '../database/find-place.ts'
import type { MigrationError } from '../database/migrate.ts'
import { LONGEST_TIMER_MS } from '../duration.ts'
import { createLogger, logWarnings } from '../log.ts'
import { startServing } from '../serving.ts'
import { refuseMissingFiles } from '../storage/missing-files.ts'
import { explain } from './explain.ts'

/**
 * Answers requests for `strongroom serve` with STORAGE_WORKERS, which starts it: until that says so, or is gone. Says
 * over their channel whether it can, so that many workers with one trouble do not all print it.
 */
export async function workerCommand(): Promise<void> {
  const { worker } = cluster
  if (!worker) throw new Error('strongroom worker is for strongroom serve, which starts it by itself')
  const told = listenToPrimary()
  // Left alone, Node would end this process where it stands when the primary is gone.
  worker.once('disconnect', () => {
    worker.exitedAfterDisconnect = true
  })
  try {
    await work(told, (url) => say({ type: 'listening', url }))
  } catch (error) {
    process.exitCode = 1
    await say({ type: 'failed', reason: explain(error) })
  }
  if (process.connected) process.disconnect()
}

async function work(told: Told, onListening: (url: string) => void): Promise<void> {
  const config = readConfig(process.env)
  const logger = createLogger(config.logLevel, { isShared: true })
  logWarnings(logger)
  await say({ type: 'ready' })
  const assignment = await Promise.race([told.assignment, told.stop])
  if (!assignment) return
  const { keys } = assignment
  const { siblings } = told
  let onPooler: NonNullable<DatabaseOptions['onPooler']> = () => {}
  const poolerCame = new Promise<MigrationError>((resolve) => {
    onPooler = (error) => resolve(explainPooler(error, config.databaseDirectUrl))
  })
  const database = openDatabase(assignment.database, {
    connections: config.databasePool,
    timeoutMs: config.limits.databaseMs,
    questionMs: config.limits.listMs,
    onShortage: warnOfShortage(logger),
    onPooler,
  })
  try {
    // Both may have changed since the primary has looked.
    await refusePooler(database, config.databaseDirectUrl)
    await refuseMissingFiles(config, database)
    const backend = await openBackends(config)
    const serving = await startServing({ config, keys, backend, database, logger, siblings })
    onListening(serving.url)
    const lost = await Promise.race([told.stop, poolerCame])
    if (!process.connected) logger.error('the server that has started this worker is gone; it ends, too')
    // Nobody is there to kill it when the primary is gone.
    const limitMs = Math.min(config.shutdownTimeoutMs + CLOSING_LIMIT_MS, LONGEST_TIMER_MS)
    setTimeout(() => process.exit(1), limitMs).unref()
    await serving.close()
    await backend.close()
    if (lost) throw lost
  } finally {
    await database.close()
  }
  logger.flush()
}

/** What the primary says to this worker. */
interface Told {
  assignment: Promise<Assignment>
  /** Also when there is no primary any more. */
  stop: Promise<void>
  siblings: Siblings
}

function listenToPrimary(): Told {
  // A terminal sends them to the primary as well, which then says what to do.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
  let assign: (assignment: Assignment) => void = () => {}
  const assignment = new Promise<Assignment>((resolve) => {
    assign = resolve
  })
  const siblings = new Siblings((message) => void say(message))
  const stop = new Promise<void>((resolve) => {
    process.once('disconnect', () => {
      siblings.giveUp()
      resolve()
    })
    process.on('message', (message: ToWorker) => {
      if (message.type === 'serve') assign(message.assignment)
      else if (message.type === 'stop') resolve()
      else siblings.hear(message)
    })
  })
  return { assignment, stop, siblings }
}

/** Resolves once it is on its way, or there is nobody to hear it. */
function say(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve())
    else resolve()
  })
}
