import { z } from 'zod'
import { type BackupSettings, backupContradictions, backupSettings } from './backup.ts'
import { type ConsulSettings, consulContradictions, consulSettings } from './consul.ts'
import { backendName, sayUnknown } from './foreign-settings.ts'
import { metricsContradictions } from './metrics.ts'
import { type NatsSettings, natsContradictions, natsSettings } from './nats.ts'
import {
  largestS3Object,
  type S3Access,
  type S3Settings,
  s3Access,
  s3Contradictions,
  s3Settings,
} from './s3.ts'
import { type S3ProtocolSettings, s3ProtocolContradictions, s3ProtocolSettings } from './s3-protocol.ts'
import { placeValues, settingsIn, type ValuesOf } from './setting.ts'
import { type BACKENDS, SETTINGS_TABLE, type SNIFF_MODES } from './table.ts'
import { type TracingSettings, tracingContradictions, tracingSettings } from './tracing.ts'

/** Everything the environment can say, read once. What is not said here is as the table has it. */
export interface Config
  extends Omit<
    Values,
    'maxSignedExpiryMs' | 'sniff' | 's3' | 's3Protocol' | 'consul' | 'nats' | 'backup' | 'traces' | 'compat'
  > {
  maxSignedExpiryMs: number
  sniff: SniffMode
  /** Present when STORAGE_S3_BUCKET is. */
  s3: S3Settings | undefined
  /** There without a bucket, too. */
  s3Access: S3Access
  s3Protocol: S3ProtocolSettings
  /** Present when STORAGE_CONSUL_URL is. */
  consul: ConsulSettings | undefined
  /** Present when STORAGE_NATS_URL is. */
  nats: NatsSettings | undefined
  backup: BackupSettings
  /** Present when OTEL_EXPORTER_OTLP_ENDPOINT is, and nothing says that it is not for us. */
  traces: TracingSettings | undefined
  /** Whether the wire is exactly Supabase's. */
  supabaseCompat: boolean
}

export type BackendKind = (typeof BACKENDS)[number]

/** Whether the first bytes of an upload have a say in what its type is (decision 0069). */
export type SniffMode = (typeof SNIFF_MODES)[number]

type Values = ValuesOf<typeof SETTINGS_TABLE>

const YEAR_MS = 365 * 86_400_000

/** One or more settings are wrong. Each problem is a sentence that names its variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  constructor(readonly problems: string[]) {
    super(problems.join('\n'))
  }
}

const schemas = Object.fromEntries(
  settingsIn(SETTINGS_TABLE).map(({ variable, schema }) => [variable, schema]),
)

/** The names of all settings. */
export const SETTINGS = Object.keys(schemas)

/**
 * Reads all settings from `env`; a variable that is absent or empty takes its default.
 *
 * @throws ConfigError naming every bad value at once
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ''),
  )
  const parsed = z.object(schemas).safeParse(given)
  const problems =
    parsed.error?.issues.map(({ path, message }) => problemOf(path.join('.'), message, given)) ?? []
  for (const name of Object.keys(given)) {
    // A misspelt setting that silently does nothing is worse than a refusal to start.
    if (name.startsWith('STORAGE_') && !(name in schemas)) problems.push(sayUnknown(name, SETTINGS))
  }
  if (!parsed.success) throw new ConfigError(problems)
  const { compat, ...values } = placeValues(SETTINGS_TABLE, parsed.data)
  problems.push(...contradictions(values))
  if (problems.length > 0) throw new ConfigError(problems)
  return {
    ...values,
    maxSignedExpiryMs: values.maxSignedExpiryMs ?? (compat ? 10 : 1) * YEAR_MS,
    sniff: values.sniff ?? (compat ? 'off' : 'missing'),
    s3: s3Settings(values.s3),
    s3Access: s3Access(values.s3),
    s3Protocol: s3ProtocolSettings(values.s3Protocol),
    consul: consulSettings(values.consul),
    nats: natsSettings(values.nats),
    backup: backupSettings(values.backup, values.dataDir),
    traces: tracingSettings(values.traces),
    supabaseCompat: compat === 'supabase',
  }
}

/** With what another server's word for a backend is called here. */
function problemOf(name: string, message: string, given: Record<string, string | undefined>): string {
  const isBackend = name === 'STORAGE_BACKEND' || name === 'STORAGE_BACKEND_PREVIOUS'
  const meant = isBackend ? backendName(given[name] ?? '') : undefined
  return `${name} ${message}${meant === undefined ? '' : `: what is meant is ${meant} here`}`
}

/** What is wrong with settings that are each right by themselves. */
function contradictions(values: Omit<Values, 'compat'>): string[] {
  const problems: string[] = []
  if (values.backend === values.backendPrevious) {
    problems.push('STORAGE_BACKEND_PREVIOUS must be another one than STORAGE_BACKEND')
  }
  if (values.databaseDirectUrl !== undefined && values.databaseUrl === undefined) {
    problems.push('STORAGE_DATABASE_DIRECT_URL is another way to the database of DATABASE_URL: set that, too')
  }
  const usesS3 = values.backend === 's3' || values.backendPrevious === 's3'
  if (usesS3 && values.s3.bucket === undefined) problems.push('STORAGE_S3_BUCKET is needed for S3')
  if (usesS3 && values.maxFileSize > largestS3Object(values.s3)) {
    problems.push(
      'STORAGE_MAX_FILE_SIZE needs a larger STORAGE_S3_PART_SIZE: an object has at most 10000 parts',
    )
  }
  problems.push(
    ...s3Contradictions(values.s3),
    ...s3ProtocolContradictions(values.s3Protocol, values.port),
    ...consulContradictions(values.consul),
    ...metricsContradictions(values.metrics, values.port),
    ...natsContradictions(values.nats),
    ...backupContradictions(values.backup, values.databaseUrl),
    ...tracingContradictions(values.traces),
  )
  if (values.s3.redirect && values.verifyReads) {
    problems.push('STORAGE_S3_REDIRECT sends bytes past STORAGE_VERIFY_READS: only one can be true')
  }
  return problems
}
