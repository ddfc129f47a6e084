import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { ResumableBackend } from '../backend/resumable-backend.ts'
import type { Config } from '../config/config.ts'
import { DEFAULT_CONNECTIONS } from '../config/limits.ts'
import type { Database } from '../database/connection/client.ts'
import { inOurErrors } from '../database/connection/postgres-error.ts'
import { ServingSession } from '../database/queries/serving-session.ts'
import { type Events, openEvents } from '../events/open.ts'
import { createApp } from '../http/app.ts'
import { RateLimits } from '../http/auth/rate-limits.ts'
import { TokenVerifier } from '../http/auth/token-verifier.ts'
import { Connections } from '../http/connection/connections.ts'
import { Listeners } from '../http/connection/listeners.ts'
import { YieldingCapacity } from '../http/connection/yielding-capacity.ts'
import { createHttpServer, drainServer, listen } from '../http/http-server.ts'
import { metricsSurface } from '../http/metrics/surface.ts'
import { Cors } from '../http/middleware/cors.ts'
import { RequestLog } from '../http/middleware/request-log.ts'
import { requestMetrics } from '../http/middleware/request-metrics.ts'
import { RequestTracing } from '../http/middleware/request-tracing.ts'
import { REALTIME_LIMITS, Realtime } from '../http/realtime/realtime.ts'
import { realtimeSurface } from '../http/realtime/surface.ts'
import type { OnRequestEnd } from '../http/request-end.ts'
import { PUBLIC_PREFIX } from '../http/request-target.ts'
import { restSurface } from '../http/rest/surface.ts'
import { type S3SurfaceOptions, s3Surface } from '../http/s3/surface.ts'
import type { Health, Services } from '../http/services.ts'
import { type Surface, Surfaces } from '../http/surface.ts'
import { tusSurface } from '../http/tus/surface.ts'
import { Md5Thread } from '../lib/md5-thread.ts'
import { packageVersion } from '../lib/package-version.ts'
import { SharedAnswer } from '../lib/shared-answer.ts'
import { LONGEST_TIMER_MS } from '../lib/units.ts'
import { STANDARD_ROLES } from '../model/caller.ts'
import type { Parts } from '../model/part-health.ts'
import { Audit } from '../storage/audit/audit.ts'
import { Backups } from '../storage/backups/backups.ts'
import { BucketStorage } from '../storage/buckets/bucket-storage.ts'
import { KnownBuckets } from '../storage/buckets/known-buckets.ts'
import { Credentials } from '../storage/credentials/credentials.ts'
import { S3Credentials } from '../storage/credentials/s3-credentials.ts'
import { SecretSeal } from '../storage/credentials/secret-seal.ts'
import { loadFileType } from '../storage/detection/found-type.ts'
import { TypeDetection } from '../storage/detection/type-detection.ts'
import { FileStorage } from '../storage/file-storage.ts'
import { PutGroups } from '../storage/inline/put-groups.ts'
import { SignedUrls } from '../storage/links/signed-urls.ts'
import { MultipartUploads } from '../storage/multipart/multipart-uploads.ts'
import { ObjectLists } from '../storage/object-lists.ts'
import { SharedRates } from '../storage/rates/shared-rates.ts'
import { HotObjects, type Peers } from '../storage/reading/hot-objects.ts'
import { ResumableUploads } from '../storage/resumable/resumable-uploads.ts'
import { UploadLocks } from '../storage/resumable/upload-locks.ts'
import { KnownSweep } from '../storage/uploads/known-sweep.ts'
import { RecentlyAllowed } from '../storage/uploads/recently-allowed.ts'
import { Heartbeats } from '../storage/writing/heartbeats.ts'
import { healthCheck, SHARED_MS } from '../telemetry/health/health-checks.ts'
import type { Scrape } from '../telemetry/metrics/exposition.ts'
import type { ProcessMetrics } from '../telemetry/metrics/process-metrics.ts'
import { traceMethods } from '../telemetry/tracing/traced-methods.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { openAuditLog } from './audit-log.ts'
import { type Keys, signingSecrets } from './keys.ts'
import { familiesOfRequests } from './metrics/of-requests.ts'
import { affordableConnections, whyFewerConnections } from './open-file-limit.ts'
import { listenForS3, type S3Port } from './s3-port.ts'

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
  const { requests, uploads } = services
  metrics.add(() => metrics.requests.families())
  metrics.add(() => familiesOfRequests({ database, events, connections, requests, uploads, hotObjects }))
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

interface ServiceParts extends RequestServerParts {
  rates: RateLimits | undefined
  uploadLocks: UploadLocks
  events: Events
  tokens: TokenVerifier
  hotObjects: HotObjects
  connections: Connections
  listeners: Listeners
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

function buildServices(parts: ServiceParts): Services {
  const { config, keys, backend, database, logger, uploadLocks, events, tokens, connections, listeners } =
    parts
  const { rowCache, byteCache, invalidate } = parts.hotObjects
  const { tracing } = parts
  const traced = <T extends object>(service: T): T => (tracing ? traceMethods(service, tracing) : service)
  const now = () => new Date()
  const { maxFileSize, verifyReads } = config
  const nameRules = config.supabaseCompat ? 'supabase' : 'default'
  const intervalMs = Math.max(config.cleanup.graceMs / HEARTBEATS_PER_GRACE, SHORTEST_HEARTBEAT_MS)
  const heartbeats = new Heartbeats({ database, logger, intervalMs })
  const tellsOfHidden = config.supabaseCompat
  const writing = {
    database,
    backend,
    logger,
    maxFileSize,
    types: new TypeDetection(config.sniff),
    nameRules,
    heartbeats,
    invalidate,
    now,
  } as const
  const knownBuckets = new KnownBuckets(database)
  const { inlineSize } = config
  const files = traced(
    new FileStorage({
      ...writing,
      verifyReads,
      rowCache,
      byteCache,
      tellsOfHidden,
      inlineSize,
      knownBuckets,
      knownSweep: new KnownSweep(database),
      recentlyAllowed: new RecentlyAllowed(),
      putGroups: new PutGroups(database),
    }),
  )
  const { uploads, bytes } = config.limits.unfinished
  const unfinished = (lifetimeMs: number) => ({
    uploads,
    bytes: Math.max(bytes, maxFileSize),
    // Never one whose writer may only have been slow to say that it is there.
    idleMs: Math.max(lifetimeMs / LIFETIMES_IN_NEED, config.cleanup.graceMs),
    lifetimeMs,
  })
  const { tusExpiryMs, s3Protocol } = config
  const locks = uploadLocks
  const resumable = new ResumableUploads({
    ...writing,
    lifetimeMs: tusExpiryMs,
    unfinished: unfinished(tusExpiryMs),
    locks,
  })
  const multipart = new MultipartUploads({
    ...writing,
    unfinished: unfinished(s3Protocol.uploadExpiryMs),
    locks,
  })
  const buckets = new BucketStorage({ ...writing, tellsOfHidden })
  const secrets = signingSecrets(keys, config)
  const urls = new SignedUrls({
    database,
    files,
    secrets,
    maxExpirySeconds: Math.floor(config.maxSignedExpiryMs / 1000),
    checksExpires: !config.supabaseCompat,
    now,
  })
  const { userBuckets, supabaseCompat, corsOrigins, publicUrl, trustProxy, documentation } = config
  return {
    files,
    lists: traced(new ObjectLists({ database, exactFolders: !supabaseCompat })),
    buckets: traced(buckets),
    urls: traced(urls),
    resumable: traced(resumable),
    multipart: traced(multipart),
    tokens,
    credentials: traced(new Credentials({ database, seal: new SecretSeal(secrets) })),
    audit: traced(new Audit({ database })),
    backups: traced(new Backups({ database, settings: config.backup })),
    roles: [...STANDARD_ROLES, ...config.jwt.extraRoles],
    events,
    keepAliveMs: config.eventsKeepAliveMs,
    connections,
    listeners,
    rates: parts.rates,
    requests: new YieldingCapacity({
      most: config.limits.requests,
      minRate: config.limits.minUploadRate,
      full: 'ServerBusy',
    }),
    uploads: new YieldingCapacity({
      most: config.limits.uploads,
      minRate: config.limits.minUploadRate,
      full: 'TooManyUploads',
      each: {
        most: Math.max(1, Math.floor(config.limits.uploads * config.limits.uploadShare)),
        excess: 'TooManyUploadsOfOneClient',
      },
    }),
    health: openHealth(parts),
    maxFileSize,
    userBuckets,
    documentation,
    redirects: config.s3?.redirect !== undefined,
    supabaseCompat,
    cors: new Cors(corsOrigins),
    publicUrl,
    trustProxy,
    version: packageVersion(),
  }
}

/** How much sooner an idle upload expires when its caller has too many: after an hour instead of a day, for example. */
const LIFETIMES_IN_NEED = 24

/** A few may be lost without an upload being given up. */
const HEARTBEATS_PER_GRACE = 5
const SHORTEST_HEARTBEAT_MS = 100

function openHealth({ config, database, backend, otherParts }: RequestServerParts): Health {
  const vital = { whenFailing: 'unhealthy', limitMs: config.limits.healthCheckMs } as const
  const databaseHealth = healthCheck(async () => {
    await inOurErrors(database.sql`select 1`)
    return null
  }, vital)
  const storageHealth = healthCheck(async () => {
    await backend.check()
    return null
  }, vital)
  const others = new SharedAnswer(() => otherParts().catch(() => UNKNOWN_PARTS), SHARED_MS)
  return {
    database: () => databaseHealth.get(),
    storage: () => storageHealth.get(),
    others: () => others.get(),
  }
}

/** What is said where nobody says how they are. */
const UNKNOWN_PARTS: Parts = {
  primary: { status: 'degraded', latencyMs: 0, message: 'The first of the processes does not answer' },
}
