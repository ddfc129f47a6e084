import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nextTime } from '../../src/config/backup.ts'
import { type Config, readConfig } from '../../src/config/config.ts'
import type { NatsSettings } from '../../src/config/nats.ts'
import type { S3Settings } from '../../src/config/s3.ts'
import { settingProblems as problems } from '../support/setting-problems.ts'

const SECRET = 'a secret of at least 32 characters'
const AGE_KEY = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
const JWKS = { keys: [{ kty: 'oct', kid: 'a', k: 'c2VjcmV0' }] }

describe('OpenTelemetry’s variables', () => {
  const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://user:password@collector:4318/base' }

  it('say where traces go, and which', () => {
    expect(readConfig(ENDPOINT).traces).toEqual({
      origin: 'http://collector:4318',
      protocol: 'http/protobuf',
      sampler: 'parentbased_always_on',
      ratio: 1,
    })
    const others = {
      ...ENDPOINT,
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://traces.example.com/v1/traces',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json',
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
    }
    expect(readConfig(others).traces).toEqual({
      origin: 'https://traces.example.com',
      protocol: 'http/json',
      sampler: 'traceidratio',
      ratio: 0.25,
    })
  })

  it.each([
    { OTEL_SDK_DISABLED: 'TRUE' },
    { OTEL_TRACES_EXPORTER: 'none' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
  ])('may say that there are none: %o', (off) => {
    const foreign = { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_TRACES_SAMPLER: 'xray' }
    expect(readConfig({ ...ENDPOINT, ...foreign, ...off }).traces).toBeUndefined()
  })

  it('are none of ours if we do not know them', () => {
    expect(readConfig({ OTEL_METRICS_EXPORTER: 'otlp', OTEL_LOG_LEVEL: 'debug' }).traces).toBeUndefined()
  })

  it.each([
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' },
      'OTEL_EXPORTER_OTLP_ENDPOINT must be an http or https URL',
    ],
    [
      { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
      'OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json',
    ],
    [
      { OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc' },
      'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be http/protobuf',
    ],
    [{ OTEL_TRACES_EXPORTER: 'zipkin' }, 'OTEL_TRACES_EXPORTER must be otlp or none'],
    [{ OTEL_TRACES_SAMPLER: 'xray' }, 'OTEL_TRACES_SAMPLER must be one of always_on'],
    [
      { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' },
      'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1',
    ],
  ])('are refused where something else is meant than there is: %o', (env, problem) => {
    expect(problems({ ...ENDPOINT, ...env })).toEqual([expect.stringContaining(problem)])
  })
})

describe('a setting', () => {
  it('has a default, so that none must be made', () => {
    expect(readConfig({})).toEqual({
      host: '127.0.0.1',
      port: 8209,
      dataDir: './storage-data',
      publicUrl: undefined,
      trustProxy: false,
      databaseUrl: undefined,
      databaseDirectUrl: undefined,
      workers: 1,
      databasePool: 10,
      databaseSpare: 14,
      jwt: {
        secret: undefined,
        jwks: undefined,
        jwksUrl: undefined,
        extraRoles: [],
        publishableKeys: [],
        secretKeys: [],
      },
      signingSecret: undefined,
      signingSecretPrevious: undefined,
      maxSignedExpiryMs: 31_536_000_000,
      sniff: 'missing',
      maxFileSize: 5_000_000_000,
      inlineSize: 16_384,
      tusExpiryMs: 86_400_000,
      eventsKeepAliveMs: 15_000,
      cacheSize: 64_000_000,
      fsync: true,
      verifyReads: false,
      backend: 'local',
      backendPrevious: undefined,
      s3: undefined,
      s3Access: {
        endpoint: undefined,
        region: 'us-east-1',
        credentials: undefined,
        forcePathStyle: false,
        requestChecksum: 'when_supported',
        connections: 128,
        connectTimeoutMs: 5000,
        timeoutMs: 30_000,
        attempts: 4,
        partSize: 6_291_456,
        parallelParts: 4,
        bufferSize: 67_108_864,
        redirect: undefined,
      },
      s3Protocol: {
        region: 'us-east-1',
        port: undefined,
        domain: undefined,
        accessKey: undefined,
        uploadExpiryMs: 604_800_000,
      },
      supabaseCompat: false,
      userBuckets: false,
      documentation: true,
      corsOrigins: ['*'],
      limits: {
        connections: 20_000,
        requests: 5000,
        uploads: 2000,
        uploadShare: 0.25,
        requestMs: 60_000,
        idleMs: 120_000,
        minUploadRate: 500,
        databaseMs: 45_000,
        listeners: { connections: 10_000, subscribers: 20_000, share: 0.1, unreadBytes: 256_000_000 },
        unfinished: { uploads: 1000, bytes: 100_000_000_000 },
        listMs: 5000,
        healthCheckMs: 5000,
      },
      shutdownDelayMs: 0,
      shutdownTimeoutMs: 30_000,
      cleanup: {
        intervalMs: 3_600_000,
        graceMs: 300_000,
        batch: 1000,
        maxShare: 0.1,
        eventsKeptMs: 604_800_000,
      },
      webhooks: { webhooks: [], timeoutMs: 10_000, attempts: 10, backOffMs: 5000 },
      scrubIntervalMs: 2_592_000_000,
      versions: { maxVersions: 10, retentionDays: 90, trashDays: 30 },
      backup: {
        enabled: true,
        target: resolve('storage-data/backups'),
        retentionDays: 30,
        schedule: undefined,
        log: false,
        share: 0.1,
        passphrase: undefined,
        recipient: undefined,
        identity: undefined,
      },
      consul: undefined,
      nats: undefined,
      metrics: { token: undefined, port: undefined, host: '127.0.0.1' },
      audit: { level: 'writes', retentionDays: 365 },
      traces: undefined,
      logLevel: 'info',
      rateLimits: { read: undefined, write: undefined, sign: undefined, admin: undefined },
    } satisfies Config)
  })

  it.each<[name: string, text: string, expected: unknown, read: (config: Config) => unknown]>([
    ['STORAGE_HOST', '0.0.0.0', '0.0.0.0', (c) => c.host],
    ['STORAGE_HOST', '::1', '::1', (c) => c.host],
    ['STORAGE_HOST', 'files.example.com', 'files.example.com', (c) => c.host],
    ['STORAGE_PORT', '0', 0, (c) => c.port],
    ['STORAGE_PORT', '65535', 65_535, (c) => c.port],
    ['STORAGE_WORKERS', '3', 3, (c) => c.workers],
    ['STORAGE_WORKERS', 'auto', availableParallelism(), (c) => c.workers],
    ['STORAGE_DATA_DIR', '/srv/my files', '/srv/my files', (c) => c.dataDir],
    ['STORAGE_PUBLIC_URL', 'https://files.example.com', 'https://files.example.com', (c) => c.publicUrl],
    ['STORAGE_PUBLIC_URL', 'https://example.com/', 'https://example.com', (c) => c.publicUrl],
    ['STORAGE_PUBLIC_URL', 'http://[::1]:80/a/storage/v1/', 'http://[::1]:80/a', (c) => c.publicUrl],
    ['STORAGE_TRUST_PROXY', 'true', true, (c) => c.trustProxy],
    ['STORAGE_TRUST_PROXY', '1', true, (c) => c.trustProxy],
    ['DATABASE_URL', 'postgres://u:p@db:5432/x', 'postgres://u:p@db:5432/x', (c) => c.databaseUrl],
    ['DATABASE_URL', 'postgresql://db/x', 'postgresql://db/x', (c) => c.databaseUrl],
    ['STORAGE_DATABASE_POOL', '1', 1, (c) => c.databasePool],
    ['STORAGE_DATABASE_SPARE', '0', 0, (c) => c.databaseSpare],
    ['STORAGE_JWT_SECRET', SECRET, SECRET, (c) => c.jwt.secret],
    ['STORAGE_JWKS', JSON.stringify(JWKS), JWKS, (c) => c.jwt.jwks],
    ['STORAGE_JWKS_URL', 'https://auth.example/jwks', 'https://auth.example/jwks', (c) => c.jwt.jwksUrl],
    ['STORAGE_JWT_ROLES', 'editor, , viewer ', ['editor', 'viewer'], (c) => c.jwt.extraRoles],
    ['STORAGE_PUBLISHABLE_KEYS', 'sb_publishable_1', ['sb_publishable_1'], (c) => c.jwt.publishableKeys],
    [
      'STORAGE_SECRET_KEYS',
      'sb_secret_1,sb_secret_2',
      ['sb_secret_1', 'sb_secret_2'],
      (c) => c.jwt.secretKeys,
    ],
    ['STORAGE_SIGNING_SECRET', SECRET, SECRET, (c) => c.signingSecret],
    ['STORAGE_SIGNING_SECRET_PREVIOUS', SECRET, SECRET, (c) => c.signingSecretPrevious],
    ['STORAGE_S3_PROTOCOL_PORT', '0', 0, (c) => c.s3Protocol.port],
    ['STORAGE_S3_PROTOCOL_PORT', '9000', 9000, (c) => c.s3Protocol.port],
    ['STORAGE_LIST_TIMEOUT', '500ms', 500, (c) => c.limits.listMs],
    ['STORAGE_MAX_SIGNED_EXPIRY', '7d', 604_800_000, (c) => c.maxSignedExpiryMs],
    ['STORAGE_SNIFF', 'verify', 'verify', (c) => c.sniff],
    ['STORAGE_MAX_FILE_SIZE', '1', 1, (c) => c.maxFileSize],
    ['STORAGE_MAX_FILE_SIZE', '1.5gb', 1_500_000_000, (c) => c.maxFileSize],
    ['STORAGE_MAX_UPLOAD_SHARE', '1', 1, (c) => c.limits.uploadShare],
    ['STORAGE_RATE_LIMIT_READ', '100/10', { requests: 100, windowMs: 10_000 }, (c) => c.rateLimits.read],
    ['STORAGE_RATE_LIMIT_WRITE', '1/86400', { requests: 1, windowMs: 86_400_000 }, (c) => c.rateLimits.write],
    ['STORAGE_RATE_LIMIT_SIGN', '1000000/1', { requests: 1e6, windowMs: 1000 }, (c) => c.rateLimits.sign],
    ['STORAGE_RATE_LIMIT_ADMIN', '5/60', { requests: 5, windowMs: 60_000 }, (c) => c.rateLimits.admin],
    ['STORAGE_MAX_LISTENERS', '5', 5, (c) => c.limits.listeners.connections],
    ['STORAGE_MAX_SUBSCRIBERS', '7', 7, (c) => c.limits.listeners.subscribers],
    ['STORAGE_MAX_LISTENER_SHARE', '1', 1, (c) => c.limits.listeners.share],
    ['STORAGE_INLINE_SIZE', '0', 0, (c) => c.inlineSize],
    ['STORAGE_INLINE_SIZE', '262144', 262_144, (c) => c.inlineSize],
    ['STORAGE_MAX_UNREAD', '1MB', 1_000_000, (c) => c.limits.listeners.unreadBytes],
    ['STORAGE_MAX_UNFINISHED_UPLOADS', '3', 3, (c) => c.limits.unfinished.uploads],
    ['STORAGE_MAX_UNFINISHED_SIZE', '1GB', 1_000_000_000, (c) => c.limits.unfinished.bytes],
    ['STORAGE_CLEANUP_INTERVAL', '0s', 0, (c) => c.cleanup.intervalMs],
    ['STORAGE_CLEANUP_GRACE', '200ms', 200, (c) => c.cleanup.graceMs],
    ['STORAGE_CLEANUP_BATCH', '5', 5, (c) => c.cleanup.batch],
    ['STORAGE_CLEANUP_MAX_SHARE', '1', 1, (c) => c.cleanup.maxShare],
    ['STORAGE_CLEANUP_MAX_SHARE', '0.25', 0.25, (c) => c.cleanup.maxShare],
    ['STORAGE_MAX_VERSIONS', '5', 5, (c) => c.versions.maxVersions],
    ['STORAGE_VERSION_RETENTION_DAYS', '7', 7, (c) => c.versions.retentionDays],
    ['STORAGE_TRASH_RETENTION', '48h', 2, (c) => c.versions.trashDays],
    ['STORAGE_SCRUB_INTERVAL', '7d', 604_800_000, (c) => c.scrubIntervalMs],
    ['STORAGE_BACKUP_ENABLED', 'false', false, (c) => c.backup.enabled],
    ['STORAGE_BACKUP_TARGET', '/mnt/backups', '/mnt/backups', (c) => c.backup.target],
    ['STORAGE_BACKUP_TARGET', 's3://backups/here', 's3://backups/here', (c) => c.backup.target],
    ['STORAGE_BACKUP_RETENTION_DAYS', '7', 7, (c) => c.backup.retentionDays],
    ['STORAGE_BACKUP_RETENTION_DAYS', '0', null, (c) => c.backup.retentionDays],
    ['STORAGE_BACKUP_SCHEDULE', '*/15 3 * * MON', '*/15 3 * * MON', (c) => c.backup.schedule],
    ['STORAGE_BACKUP_SCHEDULE', '@daily', '@daily', (c) => c.backup.schedule],
    ['STORAGE_BACKUP_LOG', 'true', true, (c) => c.backup.log],
    ['STORAGE_BACKUP_SHARE', '1', 1, (c) => c.backup.share],
    ['STORAGE_BACKUP_PASSPHRASE', 'correct horse', 'correct horse', (c) => c.backup.passphrase],
    ['STORAGE_BACKUP_RECIPIENT', AGE_KEY, AGE_KEY, (c) => c.backup.recipient],
    ['STORAGE_BACKUP_IDENTITY', '/etc/key', '/etc/key', (c) => c.backup.identity],
    ['STORAGE_AUDIT', 'all', 'all', (c) => c.audit.level],
    ['STORAGE_AUDIT_RETENTION_DAYS', '31', 31, (c) => c.audit.retentionDays],
    ['STORAGE_AUDIT_RETENTION_DAYS', '0', null, (c) => c.audit.retentionDays],
    ['STORAGE_WEBHOOK_TIMEOUT', '3s', 3000, (c) => c.webhooks.timeoutMs],
    ['STORAGE_WEBHOOK_ATTEMPTS', '3', 3, (c) => c.webhooks.attempts],
    ['STORAGE_WEBHOOK_BACKOFF', '20ms', 20, (c) => c.webhooks.backOffMs],
    ['STORAGE_CACHE_SIZE', '0', 0, (c) => c.cacheSize],
    ['STORAGE_CACHE_SIZE', '1GB', 1_000_000_000, (c) => c.cacheSize],
    ['STORAGE_FSYNC', 'FALSE', false, (c) => c.fsync],
    ['STORAGE_FSYNC', '0', false, (c) => c.fsync],
    ['STORAGE_VERIFY_READS', 'True', true, (c) => c.verifyReads],
    ['STORAGE_COMPAT', 'supabase', true, (c) => c.supabaseCompat],
    ['STORAGE_S3_PROTOCOL_DOMAIN', 'S3.Example.com', 's3.example.com', (c) => c.s3Protocol.domain],
    ['STORAGE_S3_PROTOCOL_REGION', 'eu-west-1', 'eu-west-1', (c) => c.s3Protocol.region],
    ['STORAGE_USER_BUCKETS', 'true', true, (c) => c.userBuckets],
    ['STORAGE_DOCUMENTATION', 'false', false, (c) => c.documentation],
    [
      'STORAGE_CORS_ORIGINS',
      'https://App.example/,http://localhost:3000',
      ['https://app.example', 'http://localhost:3000'],
      (c) => c.corsOrigins,
    ],
    ['STORAGE_CORS_ORIGINS', 'capacitor://localhost', ['capacitor://localhost'], (c) => c.corsOrigins],
    ['STORAGE_SHUTDOWN_DELAY', '5s', 5000, (c) => c.shutdownDelayMs],
    ['STORAGE_SHUTDOWN_TIMEOUT', '500ms', 500, (c) => c.shutdownTimeoutMs],
    ['STORAGE_SHUTDOWN_TIMEOUT', '2m', 120_000, (c) => c.shutdownTimeoutMs],
    ['STORAGE_LOG_LEVEL', 'silent', 'silent', (c) => c.logLevel],
  ])('%s=%s is taken', (name, text, expected, read) => {
    expect(read(readConfig({ [name]: text }))).toEqual(expected)
    expect(read(readConfig({ [name]: text }))).not.toEqual(read(readConfig({})))
  })

  it('takes its default when it is empty, as in a .env file that lists them all', () => {
    const names = ['STORAGE_PORT', 'STORAGE_JWT_SECRET', 'STORAGE_JWKS', 'STORAGE_COMPAT', 'DATABASE_URL']
    const empty = Object.fromEntries(names.map((name) => [name, '']))
    expect(readConfig(empty)).toEqual(readConfig({}))
  })

  it('is only read from what is ours: other variables may be anything', () => {
    expect(readConfig({ PATH: '/bin', PORT: 'x', STORAGEX: 'x', HOST: undefined })).toEqual(readConfig({}))
  })
})

describe('a setting of backups', () => {
  it.each([
    ['STORAGE_BACKUP_SCHEDULE', 'daily'],
    ['STORAGE_BACKUP_SCHEDULE', '61 3 * * *'],
    ['STORAGE_BACKUP_SCHEDULE', '* * * * * *'],
    ['STORAGE_BACKUP_SCHEDULE', '0 0 31 2 *'],
    ['STORAGE_BACKUP_SCHEDULE', '0 3 * *'],
  ])('is refused: %s=%s', (name, text) => {
    expect(problems({ [name]: text })).toEqual([
      `${name} must be a cron expression that comes true, such as 0 3 * * *`,
    ])
  })

  it.each<[string, Record<string, string>]>([
    [
      'STORAGE_BACKUP_RETENTION_DAYS must be a whole number from 0 to 36500',
      { STORAGE_BACKUP_RETENTION_DAYS: '-1' },
    ],
    ['STORAGE_BACKUP_SHARE must be a number from 0.05 to 1', { STORAGE_BACKUP_SHARE: '0.01' }],
    ['STORAGE_BACKUP_SHARE must be a number from 0 to 1', { STORAGE_BACKUP_SHARE: '50%' }],
    ['STORAGE_BACKUP_PASSPHRASE must have at least 12 characters', { STORAGE_BACKUP_PASSPHRASE: 'hunter2' }],
    [
      'STORAGE_BACKUP_RECIPIENT must be a public key of age: age1…',
      { STORAGE_BACKUP_RECIPIENT: 'AGE-SECRET-KEY-1' },
    ],
    [
      'STORAGE_BACKUP_PASSPHRASE and STORAGE_BACKUP_RECIPIENT: only one can be',
      { STORAGE_BACKUP_PASSPHRASE: 'correct horse', STORAGE_BACKUP_RECIPIENT: AGE_KEY },
    ],
    [
      'STORAGE_BACKUP_IDENTITY is of a recipient: it does not go with STORAGE_BACKUP_PASSPHRASE',
      { STORAGE_BACKUP_PASSPHRASE: 'correct horse', STORAGE_BACKUP_IDENTITY: '/etc/key' },
    ],
    [
      'STORAGE_BACKUP_LOG archives the log of the built-in PostgreSQL: there is none with DATABASE_URL',
      { STORAGE_BACKUP_LOG: 'true', DATABASE_URL: 'postgres://db/x' },
    ],
  ])('is refused: %s', (problem, env) => expect(problems(env)).toEqual([problem]))

  it('is read in UTC, wherever the server is', () => {
    expect(nextTime('0 3 * * *', new Date('2026-03-29T00:30:00Z'))).toEqual(new Date('2026-03-29T03:00:00Z'))
    expect(nextTime('0 3 * * *', new Date('2026-03-29T03:00:00Z'))).toEqual(new Date('2026-03-30T03:00:00Z'))
  })
})

describe('an S3 store', () => {
  const bucket = { STORAGE_S3_BUCKET: 'files' }

  it('is described by its bucket alone, and is then on Amazon', () => {
    expect(readConfig(bucket).s3).toEqual({
      endpoint: undefined,
      region: 'us-east-1',
      bucket: 'files',
      prefix: '',
      credentials: undefined,
      forcePathStyle: false,
      requestChecksum: 'when_supported',
      connections: 128,
      connectTimeoutMs: 5000,
      timeoutMs: 30_000,
      attempts: 4,
      partSize: 6_291_456,
      parallelParts: 4,
      bufferSize: 67_108_864,
      redirect: undefined,
    } satisfies S3Settings)
  })

  it('elsewhere has its bucket in the path, and is sent no checksums that it may not know', () => {
    const s3 = readConfig({ ...bucket, STORAGE_S3_ENDPOINT: 'http://store:9000/' }).s3
    expect(s3).toMatchObject({
      endpoint: 'http://store:9000',
      forcePathStyle: true,
      requestChecksum: 'when_required',
    })
  })

  it.each<[name: string, text: string, expected: Partial<S3Settings>]>([
    ['STORAGE_S3_REGION', 'eu-central-1', { region: 'eu-central-1' }],
    ['STORAGE_S3_PREFIX', 'a/b', { prefix: 'a/b/' }],
    ['STORAGE_S3_PREFIX', 'a/b/', { prefix: 'a/b/' }],
    ['STORAGE_S3_FORCE_PATH_STYLE', 'true', { forcePathStyle: true }],
    ['STORAGE_S3_REQUEST_CHECKSUM', 'when_required', { requestChecksum: 'when_required' }],
    ['STORAGE_S3_CONNECTIONS', '5', { connections: 5 }],
    ['STORAGE_S3_CONNECT_TIMEOUT', '2s', { connectTimeoutMs: 2000 }],
    ['STORAGE_S3_TIMEOUT', '1m', { timeoutMs: 60_000 }],
    ['STORAGE_S3_ATTEMPTS', '1', { attempts: 1 }],
    ['STORAGE_S3_PART_SIZE', '16MB', { partSize: 16_000_000 }],
    ['STORAGE_S3_PARALLEL_PARTS', '2', { parallelParts: 2 }],
    ['STORAGE_S3_BUFFER', '1GB', { bufferSize: 1_000_000_000 }],
    ['STORAGE_S3_REDIRECT', 'true', { redirect: { minSize: 1_000_000, publicEndpoint: undefined } }],
  ])('takes %s=%s', (name, text, expected) => {
    expect(readConfig({ ...bucket, [name]: text }).s3).toMatchObject(expected)
    expect(readConfig(bucket).s3).not.toMatchObject(expected)
  })

  it('has credentials of its own, or those of its surroundings', () => {
    const keys = { STORAGE_S3_ACCESS_KEY: 'a', STORAGE_S3_SECRET_KEY: 'b' }
    expect(readConfig({ ...bucket, ...keys }).s3?.credentials).toEqual({ accessKey: 'a', secretKey: 'b' })
    expect(problems({ ...bucket, STORAGE_S3_ACCESS_KEY: 'a' })).toEqual([
      'STORAGE_S3_ACCESS_KEY and STORAGE_S3_SECRET_KEY go together',
    ])
  })

  it.each<[problem: string, env: Record<string, string>]>([
    ['STORAGE_S3_BUCKET is needed for S3', { STORAGE_BACKEND: 's3' }],
    ['STORAGE_S3_BUCKET is needed for S3', { STORAGE_BACKEND_PREVIOUS: 's3' }],
    [
      'STORAGE_BACKEND_PREVIOUS must be another one than STORAGE_BACKEND',
      { STORAGE_BACKEND: 'local', STORAGE_BACKEND_PREVIOUS: 'local' },
    ],
    [
      'STORAGE_MAX_FILE_SIZE needs a larger STORAGE_S3_PART_SIZE: an object has at most 10000 parts',
      { ...bucket, STORAGE_BACKEND: 's3', STORAGE_MAX_FILE_SIZE: '100GB' },
    ],
    ['STORAGE_S3_BUFFER must be at least twice STORAGE_S3_PART_SIZE', { STORAGE_S3_BUFFER: '10MB' }],
    ['STORAGE_S3_PART_SIZE must be from 5.25MB to 512MB', { STORAGE_S3_PART_SIZE: '5MB' }],
    ['STORAGE_S3_PREFIX must be a prefix such as strongroom/', { STORAGE_S3_PREFIX: '/../x' }],
    [
      'STORAGE_S3_REDIRECT sends bytes past STORAGE_VERIFY_READS: only one can be true',
      { ...bucket, STORAGE_S3_REDIRECT: 'true', STORAGE_VERIFY_READS: 'true' },
    ],
  ])('is refused: %s', (problem, env) => expect(problems(env)).toEqual([problem]))
})

describe("the S3 protocol's key pair", () => {
  const id = 'STORAGE_S3_PROTOCOL_ACCESS_KEY_ID'
  const secret = 'STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET'
  const HEX = '850181e4652dd023b7a98c58ae0d2d34bd487ee0cc3254aed6eda37307425907'

  it('is taken when both halves are given', () => {
    expect(readConfig({ [id]: 'backups-1', [secret]: HEX }).s3Protocol.accessKey).toEqual({
      accessKeyId: 'backups-1',
      secretAccessKey: HEX,
    })
  })

  it.each<[problem: string, env: Record<string, string>]>([
    [`${id} and ${secret} go together`, { [id]: 'backups' }],
    [`${id} and ${secret} go together`, { [secret]: HEX }],
    [`${id} must have 3 to 128 letters, digits, or one of - _ .`, { [id]: 'a/b', [secret]: HEX }],
    [`${secret} must have at least 32 characters`, { [id]: 'backups', [secret]: 'minioadmin' }],
    [`${secret} must be of ASCII, without white space`, { [id]: 'backups', [secret]: `${HEX} x` }],
    [
      'STORAGE_S3_PROTOCOL_PORT must be another one than STORAGE_PORT; 0 turns it off',
      { STORAGE_PORT: '9000', STORAGE_S3_PROTOCOL_PORT: '9000' },
    ],
  ])('and its port are refused: %s', (problem, env) => expect(problems(env)).toEqual([problem]))
})

describe('a NATS broker', () => {
  const url = { STORAGE_NATS_URL: 'nats://nats' }

  it('is described by its address alone', () => {
    expect(readConfig(url).nats).toEqual({
      servers: ['nats:4222'],
      requiresTls: false,
      login: undefined,
      credentialsFile: undefined,
      prefix: 'storage',
    } satisfies NatsSettings)
  })

  it.each<[url: string, expected: Partial<NatsSettings>]>([
    ['nats://a:80, nats://[::1]/', { servers: ['a:80', '[::1]:4222'] }],
    ['tls://a,tls://b', { requiresTls: true, servers: ['a:4222', 'b:4222'] }],
    ['nats://me:1%2C%40%3a2@a,nats://me:1%2C%40%3a2@b', { login: { user: 'me', password: '1,@:2' } }],
    ['nats://s3cr%20t@a:4333', { login: { token: 's3cr t' }, servers: ['a:4333'] }],
  ])('is taken from %s', (text, expected) => {
    expect(readConfig({ STORAGE_NATS_URL: text }).nats).toMatchObject(expected)
  })

  it('has its credentials in a file, and a beginning of its subjects', () => {
    const more = { STORAGE_NATS_CREDENTIALS: '/run/secrets/nats.creds', STORAGE_NATS_PREFIX: 'a.b-c' }
    expect(readConfig({ ...url, ...more }).nats).toMatchObject({
      credentialsFile: '/run/secrets/nats.creds',
      prefix: 'a.b-c',
    })
  })

  it.each<[problem: string, env: Record<string, string>]>([
    [
      'STORAGE_NATS_URL must have the same user for each server',
      { STORAGE_NATS_URL: 'nats://me:x@a,nats://b' },
    ],
    ['STORAGE_NATS_URL must be all nats:// or all tls://', { STORAGE_NATS_URL: 'nats://a,tls://b' }],
    ['STORAGE_NATS_CREDENTIALS needs STORAGE_NATS_URL', { STORAGE_NATS_CREDENTIALS: 'x.creds' }],
    [
      'STORAGE_NATS_CREDENTIALS and a user in STORAGE_NATS_URL: only one can be',
      { STORAGE_NATS_URL: 'nats://token@a', STORAGE_NATS_CREDENTIALS: 'x.creds' },
    ],
  ])('is refused: %s', (problem, env) => expect(problems(env)).toEqual([problem]))
})

describe('webhooks in the settings', () => {
  const secret = `whsec_${Buffer.alloc(32, 'k').toString('base64')}`
  const url = 'https://example.com/hook'
  const told = (...webhooks: object[]) => problems({ STORAGE_WEBHOOKS: JSON.stringify(webhooks) })

  it('are described by url and secret alone', () => {
    expect(readConfig({ STORAGE_WEBHOOKS: JSON.stringify([{ url, secret }]) }).webhooks.webhooks).toEqual([
      { url, secret, events: [], bucket: null, format: 'standard', allowPrivate: false },
    ])
  })

  it('or by more', () => {
    const fields = { url: 'http://10.0.0.1/', events: ['storage.object.created'], bucket: 'avatars' }
    const given = { ...fields, format: 'supabase', allow_private: true }
    expect(readConfig({ STORAGE_WEBHOOKS: JSON.stringify([given]) }).webhooks.webhooks).toEqual([
      { ...fields, format: 'supabase', secret: null, allowPrivate: true },
    ])
  })

  it('are refused with all that is wrong with them, and without their secrets', () => {
    const problems = told(
      { url: 'ftp://hunter2', secret: 'hunter 2', events: ['hunter2'], format: 'hunter2' },
      { url: 'https://hunter2:hunter2@example.com', secret, allow_private: 'hunter2', hunter2: true },
      { url, secret: 'hunter2' },
      { url },
      { url: 'http://0x7f.1/', secret },
      { secret },
    )
    expect(problems).toEqual([
      'STORAGE_WEBHOOKS 0/url must be an http or https URL',
      'STORAGE_WEBHOOKS 0/secret must be printable ASCII without spaces',
      expect.stringMatching(/^STORAGE_WEBHOOKS 0\/events\/0 must be one of storage.object.created, /),
      'STORAGE_WEBHOOKS 0/format must be one of standard, supabase',
      'STORAGE_WEBHOOKS 1/url must not hold a user or a password',
      'STORAGE_WEBHOOKS 1/allow_private must be true or false',
      expect.stringMatching(/^STORAGE_WEBHOOKS 1 must have no other fields than url, /),
      'STORAGE_WEBHOOKS 2/secret must be whsec_ and the base64 of 24 to 64 bytes',
      'STORAGE_WEBHOOKS 3/secret must be whsec_ and the base64 of 24 to 64 bytes',
      'STORAGE_WEBHOOKS 4/url must not be a private address, unless allow_private is true',
      'STORAGE_WEBHOOKS 5/url must be a string',
      'STORAGE_WEBHOOKS must not have two webhooks of the same url, bucket and format',
    ])
    expect(problems.join()).not.toContain('hunter2')
  })
})

it('STORAGE_DATABASE_DIRECT_URL goes with DATABASE_URL, as another way to the same database', () => {
  const direct = { STORAGE_DATABASE_DIRECT_URL: 'postgres://db/x' }
  expect(readConfig({ ...direct, DATABASE_URL: 'postgres://pooler/x' })).toMatchObject({
    databaseUrl: 'postgres://pooler/x',
    databaseDirectUrl: 'postgres://db/x',
  })
  expect(problems(direct)).toEqual([
    'STORAGE_DATABASE_DIRECT_URL is another way to the database of DATABASE_URL: set that, too',
  ])
})

describe('a bad value', () => {
  it.each([
    ['STORAGE_HOST', '[::1]', 'must be an address or a name without brackets, scheme or port'],
    ['STORAGE_HOST', '127.0.0.1:80', 'must be an address or a name'],
    ['STORAGE_HOST', 'http://localhost', 'must be an address or a name'],
    ['STORAGE_PORT', '65536', 'must be a whole number from 0 to 65535'],
    ['STORAGE_PORT', '-1', 'must be a whole number'],
    ['STORAGE_PORT', '80.5', 'must be a whole number'],
    ['STORAGE_PORT', '0x50', 'must be a whole number'],
    ['STORAGE_PUBLIC_URL', 'files.example.com', 'must be an http or https URL'],
    ['STORAGE_PUBLIC_URL', 'ftp://files.example.com', 'must be an http or https URL'],
    ['STORAGE_TRUST_PROXY', 'yes', 'must be true or false'],
    ['DATABASE_URL', 'mysql://u:hunter2@db/x', 'must begin with postgres://'],
    ['STORAGE_DATABASE_DIRECT_URL', 'mysql://u:hunter2@db/x', 'must begin with postgres://'],
    ['STORAGE_WORKERS', '0', 'must be auto or a whole number from 1 to 99'],
    ['STORAGE_WORKERS', 'all', 'must be auto or a whole number'],
    ['STORAGE_DATABASE_POOL', '0', 'must be a whole number from 1 to 1000'],
    ['STORAGE_DATABASE_POOL', 'ten', 'must be a whole number'],
    ['STORAGE_DATABASE_SPARE', '-1', 'must be a whole number from 0 to 1000'],
    ['STORAGE_JWT_SECRET', 'hunter2', 'must have at least 32 characters'],
    ['STORAGE_JWKS', '{"keys":[]}', 'must be a JSON Web Key Set'],
    ['STORAGE_JWKS', '{"keys":["hunter2"]}', 'must be a JSON Web Key Set'],
    ['STORAGE_JWKS', 'hunter2', 'must be a JSON Web Key Set'],
    ['STORAGE_JWKS_URL', 'file:///etc/passwd', 'must be an http or https URL'],
    ['STORAGE_SIGNING_SECRET', 'hunter2', 'must have at least 32 characters'],
    ['STORAGE_SIGNING_SECRET_PREVIOUS', 'hunter2', 'must have at least 32 characters'],
    ['STORAGE_BACKEND', 'ftp', 'must be local or s3'],
    ['STORAGE_LIST_TIMEOUT', '0s', 'must be more than 0'],
    ['STORAGE_MAX_SIGNED_EXPIRY', '999ms', 'must be at least 1s'],
    ['STORAGE_MAX_SIGNED_EXPIRY', 'never', 'must be a duration such as 30s, 5m or 1h'],
    ['STORAGE_MAX_FILE_SIZE', '0', 'must be a number of bytes or a size such as 5GB'],
    ['STORAGE_MAX_FILE_SIZE', '5 gigabytes', 'must be a number of bytes'],
    ['STORAGE_INLINE_SIZE', '262145', 'must be at most 262144'],
    ['STORAGE_WEBHOOKS', 'https://hunter2.example', 'must be a JSON array of webhooks'],
    ['STORAGE_WEBHOOKS', '{"url":"https://hunter2.example"}', 'must be a JSON array of webhooks'],
    ['STORAGE_WEBHOOKS', '["hunter2"]', '0 must be an object'],
    ['STORAGE_WEBHOOK_TIMEOUT', '0s', 'must be more than 0'],
    ['STORAGE_WEBHOOK_ATTEMPTS', '0', 'must be a whole number from 1 to 100'],
    ['STORAGE_WEBHOOK_BACKOFF', '5', 'must be a duration such as 30s'],
    ['STORAGE_FSYNC', 'off', 'must be true or false'],
    ['STORAGE_VERIFY_READS', '2', 'must be true or false'],
    ['STORAGE_COMPAT', 'aws', 'must be supabase, or unset'],
    ['STORAGE_USER_BUCKETS', 'on', 'must be true or false'],
    ['STORAGE_DOCUMENTATION', 'off', 'must be true or false'],
    ['STORAGE_CORS_ORIGINS', 'app.example.com', 'must be * or origins such as https://app.example.com'],
    ['STORAGE_CORS_ORIGINS', 'https://a.example,https://b.example/path', 'must be * or origins'],
    ['STORAGE_SHUTDOWN_TIMEOUT', '30', 'must be a duration such as 30s'],
    ['STORAGE_SHUTDOWN_TIMEOUT', '-30s', 'must be a duration'],
    ['STORAGE_CLEANUP_GRACE', '5', 'must be a duration such as 30s, 5m or 1h'],
    ['STORAGE_CLEANUP_BATCH', '0', 'must be a whole number from 1'],
    ['STORAGE_CLEANUP_MAX_SHARE', '1.5', 'must be a number from 0 to 1'],
    ['STORAGE_CLEANUP_MAX_SHARE', '10%', 'must be a number from 0 to 1'],
    ['STORAGE_NATS_URL', 'http://nats:4222', 'must be nats://host:4222 or tls://host:4222'],
    ['STORAGE_NATS_URL', 'nats:4222', 'must be nats://host:4222'],
    ['STORAGE_NATS_URL', 'nats://me:hunter2@', 'must be nats://host:4222'],
    ['STORAGE_NATS_URL', 'nats://me:hunter2%@nats', 'must be nats://host:4222'],
    ['STORAGE_NATS_URL', 'nats://me:hunter2@nats,x', 'must be nats://host:4222'],
    ['STORAGE_NATS_URL', 'nats://nats:99999', 'must be nats://host:4222'],
    ['STORAGE_NATS_PREFIX', 'storage.*', 'must be a subject such as storage or files.storage'],
    ['STORAGE_NATS_PREFIX', 'storage.', 'must be a subject'],
    ['STORAGE_LOG_LEVEL', 'loud', 'must be one of fatal, error, warn, info, debug, trace, silent'],
  ])('%s=%s is refused in a sentence that names it and does not repeat it', (name, text, sentence) => {
    const [problem, ...others] = problems({ [name]: text })
    expect(problem?.slice(0, name.length + 1 + sentence.length)).toBe(`${name} ${sentence}`)
    expect(problem).not.toContain('hunter2')
    expect(others).toEqual([])
  })

  it('is told together with all the others', () => {
    const bad = { STORAGE_PORT: 'x', STORAGE_FSYNC: 'x', STORAGE_JWT_SECRET: 'x', STORAGE_LOG_LEVEL: 'x' }
    const told = problems({ ...bad, STORAGE_TYPO: 'x', STORAGE_HOST: '::1' })
    expect(told.map((problem) => problem.split(' ')[0]).sort()).toEqual(
      [...Object.keys(bad), 'STORAGE_TYPO'].sort(),
    )
  })

  it.each([
    ['STORAGE_PROT', ': STORAGE_PORT is'],
    ['STORAGE_port', ': STORAGE_PORT is'],
    ['STORAGE_', ''],
    ['STORAGE_JWT_SECRETS', ': STORAGE_JWT_SECRET is'],
  ])('is also one for %s, which is no setting: a misspelt one would silently do nothing', (name, meant) =>
    expect(problems({ [name]: '8000' })).toEqual([`${name} is not a setting${meant}`]),
  )
})

describe('a size', () => {
  const read = (text: string) => {
    const [problem] = problems({ STORAGE_MAX_FILE_SIZE: text })
    return problem === undefined ? readConfig({ STORAGE_MAX_FILE_SIZE: text }).maxFileSize : null
  }
  const UNITS = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9 } as const
  const unit = fc.constantFrom(...(Object.keys(UNITS) as (keyof typeof UNITS)[]))

  it('in plain digits is that many bytes, exactly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999_999_999_999_999 }), (bytes) => {
        expect(read(String(bytes))).toBe(bytes)
      }),
    )
  })

  it('with a unit is a decimal multiple, in any case, with or without a space', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 999 }),
        unit,
        fc.boolean(),
        fc.constantFrom('', ' '),
        (n, u, low, gap) => {
          expect(read(`${n}${gap}${low ? u.toLowerCase() : u}`)).toBe(n * UNITS[u])
        },
      ),
    )
  })

  it('with a unit keeps three significant digits: never off by more than half a percent', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8_000_000 }),
        fc.integer({ min: 0, max: 99 }),
        unit,
        (n, rest, u) => {
          const exact = Number(`${n}.${rest}`) * UNITS[u]
          const bytes = read(`${n}.${rest}${u}`)
          expect(Number.isSafeInteger(bytes)).toBe(true)
          expect(Math.abs((bytes ?? 0) - exact)).toBeLessThanOrEqual(exact * 0.005 + 0.5)
        },
      ),
    )
  })

  it('is refused when it is anything else', () => {
    const looksRight = /^\d{1,15}(\.\d{1,15})?\s*([kmg]?b)$|^\d{1,15}$/i
    const junk = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.stringMatching(/^[-+.\d eEkKmMgGtTbBiI]{1,12}$/),
      fc.constantFrom('5GiB', '1e9', '5,5MB', '1_000', '٥MB', '5MB5', 'Infinity', 'NaN', '0.0GB'),
    )
    fc.assert(
      fc.property(junk, (text) => {
        fc.pre(!looksRight.test(text) || Number.parseFloat(text) === 0)
        expect(read(text)).toBeNull()
      }),
    )
  })
})
