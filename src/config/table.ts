import { z } from 'zod'
import { AUDIT_TABLE } from './audit.ts'
import { BACKUP_TABLE } from './backup.ts'
import { CONSUL_TABLE } from './consul.ts'
import {
  byteSize,
  byteSizeOrZero,
  commaList,
  databaseUrl,
  duration,
  durationAboveZero,
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
import { LIMITS_TABLE } from './limits.ts'
import { METRICS_TABLE } from './metrics.ts'
import { NATS_TABLE } from './nats.ts'
import { RATE_LIMITS_TABLE } from './rate-limits.ts'
import { S3_TABLE } from './s3.ts'
import { S3_PROTOCOL_TABLE } from './s3-protocol.ts'
import { setting } from './setting.ts'
import { TRACING_TABLE } from './tracing.ts'
import { VERSIONS_TABLE } from './versions.ts'
import { WEBHOOKS_TABLE } from './webhooks.ts'

export const BACKENDS = ['local', 's3'] as const

export const SNIFF_MODES = ['off', 'missing', 'verify'] as const

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

/** What is read and sent as one buffer: a row of PostgreSQL is made in memory, several times over. In bytes. */
const MAX_INLINE_SIZE = 256 * 1024

const backend = z.enum(BACKENDS, `must be ${BACKENDS.join(' or ')}`)

/**
 * Everything the environment can say (design §10). A line of this table is all there is of a setting: `npm run
 * docs:settings` writes it into docs/settings.md and `.env.example`.
 */
export const SETTINGS_TABLE = {
  host: setting('STORAGE_HOST', host, {
    preset: '127.0.0.1',
    help: 'address to listen on, without brackets: `::1`; `0.0.0.0` and `::` are all',
  }),
  port: setting('STORAGE_PORT', integer(0, 65_535), { preset: '8209', help: '0 takes a free port' }),
  workers: setting('STORAGE_WORKERS', workers, {
    preset: '1',
    help: 'how many processes answer requests; `auto`: one for each core',
  }),
  dataDir: setting('STORAGE_DATA_DIR', z.string(), {
    preset: './storage-data',
    help: 'folder of `objects/`, `postgres/` and `keys.json`',
  }),
  /** Without a trailing slash and without /storage/v1. */
  publicUrl: setting(
    'STORAGE_PUBLIC_URL',
    webUrl.transform((url) => url.replace(/\/storage\/v1$/, '')),
    { shown: 'from the request', help: 'base of absolute URLs', example: 'https://files.example.com' },
  ),
  trustProxy: setting('STORAGE_TRUST_PROXY', flag, {
    preset: 'false',
    help: 'believe `X-Forwarded-*` headers; of `X-Forwarded-For` the last address',
  }),
  databaseUrl: setting('DATABASE_URL', databaseUrl, {
    shown: 'embedded',
    help: 'a PostgreSQL 15 or newer',
    example: 'postgres://user:password@localhost:5432/strongroom',
  }),
  /** Where sessions are kept (decision 0029). */
  databaseDirectUrl: setting('STORAGE_DATABASE_DIRECT_URL', databaseUrl, {
    shown: '`DATABASE_URL`',
    help: 'the same database, for what needs sessions (see [Behind a pooler](postgres.md#behind-a-pooler))',
    example: 'postgres://user:password@localhost:5432/strongroom',
  }),
  databasePool: setting('STORAGE_DATABASE_POOL', integer(1, 1000), {
    preset: '10',
    help: 'most database connections of each process (see [Several processes](several-servers.md#several-processes))',
  }),
  databaseSpare: setting('STORAGE_DATABASE_SPARE', integer(0, 1000), {
    preset: '14',
    help: 'most that it opens besides: two for small uploads that come together, and others as long as commits wait for a slow disk; `0` for none',
  }),
  jwt: {
    secret: setting('STORAGE_JWT_SECRET', secret, {
      shown: 'made at first start',
      help: 'verifies HS256 tokens; at least 32 characters',
    }),
    jwks: setting('STORAGE_JWKS', jwks, { help: 'a JSON Web Key Set, as text' }),
    jwksUrl: setting('STORAGE_JWKS_URL', webUrl, { help: 'where to fetch one' }),
    extraRoles: setting('STORAGE_JWT_ROLES', commaList, {
      preset: '',
      shown: '–',
      help: 'roles that tokens may name besides anon, authenticated, service_role; by commas',
    }),
    publishableKeys: setting('STORAGE_PUBLISHABLE_KEYS', commaList, {
      preset: '',
      shown: '–',
      help: 'opaque keys that mean anon; by commas',
    }),
    secretKeys: setting('STORAGE_SECRET_KEYS', commaList, {
      preset: '',
      shown: '–',
      help: 'opaque keys that mean service_role; by commas',
    }),
  },
  signingSecret: setting('STORAGE_SIGNING_SECRET', secret, {
    shown: 'made at first start',
    help: 'signs URLs, and seals the secrets of [access keys](s3.md#access-keys); at least 32 characters',
  }),
  signingSecretPrevious: setting('STORAGE_SIGNING_SECRET_PREVIOUS', secret, {
    help: 'the one before: still opens what it has signed or sealed',
  }),
  maxSignedExpiryMs: setting(
    'STORAGE_MAX_SIGNED_EXPIRY',
    duration.refine((ms) => ms >= 1000, 'must be at least 1s'),
    {
      shown: '`365d`',
      help: 'longest life of a signed URL; `3650d` under `STORAGE_COMPAT=supabase`',
      example: '365d',
    },
  ),
  backend: setting('STORAGE_BACKEND', backend, {
    preset: 'local',
    help: 'where the bytes are: `local`, the data folder, or `s3` (see [An S3 store](s3-store.md))',
  }),
  backendPrevious: setting('STORAGE_BACKEND_PREVIOUS', backend, {
    help: 'during a move: where bytes may still be that are not in `STORAGE_BACKEND` yet',
  }),
  s3: S3_TABLE,
  s3Protocol: S3_PROTOCOL_TABLE,
  maxFileSize: setting('STORAGE_MAX_FILE_SIZE', byteSize, {
    preset: '5GB',
    help: 'largest object, whatever its bucket says; decimal units',
  }),
  inlineSize: setting(
    'STORAGE_INLINE_SIZE',
    byteSizeOrZero.refine((bytes) => bytes <= MAX_INLINE_SIZE, 'must be at most 262144'),
    {
      preset: '16384',
      help: 'objects of up to so many bytes are kept in the database, with their rows; `0` for none (see [Small objects](operations.md#small-objects))',
    },
  ),
  sniff: setting('STORAGE_SNIFF', z.enum(SNIFF_MODES, `must be ${SNIFF_MODES.join(', ')}`), {
    shown: '`missing`',
    help: 'whether the first bytes of an upload say its type: `missing`, where neither the client nor the name does; `verify`, what is said is held against them, too; `off`, also under `STORAGE_COMPAT=supabase` (see [Types](uploads.md#types))',
    example: 'verify',
  }),
  tusExpiryMs: setting('STORAGE_TUS_EXPIRY', durationAboveZero, {
    preset: '24h',
    help: 'how long a resumable upload stays after its last chunk',
  }),
  eventsKeepAliveMs: setting('STORAGE_EVENTS_KEEPALIVE', durationAboveZero, {
    preset: '15s',
    help: 'a stream of events is never silent for longer',
  }),
  webhooks: WEBHOOKS_TABLE,
  consul: CONSUL_TABLE,
  nats: NATS_TABLE,
  /** For rows and bytes. */
  cacheSize: setting('STORAGE_CACHE_SIZE', byteSizeOrZero, {
    preset: '64MB',
    help: 'memory of each process for small objects that are read again and again; `0` for none',
  }),
  fsync: setting('STORAGE_FSYNC', flag, {
    preset: 'true',
    help: 'flush files to the disk before they are acknowledged',
  }),
  verifyReads: setting('STORAGE_VERIFY_READS', flag, {
    preset: 'false',
    help: 'hash whole downloads again, break off when the bytes are damaged',
  }),
  compat: setting('STORAGE_COMPAT', z.enum(['supabase'], 'must be supabase, or unset'), {
    help: "`supabase`: exactly Supabase's statuses, bodies and names",
    example: 'supabase',
  }),
  userBuckets: setting('STORAGE_USER_BUCKETS', flag, {
    preset: 'false',
    help: 'signed-in users may create buckets',
  }),
  documentation: setting('STORAGE_DOCUMENTATION', flag, {
    preset: 'true',
    help: '`/documentation` shows what the API is, to anybody; `false`: it is no route',
  }),
  /** As browsers send them. */
  corsOrigins: setting('STORAGE_CORS_ORIGINS', origins, {
    preset: '*',
    help: 'origins that browsers may call from; by commas',
  }),
  limits: LIMITS_TABLE,
  rateLimits: RATE_LIMITS_TABLE,
  shutdownTimeoutMs: setting('STORAGE_SHUTDOWN_TIMEOUT', duration, {
    preset: '30s',
    help: 'how long a stop waits for running requests',
  }),
  shutdownDelayMs: setting('STORAGE_SHUTDOWN_DELAY', duration, {
    preset: '0s',
    help: 'how long before that `/health/ready` says 503 while requests are still taken, so that a balancer goes elsewhere',
  }),
  cleanup: {
    intervalMs: setting('STORAGE_CLEANUP_INTERVAL', duration, {
      preset: '1h',
      help: 'between two passes of the cleanup; `0s` makes none by itself',
    }),
    graceMs: setting('STORAGE_CLEANUP_GRACE', duration, {
      preset: '5m',
      help: 'how long something was left alone before it counts as left behind',
    }),
    batch: setting('STORAGE_CLEANUP_BATCH', integer(1, 1_000_000), {
      preset: '1000',
      help: 'most repairs of one pass',
    }),
    maxShare: setting('STORAGE_CLEANUP_MAX_SHARE', share, {
      preset: '0.1',
      help: 'largest part of a bucket that a pass may take for lost',
    }),
    eventsKeptMs: setting('STORAGE_EVENTS_RETENTION', duration, {
      preset: '7d',
      help: 'how long events are kept for those who were away',
    }),
  },
  versions: VERSIONS_TABLE,
  backup: BACKUP_TABLE,
  scrubIntervalMs: setting('STORAGE_SCRUB_INTERVAL', duration, {
    preset: '30d',
    help: 'in which every object is read and hashed again once; `0s` never',
  }),
  metrics: METRICS_TABLE,
  audit: AUDIT_TABLE,
  traces: TRACING_TABLE,
  logLevel: setting('STORAGE_LOG_LEVEL', z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`), {
    preset: 'info',
    help: 'fatal, error, warn, info, debug, trace or silent',
  }),
}
