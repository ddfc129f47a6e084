import type { Logger } from 'pino'
import type { ResumableBackend } from '../backend/resumable-backend.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { inOurErrors } from '../database/connection/postgres-error.ts'
import type { Events } from '../events/open.ts'
import type { RateLimits } from '../http/auth/rate-limits.ts'
import type { TokenVerifier } from '../http/auth/token-verifier.ts'
import type { Connections } from '../http/connection/connections.ts'
import type { Listeners } from '../http/connection/listeners.ts'
import { YieldingCapacity } from '../http/connection/yielding-capacity.ts'
import { Cors } from '../http/middleware/cors.ts'
import type { Health, Services } from '../http/services.ts'
import { packageVersion } from '../lib/package-version.ts'
import { SharedAnswer } from '../lib/shared-answer.ts'
import { STANDARD_ROLES } from '../model/caller.ts'
import type { Parts } from '../model/part-health.ts'
import { Audit } from '../storage/audit/audit.ts'
import { Backups } from '../storage/backups/backups.ts'
import { BucketStorage } from '../storage/buckets/bucket-storage.ts'
import { KnownBuckets } from '../storage/buckets/known-buckets.ts'
import { Credentials } from '../storage/credentials/credentials.ts'
import { SecretSeal } from '../storage/credentials/secret-seal.ts'
import { TypeDetection } from '../storage/detection/type-detection.ts'
import { FileStorage } from '../storage/file-storage.ts'
import { FilteredLists } from '../storage/filtered-lists.ts'
import { IdempotentRequests } from '../storage/idempotent-requests.ts'
import { PutGroups } from '../storage/inline/put-groups.ts'
import { BucketLifecycle } from '../storage/lifecycle/bucket-lifecycle.ts'
import { LifecyclePolicies } from '../storage/lifecycle/lifecycle-policies.ts'
import { DownloadCounts } from '../storage/links/download-counts.ts'
import { LinkRevoker } from '../storage/links/link-revoker.ts'
import { Revocations } from '../storage/links/revocations.ts'
import { SignedFolders } from '../storage/links/signed-folders.ts'
import { SignedUrls } from '../storage/links/signed-urls.ts'
import { MultipartUploads } from '../storage/multipart/multipart-uploads.ts'
import { ObjectLists } from '../storage/object-lists.ts'
import { ObjectLocks } from '../storage/object-locks.ts'
import type { HotObjects } from '../storage/reading/hot-objects.ts'
import { ResumableUploads } from '../storage/resumable/resumable-uploads.ts'
import type { UploadLocks } from '../storage/resumable/upload-locks.ts'
import { SharedObjects } from '../storage/shares/shared-objects.ts'
import { Shares } from '../storage/shares/shares.ts'
import { TimeTravel } from '../storage/time-travel.ts'
import { KnownSweep } from '../storage/uploads/known-sweep.ts'
import { RecentlyAllowed } from '../storage/uploads/recently-allowed.ts'
import { Trash } from '../storage/versions/trash.ts'
import { Heartbeats } from '../storage/writing/heartbeats.ts'
import { healthCheck, SHARED_MS } from '../telemetry/health/health-checks.ts'
import { traceMethods } from '../telemetry/tracing/traced-methods.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { type Keys, signingSecrets } from './keys.ts'

/** What the services are made of. */
export interface ServiceParts {
  config: Config
  keys: Keys
  backend: ResumableBackend
  database: Database
  logger: Logger
  /** Undefined where nothing is traced. */
  tracing: Tracing | undefined
  /** How that is which the server does by itself, and what it can go on without. */
  otherParts: () => Promise<Parts>
  /** Undefined where no client has limits. */
  rates: RateLimits | undefined
  uploadLocks: UploadLocks
  events: Events
  tokens: TokenVerifier
  hotObjects: HotObjects
  connections: Connections
  listeners: Listeners
}

/** Builds what the routes call. */
export function buildServices(parts: ServiceParts): Services {
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
  const { inlineSize, versions } = config
  const files = traced(
    new FileStorage({
      ...writing,
      verifyReads,
      rowCache,
      byteCache,
      tellsOfHidden,
      trashDays: versions.trashDays,
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
  const versionDefaults = {
    maxVersions: versions.maxVersions,
    versionRetentionDays: versions.retentionDays,
  }
  const buckets = new BucketStorage({ ...writing, versionDefaults, tellsOfHidden })
  const secrets = signingSecrets(keys, config)
  const seal = new SecretSeal(secrets)
  const roles = [...STANDARD_ROLES, ...config.jwt.extraRoles]
  const links = {
    database,
    files,
    secrets,
    revocations: new Revocations({ database }),
    maxExpirySeconds: Math.floor(config.maxSignedExpiryMs / 1000),
    now,
  }
  const idempotency = new IdempotentRequests({ database, logger, seal })
  const urls = new SignedUrls({ ...links, checksExpires: !config.supabaseCompat })
  const { userBuckets, supabaseCompat, corsOrigins, publicUrl, trustProxy, documentation } = config
  return {
    files,
    filteredLists: traced(new FilteredLists({ database, seal })),
    lists: traced(new ObjectLists({ database, exactFolders: !supabaseCompat, seal })),
    locks: traced(new ObjectLocks({ database })),
    timeTravel: traced(new TimeTravel({ database, files, now, seal })),
    buckets: traced(buckets),
    trash: traced(new Trash({ ...writing, seal })),
    urls: traced(urls),
    folders: traced(new SignedFolders({ ...links, seal, roles })),
    idempotency,
    counts: traced(new DownloadCounts({ database, logger })),
    revoker: traced(new LinkRevoker(links)),
    shares: traced(new Shares({ database, files, idempotency })),
    sharedObjects: traced(new SharedObjects({ ...links, urls })),
    resumable: traced(resumable),
    multipart: traced(multipart),
    tokens,
    credentials: traced(new Credentials({ database, seal })),
    audit: traced(new Audit({ database })),
    lifecycle: traced(new LifecyclePolicies({ database, backend, logger })),
    bucketLifecycle: traced(new BucketLifecycle({ database })),
    backups: traced(new Backups({ database, settings: config.backup })),
    roles,
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

function openHealth({ config, database, backend, otherParts }: ServiceParts): Health {
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
