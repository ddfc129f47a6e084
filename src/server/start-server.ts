import { resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import { openBackends } from '../backend/open.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { demandOf, QUESTIONS_AT_ONCE } from '../database/connection/room.ts'
import { connectDatabase } from '../database/opening/connect.ts'
import { hasBuckets } from '../database/queries/buckets.ts'
import { tryToListen } from '../http/http-server.ts'
import { Deeds } from '../jobs/backup/deeds.ts'
import { refuseUnfinishedRestore } from '../jobs/backup/restoring-mark.ts'
import { startSchedules } from '../jobs/schedules.ts'
import { InlineBackend } from '../storage/inline/inline-backend.ts'
import { HealthChecks } from '../telemetry/health/health-checks.ts'
import { scraping } from '../telemetry/metrics/exposition.ts'
import { ProcessMetrics } from '../telemetry/metrics/process-metrics.ts'
import { WorkerMetrics } from '../telemetry/metrics/worker-metrics.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { Consul, consulService } from './consul.ts'
import { givenSecrets, type Keys, loadKeys } from './keys.ts'
import { openLooks } from './looks.ts'
import { collectorOfServer } from './metrics/of-server.ts'
import { openMetricsPort, tryMetricsPort } from './metrics/port.ts'
import { refuseMissingFiles } from './missing-files.ts'
import { addOtherParts } from './other-parts.ts'
import { BackupProcesses } from './processes/backup-process.ts'
import { startWorkers } from './processes/worker-pool.ts'
import { type Extensions, type RequestServer, startRequestServer } from './request-server.ts'
import { findS3Port } from './s3-port.ts'

export interface RunningServer extends RequestServer {
  keys: Keys
  /** Where metrics have a port of their own; null for nowhere. */
  metricsUrl: string | null
  /** Whether anybody has made one yet. */
  hasBuckets(): Promise<boolean>
  /** Finishes the running requests, up to the limit of the settings, then stops the database in order. */
  close(): Promise<void>
}

export interface ServerOptions {
  config: Config
  logger: Logger
  /** Left out where nothing is to be traced. It stays open when the server is closed. */
  tracing?: Tracing | undefined
  /** Something is lost that the server cannot go on without. */
  onFatal(error: Error): void
  /** Another database than the settings say, for tests. Closed with the server. */
  database?: Database
  /** Whether this is the program `strongroom`, which can start itself once more to make a backup. */
  isProgram?: boolean
  /** For who embeds the server in a process of his own, and for tests; not with STORAGE_WORKERS. */
  extensions?: Extensions
}

/**
 * The composition root: what there is once for a server, and then what answers requests, in this process or in workers.
 */
export async function startServer({
  config,
  logger,
  tracing,
  onFatal,
  isProgram = false,
  extensions = {},
  ...given
}: ServerOptions): Promise<RunningServer> {
  // 1. A place to listen, before anything is made; the keys, and the database, migrated.
  await tryToListen(config)
  const s3Port = await findS3Port(config, logger)
  await tryMetricsPort(config.metrics)
  const dataDir = resolve(config.dataDir)
  await refuseUnfinishedRestore(dataDir)
  const keys = await loadKeys(dataDir, givenSecrets(config))
  const isAlone = config.workers === 1
  const database =
    given.database ??
    (await connectDatabase({
      databaseUrl: config.databaseUrl,
      databaseDirectUrl: config.databaseDirectUrl,
      dataDir,
      timeoutMs: config.limits.databaseMs,
      questionMs: config.limits.listMs,
      connections: isAlone ? config.databasePool : SCHEDULES_POOL,
      spareConnections: isAlone ? config.databaseSpare : 0,
      demand: demandOf(config),
      connectionsOfAll: connectionsOfAll(config),
      tracing,
      logger,
      onLost: onFatal,
    }))
  try {
    await refuseMissingFiles(config, database)
    const metrics = new ProcessMetrics(config.backend)
    const workerMetrics = new WorkerMetrics()
    const looks = openLooks({ config, database })
    metrics.add(collectorOfServer({ config, looks }))
    const health = new HealthChecks(config.limits.healthCheckMs)
    addOtherParts(health, { config, looks })
    const scrape = scraping(async () => [await metrics.read(), ...(await workerMetrics.read())])
    const backend = new InlineBackend(await openBackends(config, metrics.backends, tracing), database)

    // 2. What answers requests.
    const requestServer = isAlone
      ? await startRequestServer({
          config,
          keys,
          s3Port,
          backend,
          database,
          logger,
          metrics,
          scrape,
          otherParts: () => health.read(),
          tracing,
          extensions,
        })
      : await startWorkers({
          config,
          assignment: { keys, s3Port, database: database.place },
          metrics: workerMetrics,
          answers: { metrics: scrape, health: () => health.read() },
          logger,
        })
    const metricsPort = await openMetricsPort(config.metrics, scrape, logger)

    // 3. What it does by itself.
    const deeds = new Deeds({ config, database, backend, logger })
    const schedules = startSchedules({
      config,
      backend,
      database,
      backups: isProgram ? new BackupProcesses({ deeds, database: database.place, logger }) : deeds,
      metrics,
      health,
      logger,
    })
    tryBackend(backend, logger)
    const { consul: settings } = config
    const consul =
      settings &&
      new Consul({ settings, service: consulService(config, settings, requestServer.url), logger })
    return {
      url: requestServer.url,
      s3Url: requestServer.s3Url,
      metricsUrl: metricsPort?.url ?? null,
      keys,
      hasBuckets: () => hasBuckets(database),
      close: async () => {
        await consul?.close()
        await Promise.all([requestServer.close(), ...schedules.map((schedule) => schedule.stop())])
        await metricsPort?.close() // who looks why it takes long has that until then
        await backend.close()
        await database.close()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Enough connections for a process that answers no requests. */
const SCHEDULES_POOL = 4

/** A process that answers requests has those for questions, and one more for events and resumable uploads. */
const SESSIONS = 1

/** For the schedules, commands beside the server, and whoever looks at the database meanwhile. */
const OTHER_CONNECTIONS = 30

/** What the embedded database has to have room for. */
function connectionsOfAll({ workers, databasePool, databaseSpare }: Config): number {
  return workers * (databasePool + databaseSpare + QUESTIONS_AT_ONCE + SESSIONS) + OTHER_CONNECTIONS
}

/**
 * Says at once why a store does not work, and not only when the first upload fails. The start does not depend on it:
 * servers and stores come up in any order, and what is away for a moment comes back.
 */
function tryBackend(backend: Backend, logger: Logger): void {
  if (backend.isLocal) return
  backend.check().catch((err) => {
    const reason = err instanceof Error && err.cause instanceof Error ? err.cause.message : String(err)
    logger.warn({ err }, `the store does not work: ${reason}`)
  })
}
