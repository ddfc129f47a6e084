import { z } from 'zod'
import {
  byteSize,
  byteSizeOrZero,
  commaList,
  databaseUrl,
  duration,
  flag,
  host,
  integer,
  jwks,
  origins,
  secret,
  share,
  webUrl,
  workers,
} from './fields.ts'
import { type Limits, limitFields, limits } from './limits.ts'
import { eventContradictions, eventFields, type NatsSettings, natsSettings } from './nats.ts'
import { largestS3Object, type S3Settings, s3Contradictions, s3Fields, s3Settings } from './s3.ts'
import { type WebhookSettings, webhookSettingFields, webhookSettings } from './webhooks.ts'

/** Everything the environment can say, read once (design §10). Each field says its unit and variable. */
export interface Config {
  /** Address to listen on. STORAGE_HOST, 127.0.0.1. */
  host: string
  /** TCP port; 0 takes a free one. STORAGE_PORT, 8209. */
  port: number
  /** How many processes answer requests; auto is one for each core. STORAGE_WORKERS, 1. */
  workers: number
  /** Folder of objects/, postgres/ and keys.json. STORAGE_DATA_DIR, ./storage-data. */
  dataDir: string
  /** Base of absolute URLs, without a trailing slash and without /storage/v1. STORAGE_PUBLIC_URL. */
  publicUrl: string | undefined
  /** Whether X-Forwarded-* headers are believed. STORAGE_TRUST_PROXY, false. */
  trustProxy: boolean
  /** A PostgreSQL 15 or newer; without it the embedded one is started. DATABASE_URL. */
  databaseUrl: string | undefined
  /** Another way to the same database, where sessions are kept (decision 0029). STORAGE_DATABASE_DIRECT_URL. */
  databaseDirectUrl: string | undefined
  /** Largest number of database connections of each process that answers requests. STORAGE_DATABASE_POOL, 10. */
  databasePool: number
  jwt: {
    /** Verifies HS256 tokens; made at first start when absent. STORAGE_JWT_SECRET. */
    secret: string | undefined
    /** A JSON Web Key Set as text. STORAGE_JWKS. */
    jwks: { keys: Record<string, unknown>[] } | undefined
    /** Where to fetch one. STORAGE_JWKS_URL. */
    jwksUrl: string | undefined
    /** Roles a token may name besides anon, authenticated and service_role. STORAGE_JWT_ROLES. */
    extraRoles: string[]
    /** Opaque keys (`sb_publishable_…`) that mean the anon role. STORAGE_PUBLISHABLE_KEYS. */
    publishableKeys: string[]
    /** Opaque keys (`sb_secret_…`) that mean the service_role. STORAGE_SECRET_KEYS. */
    secretKeys: string[]
  }
  /** Signs URLs; made at first start when absent. STORAGE_SIGNING_SECRET. */
  signingSecret: string | undefined
  /** Still verifies URLs after a rotation. STORAGE_SIGNING_SECRET_PREVIOUS. */
  signingSecretPrevious: string | undefined
  /**
   * Longest life of a signed URL, in milliseconds. STORAGE_MAX_SIGNED_EXPIRY, 365d; under STORAGE_COMPAT=supabase
   * 3650d.
   */
  maxSignedExpiryMs: number
  /** Where bytes are written. STORAGE_BACKEND, local. */
  backend: BackendKind
  /** Where bytes may still be that a move has not reached yet. STORAGE_BACKEND_PREVIOUS. */
  backendPrevious: BackendKind | undefined
  /** Present when STORAGE_S3_BUCKET is. */
  s3: S3Settings | undefined
  /** Largest object, in bytes. STORAGE_MAX_FILE_SIZE, 5GB. */
  maxFileSize: number
  /** How long a resumable upload stays after its last chunk, in milliseconds. STORAGE_TUS_EXPIRY, 24h. */
  tusExpiryMs: number
  /** A stream of events is never silent for longer, in milliseconds. STORAGE_EVENTS_KEEPALIVE, 15s. */
  eventsKeepAliveMs: number
  /** Memory for rows and bytes of small objects that are read often, in bytes; 0 none. STORAGE_CACHE_SIZE, 64MB. */
  cacheSize: number
  /** Whether writes are flushed to the disk before they are acknowledged. STORAGE_FSYNC, true. */
  fsync: boolean
  /** Whether whole reads are hashed again and cut off on a mismatch. STORAGE_VERIFY_READS, false. */
  verifyReads: boolean
  /** Whether the wire is exactly Supabase's. STORAGE_COMPAT=supabase. */
  supabaseCompat: boolean
  /** Whether signed-in users may create buckets. STORAGE_USER_BUCKETS, false. */
  userBuckets: boolean
  /** Origins that browsers may call from, as they send them; `*` is any. STORAGE_CORS_ORIGINS, *. */
  corsOrigins: string[]
  limits: Limits
  /** How long a shutdown waits for running requests, in milliseconds. STORAGE_SHUTDOWN_TIMEOUT, 30s. */
  shutdownTimeoutMs: number
  cleanup: {
    /** Between two passes, in milliseconds; 0 makes none by itself. STORAGE_CLEANUP_INTERVAL, 1h. */
    intervalMs: number
    /** How long something was left alone before it counts as left behind, in ms. STORAGE_CLEANUP_GRACE, 5m. */
    graceMs: number
    /** Most repairs of one pass. STORAGE_CLEANUP_BATCH, 1000. */
    batch: number
    /** Largest part of a bucket that a pass takes for lost, 0 to 1. STORAGE_CLEANUP_MAX_SHARE, 0.1. */
    maxShare: number
    /** How long events are kept, in milliseconds. STORAGE_EVENTS_RETENTION, 7d. */
    eventsKeptMs: number
  }
  webhooks: WebhookSettings
  /** In which all objects are hashed again once, in milliseconds; 0 never. STORAGE_SCRUB_INTERVAL, 30d. */
  scrubIntervalMs: number
  /** Present when STORAGE_NATS_URL is. */
  nats: NatsSettings | undefined
  /** pino level. STORAGE_LOG_LEVEL, info. */
  logLevel: (typeof LOG_LEVELS)[number]
}

export type BackendKind = (typeof BACKENDS)[number]

export const BACKENDS = ['local', 's3'] as const

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

const YEAR_MS = 365 * 86_400_000

/** One or more settings are wrong. Each problem is a sentence that names its variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  constructor(readonly problems: string[]) {
    super(problems.join('\n'))
  }
}

const backend = z.enum(BACKENDS, `must be ${BACKENDS.join(' or ')}`)

const schema = z.object({
  STORAGE_HOST: host.default('127.0.0.1'),
  STORAGE_PORT: integer(0, 65_535).default(8209),
  STORAGE_WORKERS: workers.default(1),
  STORAGE_DATA_DIR: z.string().default('./storage-data'),
  STORAGE_PUBLIC_URL: webUrl.transform((url) => url.replace(/\/storage\/v1$/, '')).optional(),
  STORAGE_TRUST_PROXY: flag.default(false),
  DATABASE_URL: databaseUrl.optional(),
  STORAGE_DATABASE_DIRECT_URL: databaseUrl.optional(),
  STORAGE_DATABASE_POOL: integer(1, 1000).default(10),
  STORAGE_JWT_SECRET: secret.optional(),
  STORAGE_JWKS: jwks.optional(),
  STORAGE_JWKS_URL: webUrl.optional(),
  STORAGE_JWT_ROLES: commaList.default([]),
  STORAGE_PUBLISHABLE_KEYS: commaList.default([]),
  STORAGE_SECRET_KEYS: commaList.default([]),
  STORAGE_SIGNING_SECRET: secret.optional(),
  STORAGE_SIGNING_SECRET_PREVIOUS: secret.optional(),
  STORAGE_MAX_SIGNED_EXPIRY: duration.refine((ms) => ms >= 1000, 'must be at least 1s').optional(),
  STORAGE_BACKEND: backend.default('local'),
  STORAGE_BACKEND_PREVIOUS: backend.optional(),
  ...s3Fields,
  STORAGE_MAX_FILE_SIZE: byteSize.default(5_000_000_000),
  STORAGE_TUS_EXPIRY: duration.refine((ms) => ms > 0, 'must be more than 0').default(86_400_000),
  STORAGE_EVENTS_KEEPALIVE: duration.refine((ms) => ms > 0, 'must be more than 0').default(15_000),
  STORAGE_CACHE_SIZE: byteSizeOrZero.default(64_000_000),
  STORAGE_FSYNC: flag.default(true),
  STORAGE_VERIFY_READS: flag.default(false),
  STORAGE_COMPAT: z.enum(['supabase'], 'must be supabase, or unset').optional(),
  STORAGE_USER_BUCKETS: flag.default(false),
  STORAGE_CORS_ORIGINS: origins.default(['*']),
  ...limitFields,
  STORAGE_SHUTDOWN_TIMEOUT: duration.default(30_000),
  STORAGE_CLEANUP_INTERVAL: duration.default(3_600_000),
  STORAGE_CLEANUP_GRACE: duration.default(300_000),
  STORAGE_CLEANUP_BATCH: integer(1, 1_000_000).default(1000),
  STORAGE_CLEANUP_MAX_SHARE: share.default(0.1),
  STORAGE_EVENTS_RETENTION: duration.default(7 * 86_400_000),
  ...webhookSettingFields,
  STORAGE_SCRUB_INTERVAL: duration.default(30 * 86_400_000),
  ...eventFields,
  STORAGE_LOG_LEVEL: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).default('info'),
})

/** The names of all settings. */
export const SETTINGS = Object.keys(schema.shape)

/**
 * Reads all settings from `env`; a variable that is absent or empty takes its default.
 *
 * @throws ConfigError naming every bad value at once
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ''),
  )
  const parsed = schema.safeParse(given)
  const problems = parsed.error?.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`) ?? []
  for (const name of Object.keys(given)) {
    // A misspelt setting that silently does nothing is worse than a refusal to start.
    if (name.startsWith('STORAGE_') && !(name in schema.shape)) problems.push(`${name} is not a setting`)
  }
  if (parsed.success) problems.push(...contradictions(parsed.data))
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems)
  const v = parsed.data
  return {
    host: v.STORAGE_HOST,
    port: v.STORAGE_PORT,
    workers: v.STORAGE_WORKERS,
    dataDir: v.STORAGE_DATA_DIR,
    publicUrl: v.STORAGE_PUBLIC_URL,
    trustProxy: v.STORAGE_TRUST_PROXY,
    databaseUrl: v.DATABASE_URL,
    databaseDirectUrl: v.STORAGE_DATABASE_DIRECT_URL,
    databasePool: v.STORAGE_DATABASE_POOL,
    jwt: {
      secret: v.STORAGE_JWT_SECRET,
      jwks: v.STORAGE_JWKS,
      jwksUrl: v.STORAGE_JWKS_URL,
      extraRoles: v.STORAGE_JWT_ROLES,
      publishableKeys: v.STORAGE_PUBLISHABLE_KEYS,
      secretKeys: v.STORAGE_SECRET_KEYS,
    },
    signingSecret: v.STORAGE_SIGNING_SECRET,
    signingSecretPrevious: v.STORAGE_SIGNING_SECRET_PREVIOUS,
    maxSignedExpiryMs: v.STORAGE_MAX_SIGNED_EXPIRY ?? (v.STORAGE_COMPAT ? 10 : 1) * YEAR_MS,
    backend: v.STORAGE_BACKEND,
    backendPrevious: v.STORAGE_BACKEND_PREVIOUS,
    s3: s3Settings(v),
    maxFileSize: v.STORAGE_MAX_FILE_SIZE,
    tusExpiryMs: v.STORAGE_TUS_EXPIRY,
    eventsKeepAliveMs: v.STORAGE_EVENTS_KEEPALIVE,
    cacheSize: v.STORAGE_CACHE_SIZE,
    fsync: v.STORAGE_FSYNC,
    verifyReads: v.STORAGE_VERIFY_READS,
    supabaseCompat: v.STORAGE_COMPAT === 'supabase',
    userBuckets: v.STORAGE_USER_BUCKETS,
    corsOrigins: v.STORAGE_CORS_ORIGINS,
    limits: limits(v),
    shutdownTimeoutMs: v.STORAGE_SHUTDOWN_TIMEOUT,
    cleanup: {
      intervalMs: v.STORAGE_CLEANUP_INTERVAL,
      graceMs: v.STORAGE_CLEANUP_GRACE,
      batch: v.STORAGE_CLEANUP_BATCH,
      maxShare: v.STORAGE_CLEANUP_MAX_SHARE,
      eventsKeptMs: v.STORAGE_EVENTS_RETENTION,
    },
    webhooks: webhookSettings(v),
    scrubIntervalMs: v.STORAGE_SCRUB_INTERVAL,
    nats: natsSettings(v),
    logLevel: v.STORAGE_LOG_LEVEL,
  }
}

type Values = z.infer<typeof schema>

/** What is wrong with settings that are each right by themselves. */
function contradictions(v: Values): string[] {
  const problems: string[] = []
  if (v.STORAGE_BACKEND === v.STORAGE_BACKEND_PREVIOUS) {
    problems.push('STORAGE_BACKEND_PREVIOUS must be another one than STORAGE_BACKEND')
  }
  if (v.STORAGE_DATABASE_DIRECT_URL !== undefined && v.DATABASE_URL === undefined) {
    problems.push('STORAGE_DATABASE_DIRECT_URL is another way to the database of DATABASE_URL: set that, too')
  }
  const usesS3 = v.STORAGE_BACKEND === 's3' || v.STORAGE_BACKEND_PREVIOUS === 's3'
  if (usesS3 && v.STORAGE_S3_BUCKET === undefined) problems.push('STORAGE_S3_BUCKET is needed for S3')
  if (usesS3 && v.STORAGE_MAX_FILE_SIZE > largestS3Object(v)) {
    problems.push(
      'STORAGE_MAX_FILE_SIZE needs a larger STORAGE_S3_PART_SIZE: an object has at most 10000 parts',
    )
  }
  problems.push(...s3Contradictions(v), ...eventContradictions(v))
  if (v.STORAGE_S3_REDIRECT && v.STORAGE_VERIFY_READS) {
    problems.push('STORAGE_S3_REDIRECT sends bytes past STORAGE_VERIFY_READS: only one can be true')
  }
  return problems
}
