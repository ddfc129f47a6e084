import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { ResumableBackend } from '../backend/resumable-backend.ts'
import type { Config } from '../config/config.ts'
import { DEFAULT_CONNECTIONS } from '../config/limits.ts'
import type { Database } from '../database/connection/client.ts'
import { ServingSession } from '../database/queries/serving-session.ts'
import { openEvents } from '../events/open.ts'
import { createApp } from '../http/app.ts'
import { RateLimits } from '../http/auth/rate-limits.ts'
import { TokenVerifier } from '../http/auth/token-verifier.ts'
import { Connections } from '../http/connection/connections.ts'
import { Listeners } from '../http/connection/listeners.ts'
import { createHttpServer, drainServer, listen } from '../http/http-server.ts'
import { metricsSurface } from '../http/metrics/surface.ts'
import { RequestLog } from '../http/middleware/request-log.ts'
import { requestMetrics } from '../http/middleware/request-metrics.ts'
import { RequestTracing } from '../http/middleware/request-tracing.ts'
import { REALTIME_LIMITS, Realtime } from '../http/realtime/realtime.ts'
import { realtimeSurface } from '../http/realtime/surface.ts'
import type { OnRequestEnd } from '../http/request-end.ts'
import { PUBLIC_PREFIX } from '../http/request-target.ts'
import { restSurface } from '../http/rest/surface.ts'
import { type S3SurfaceOptions, s3Surface } from '../http/s3/surface.ts'
import type { Services } from '../http/services.ts'
import { type Surface, Surfaces } from '../http/surface.ts'
import { tusSurface } from '../http/tus/surface.ts'
import { Md5Thread } from '../lib/md5-thread.ts'
import { LONGEST_TIMER_MS } from '../lib/units.ts'
import type { Parts } from '../model/part-health.ts'
import { S3Credentials } from '../storage/credentials/s3-credentials.ts'
import { SecretSeal } from '../storage/credentials/secret-seal.ts'
import { loadFileType } from '../storage/detection/found-type.ts'
import { SharedRates } from '../storage/rates/shared-rates.ts'
import { HotObjects, type Peers } from '../storage/reading/hot-objects.ts'
import { UploadLocks } from '../storage/resumable/upload-locks.ts'
import type { Scrape } from '../telemetry/metrics/exposition.ts'
import type { ProcessMetrics } from '../telemetry/metrics/process-metrics.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { openAuditLog } from './audit-log.ts'
import { type Keys, signingSecrets } from './keys.ts'
import { familiesOfRequests } from './metrics/of-requests.ts'
import { affordableConnections, whyFewerConnections } from './open-file-limit.ts'
import { listenForS3, type S3Port } from './s3-port.ts'
import { buildServices } from './services.ts'

/** Where a server listens. */
export interface Addresses {
  /** Such as `http://127.0.0.1:8209`. */
  url: string
  /** Where the S3 protocol is at `/`; null where it has no port of its own. */
  s3Url: string | null
}

/** What answers requests: this process, or several workers (decision 0018). */
export interface RequestServer extends Addresses {
  /** Says that it is about to, takes no more requests, and finishes the running ones, for as long as the settings say. */
  close(): Promise<void>
}

export interface RequestServerParts {
  config: Config
  keys: Keys
  /** Where the S3 protocol is to be at `/`; null for nowhere. */
  s3Port: S3Port | null
  /** Stays open, as the database does, when the request server is closed. */
  backend: ResumableBackend
  database: Database
  logger: Logger
  /** Other processes that answer on the same port. */
  peers?: Peers
  /** Where it is counted what this process does, and how what all processes have counted is told. */
  metrics: ProcessMetrics
  scrape: Scrape
  /** How that is which the server does by itself, and what it can go on without. */
  otherParts: () => Promise<Parts>
  /** Undefined where nothing is traced. */
  tracing: Tracing | undefined
  extensions?: Extensions
}

/** What is spoken here besides our own protocols, and who hears of requests besides the log. */
export interface Extensions {
  surfaces?: (services: Services) => Surface[]
  onRequestEnd?: OnRequestEnd
}

/** Answers requests in this process: builds all that takes, and starts to listen. */
export async function startRequestServer(parts: RequestServerParts): Promise<RequestServer> {
  const { config, keys, database, logger, metrics, scrape, tracing, extensions = {} } = parts
  await database.takeRoom()
  const session = new ServingSession(database)
  const uploadLocks = new UploadLocks({ database, session, logger })
  const events = await openEvents({ config, database, session, logger, tracing })
  const { outbox, subscriptions } = events
  const hotObjects = new HotObjects(config.cacheSize, { database, outbox, logger, peers: parts.peers })
  const tokens = new TokenVerifier({ ...config.jwt, secret: keys.jwtSecret })
  const { corsOrigins, limits } = config
  const connections = openConnections(limits.connections, logger)
  const listeners = new Listeners(limits.listeners, connections.most, logger)
  const rates = openRates(parts)
  const services = buildServices({
    ...parts,
    rates: rates?.limits,
    uploadLocks,
    events,
    tokens,
    connections,
    listeners,
    hotObjects,
  })
  metrics.add(() => metrics.requests.families())
  metrics.add(() => familiesOfRequests({ ...services, database, events, connections, hotObjects }))
  const realtime = new Realtime({
    tokens,
    subscriptions,
    logger,
    corsOrigins,
    trustProxy: config.trustProxy,
    listeners,
    rates: rates?.limits,
    limits: REALTIME_LIMITS,
  })
  const md5Thread = new Md5Thread()
  const forS3 = { ...s3Options(parts, services), md5Thread }
  const surfaces = new Surfaces(
    [
      ...(extensions.surfaces?.(services) ?? []),
      tusSurface(services, logger),
      realtimeSurface(realtime, services),
      s3Surface(services, forS3, logger),
      metricsSurface({ scrape, tokens, token: config.metrics.token }),
      restSurface(services, logger),
    ],
    PUBLIC_PREFIX,
  )
  const app = createApp(services, surfaces, logger)
  const auditLog = openAuditLog({ config, database, logger })
  const hearers = [
    requestMetrics(metrics.requests),
    ...(logger.isLevelEnabled('info') ? [new RequestLog(logger).onRequestEnd] : []),
    ...(auditLog ? [auditLog.onRequestEnd] : []),
    ...(extensions.onRequestEnd ? [extensions.onRequestEnd] : []),
  ]
  const http = { ...withTracing(app, hearers, tracing), connections, limits, logger }
  const server = createHttpServer({ ...http, surfaces })
  // The same routes and limits behind another door.
  const s3AtRoot = new Surfaces([s3Surface(services, { ...forS3, isAtRoot: true }, logger)], '')
  const s3Server = createHttpServer({ ...http, surfaces: s3AtRoot })
  if (config.sniff !== 'off') await loadFileType()
  const addresses = await listenWith(server, s3Server, parts)
  events.start()
  hotObjects.start()
  return {
    ...addresses,
    close: async () => {
      connections.leave()
      if (config.shutdownDelayMs > 0) await delay(Math.min(config.shutdownDelayMs, LONGEST_TIMER_MS))
      uploadLocks.close()
      await Promise.all([
        events.close(),
        hotObjects.close(),
        drainServer(server, connections, config.shutdownTimeoutMs, logger),
        drainServer(s3Server, connections, config.shutdownTimeoutMs, logger),
        realtime.close(),
      ])
      await md5Thread.close()
      await rates?.counted.close()
      await outbox.close()
      await session.close()
      await auditLog?.close()
    },
  }
}

/** What answers requests and who hears of their ends; in spans, if there are any. */
function withTracing(
  { fetch, router }: ReturnType<typeof createApp>,
  hearers: OnRequestEnd[],
  tracing?: Tracing,
) {
  if (!tracing) return { fetch, onRequestEnd: hearers }
  const spans = new RequestTracing(tracing, router)
  return { fetch: spans.fetch(fetch), onRequestEnd: spans.hearers(hearers) }
}

/** The main one last: who waits until that answers may use both. */
async function listenWith(
  server: Server,
  s3Server: Server,
  { config, s3Port, logger }: RequestServerParts,
): Promise<Addresses> {
  const s3Url = s3Port && (await listenForS3(s3Server, s3Port, logger))
  try {
    return { url: await listen(server, config), s3Url }
  } catch (error) {
    s3Server.close()
    throw error
  }
}

function s3Options(
  { config, keys, database, logger }: RequestServerParts,
  { roles }: Services,
): Omit<S3SurfaceOptions, 'md5Thread'> {
  const seal = new SecretSeal(signingSecrets(keys, config))
  return {
    region: config.s3Protocol.region,
    domain: config.s3Protocol.domain,
    credentials: new S3Credentials({ own: keys.s3, database, seal, roles, logger }),
    sessionSecrets: [keys.anonKey, ...config.jwt.publishableKeys],
  }
}

function openConnections(wanted: number, logger: Logger): Connections {
  const most = affordableConnections(wanted)
  const notice = whyFewerConnections(most, { wanted, isDefault: wanted === DEFAULT_CONNECTIONS })
  if (notice !== null) logger.warn({}, notice)
  return new Connections(most)
}

/** Undefined where there are none to keep. */
function openRates({ config, database, logger }: RequestServerParts) {
  const { rateLimits: rates, trustProxy } = config
  if (Object.values(rates).every((rate) => rate === undefined)) return undefined
  const counted = new SharedRates({ rates, database, logger })
  return { counted, limits: new RateLimits({ rates, counted, trustProxy }) }
}
