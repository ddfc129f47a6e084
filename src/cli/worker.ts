import cluster from 'node:cluster'
import type { Command } from 'commander'
import { openBackends } from '../backend/open.ts'
import { readConfig } from '../config/config.ts'
import { type DatabaseOptions, openDatabase } from '../database/connection/client.ts'
import type { MigrationError } from '../database/migrations/migrate.ts'
import { warnOfShortage } from '../database/opening/connect.ts'
import { explainPooler, refusePooler } from '../database/opening/find-place.ts'
import { logWarnings } from '../server/log.ts'
import { refuseMissingFiles } from '../server/missing-files.ts'
import type { Assignment, FromWorker, ToWorker } from '../server/processes/messages.ts'
import { PeerProcesses } from '../server/processes/peers.ts'
import { PrimaryChannel } from '../server/processes/primary-channel.ts'
import { closingLimitMs } from '../server/processes/worker-pool.ts'
import { type Addresses, startRequestServer } from '../server/request-server.ts'
import { openLog } from '../server/tracing.ts'
import { InlineBackend } from '../storage/inline/inline-backend.ts'
import { ProcessMetrics } from '../telemetry/metrics/process-metrics.ts'
import { explain } from './explain.ts'

/** How much longer than for its checks the primary may take to say what has come of them. In milliseconds. */
const LATE_MS = 1000

/** One of the processes of a server, with STORAGE_WORKERS. */
export function registerWorker(program: Command): void {
  program.command('worker', { hidden: true }).action(runWorker)
}

/**
 * Answers requests for `strongroom serve` with STORAGE_WORKERS, which starts it: until that says so, or is gone. Says
 * over their channel whether it can, so that many workers with one trouble do not all print it.
 */
async function runWorker(): Promise<void> {
  const { worker } = cluster
  if (!worker) throw new Error('strongroom worker is for strongroom serve, which starts it by itself')
  const told = listenToPrimary()
  // Left alone, Node would end this process where it stands when the primary is gone.
  worker.once('disconnect', () => {
    worker.exitedAfterDisconnect = true
  })
  let areSent = true
  try {
    areSent = await work(told, (addresses) => say({ type: 'listening', ...addresses }))
  } catch (error) {
    process.exitCode = 1
    await say({ type: 'failed', reason: explain(error) })
  }
  if (process.connected) process.disconnect()
  if (!areSent) process.exit()
}

/** @returns whether all spans are sent, so that nothing holds up the end of this process */
async function work(told: Told, onListening: (addresses: Addresses) => void): Promise<boolean> {
  const config = readConfig(process.env)
  const { logger, tracing } = await openLog(config, { isShared: true, answers: true })
  logWarnings(logger)
  await say({ type: 'ready' })
  const assignment = await Promise.race([told.assignment, told.stop])
  if (!assignment) return true
  const { keys, s3Port } = assignment
  const { peers, primary } = told
  const metrics = new ProcessMetrics(config.backend)
  let areSent = true
  let onPooler: NonNullable<DatabaseOptions['onPooler']> = () => {}
  const poolerCame = new Promise<MigrationError>((resolve) => {
    onPooler = (error) => resolve(explainPooler(error, config.databaseDirectUrl))
  })
  const database = openDatabase(assignment.database, {
    connections: config.databasePool,
    spareConnections: config.databaseSpare,
    timeoutMs: config.limits.databaseMs,
    questionMs: config.limits.listMs,
    onShortage: warnOfShortage(logger),
    onPooler,
    tracing,
  })
  try {
    // Both may have changed since the primary has looked.
    await refusePooler(database, config.databaseDirectUrl)
    await refuseMissingFiles(config, database)
    const backend = new InlineBackend(await openBackends(config, metrics.backends, tracing), database)
    const requestServer = await startRequestServer({
      config,
      keys,
      s3Port,
      backend,
      database,
      logger,
      peers,
      metrics,
      scrape: () => primary.ask('metrics'),
      otherParts: () => primary.ask('health', config.limits.healthCheckMs + LATE_MS),
      tracing,
    })
    primary.read = () => metrics.read()
    const { url, s3Url } = requestServer
    onListening({ url, s3Url })
    const lost = await Promise.race([told.stop, poolerCame])
    if (!process.connected) logger.error('the server that has started this worker is gone; it ends, too')
    // Nobody is there to kill it when the primary is gone.
    setTimeout(() => process.exit(1), closingLimitMs(config)).unref()
    await requestServer.close()
    await backend.close()
    areSent = (await tracing?.close()) ?? true
    if (lost) throw lost
  } finally {
    await database.close()
  }
  logger.flush()
  return areSent
}

/** What the primary says to this worker. */
interface Told {
  assignment: Promise<Assignment>
  /** Also when there is no primary any more. */
  stop: Promise<void>
  peers: PeerProcesses
  primary: PrimaryChannel
}

function listenToPrimary(): Told {
  // A terminal sends them to the primary as well, which then says what to do.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
  let assign: (assignment: Assignment) => void = () => {}
  const assignment = new Promise<Assignment>((resolve) => {
    assign = resolve
  })
  const peers = new PeerProcesses((message) => void say(message))
  const primary = new PrimaryChannel((message) => void say(message))
  const stop = new Promise<void>((resolve) => {
    process.once('disconnect', () => {
      peers.disconnected()
      primary.disconnected()
      resolve()
    })
    process.on('message', (message: ToWorker) => {
      if (message.type === 'serve') assign(message.assignment)
      else if (message.type === 'stop') resolve()
      else if (message.type === 'report' || message.type === 'answered') primary.hear(message)
      else peers.hear(message)
    })
  })
  return { assignment, stop, peers, primary }
}

/** Resolves once it is on its way, or there is nobody to hear it. */
function say(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve())
    else resolve()
  })
}
