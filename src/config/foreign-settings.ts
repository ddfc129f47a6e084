import { nearest } from '../lib/nearest.ts'

/**
 * What a variable of another server of this kind is called here; or, where there is no `ours`, why there is no such setting.
 * Supabase's are those of its self-hosting guide and its docker-compose file.
 */
export interface Counterpart {
  ours?: string
  /** A sentence's end: behind `ours` about the value, else why nothing is needed. */
  note?: string
  /** The text that ours wants; undefined for one that nothing corresponds to. The same text if left out. */
  translate?(text: string): string | undefined
}

const as = (ours: string, more: Omit<Counterpart, 'ours'> = {}): Counterpart => ({ ours, ...more })
const needless = (note: string): Counterpart => ({ note })

const BACKEND_NAMES: Record<string, string> = {
  file: 'local',
  files: 'local',
  filesystem: 'local',
  fs: 'local',
  disk: 'local',
  minio: 's3',
  aws: 's3',
  'aws-s3': 's3',
  r2: 's3',
}

/** Supabase's example files have this word where nothing is meant. */
const realBucket = (text: string) => (text === 'stub' ? undefined : text)

const milliseconds = (text: string) => (/^\d+$/.test(text) ? `${text}ms` : undefined)
const seconds = (text: string) => (/^\d+$/.test(text) ? `${text}s` : text)
const megabytes = (text: string) => (/^\d+$/.test(text) ? `${text}MB` : undefined)

const KEYS = needless(
  'anon and service keys are tokens that STORAGE_JWT_SECRET has signed: with the same secret they go on to work',
)
const NO_IMAGES = needless('images are served as they are stored; they are not resized yet')
const ONE_PROJECT = needless('one server is one project')
const NO_REDIS = needless('what servers have to know of each other is in PostgreSQL')
const OF_THE_URL = needless('it is a part of DATABASE_URL')
const BY_CHAIN = needless('it is read as it is, where STORAGE_S3_ACCESS_KEY is not set')
const OWN_LAYOUT = as('STORAGE_DATA_DIR', {
  note: 'what lies in the folder of another server is not taken over: upload it, or use an S3 client',
})

/** By other servers' names. */
export const FOREIGN_SETTINGS: Readonly<Record<string, Counterpart>> = {
  // Supabase's, and what its files have besides.
  ANON_KEY: KEYS,
  SERVICE_KEY: KEYS,
  SERVICE_ROLE_KEY: KEYS,
  SUPABASE_ANON_KEY: KEYS,
  SUPABASE_SERVICE_KEY: KEYS,
  SUPABASE_PUBLISHABLE_KEY: as('STORAGE_PUBLISHABLE_KEYS'),
  SUPABASE_SECRET_KEY: as('STORAGE_SECRET_KEYS'),
  PGRST_JWT_SECRET: as('STORAGE_JWT_SECRET'),
  AUTH_JWT_SECRET: as('STORAGE_JWT_SECRET'),
  JWT_SECRET: as('STORAGE_JWT_SECRET'),
  AUTH_JWT_ALGORITHM: needless('HS256 goes with STORAGE_JWT_SECRET, and others with STORAGE_JWKS'),
  JWT_JWKS: as('STORAGE_JWKS'),
  FILE_SIZE_LIMIT: as('STORAGE_MAX_FILE_SIZE'),
  UPLOAD_FILE_SIZE_LIMIT: as('STORAGE_MAX_FILE_SIZE'),
  UPLOAD_FILE_SIZE_LIMIT_STANDARD: needless('STORAGE_MAX_FILE_SIZE is for uploads of all kinds'),
  FILE_STORAGE_BACKEND_PATH: OWN_LAYOUT,
  STORAGE_FILE_BACKEND_PATH: OWN_LAYOUT,
  TENANT_ID: ONE_PROJECT,
  IS_MULTITENANT: ONE_PROJECT,
  MULTI_TENANT: ONE_PROJECT,
  REGION: as('STORAGE_S3_REGION', { translate: realBucket }),
  GLOBAL_S3_BUCKET: as('STORAGE_S3_BUCKET', { translate: realBucket }),
  GLOBAL_S3_ENDPOINT: as('STORAGE_S3_ENDPOINT'),
  GLOBAL_S3_FORCE_PATH_STYLE: as('STORAGE_S3_FORCE_PATH_STYLE'),
  GLOBAL_S3_PROTOCOL: needless('it is a part of STORAGE_S3_ENDPOINT'),
  STORAGE_S3_MAX_SOCKETS: as('STORAGE_S3_CONNECTIONS'),
  S3_PROTOCOL_ACCESS_KEY_ID: as('STORAGE_S3_PROTOCOL_ACCESS_KEY_ID'),
  S3_PROTOCOL_ACCESS_KEY_SECRET: as('STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET'),
  S3_PROTOCOL_PREFIX: needless('S3 clients find it at /storage/v1/s3, and at a port of its own'),
  AWS_ACCESS_KEY_ID: BY_CHAIN,
  AWS_SECRET_ACCESS_KEY: BY_CHAIN,
  AWS_DEFAULT_REGION: as('STORAGE_S3_REGION'),
  AWS_REGION: as('STORAGE_S3_REGION'),
  TUS_URL_PATH: needless('resumable uploads are at /storage/v1/upload/resumable'),
  TUS_URL_EXPIRY_MS: as('STORAGE_TUS_EXPIRY', { translate: milliseconds }),
  SIGNED_UPLOAD_URL_EXPIRATION_TIME: needless('the URL of a signed upload works for two hours'),
  ENABLE_IMAGE_TRANSFORMATION: NO_IMAGES,
  IMAGE_TRANSFORMATION_ENABLED: NO_IMAGES,
  IMGPROXY_URL: NO_IMAGES,
  IMGPROXY_REQUEST_TIMEOUT: NO_IMAGES,
  POSTGREST_URL: needless('PostgreSQL is asked without anything in between'),
  SUPABASE_PUBLIC_URL: as('STORAGE_PUBLIC_URL'),
  REQUEST_ALLOW_X_FORWARDED_PATH: as('STORAGE_TRUST_PROXY'),
  DATABASE_POOL_URL: needless(
    'DATABASE_URL may lead through a pooler; then set STORAGE_DATABASE_DIRECT_URL, too',
  ),
  DATABASE_MAX_CONNECTIONS: as('STORAGE_DATABASE_POOL'),
  DB_INSTALL_ROLES: needless('roles are made by the migrations if they are missing'),
  POSTGRES_HOST: OF_THE_URL,
  POSTGRES_PORT: OF_THE_URL,
  POSTGRES_DB: OF_THE_URL,
  POSTGRES_USER: OF_THE_URL,
  POSTGRES_PASSWORD: OF_THE_URL,
  SERVER_HOST: as('STORAGE_HOST'),
  SERVER_PORT: as('STORAGE_PORT'),
  LOG_LEVEL: as('STORAGE_LOG_LEVEL'),

  // Of services that have this prefix as well.
  STORAGE_ENABLED: needless('what is started is on'),
  STORAGE_TYPE: as('STORAGE_BACKEND', { translate: backendName }),
  STORAGE_DRIVER: as('STORAGE_BACKEND', { translate: backendName }),
  STORAGE_PROVIDER: as('STORAGE_BACKEND', { translate: backendName }),
  STORAGE_BACKEND_TYPE: as('STORAGE_BACKEND', { translate: backendName }),
  STORAGE_PATH: OWN_LAYOUT,
  STORAGE_ROOT: OWN_LAYOUT,
  STORAGE_DIR: OWN_LAYOUT,
  STORAGE_LOCAL_PATH: OWN_LAYOUT,
  STORAGE_BASE_PATH: OWN_LAYOUT,
  STORAGE_TEMP_DIR: needless('bytes are written where they stay, below STORAGE_DATA_DIR'),
  STORAGE_URL: as('STORAGE_PUBLIC_URL'),
  STORAGE_BASE_URL: as('STORAGE_PUBLIC_URL'),
  STORAGE_EXTERNAL_URL: as('STORAGE_PUBLIC_URL'),
  STORAGE_MAX_UPLOAD_SIZE: as('STORAGE_MAX_FILE_SIZE'),
  STORAGE_MAX_UPLOAD_SIZE_MB: as('STORAGE_MAX_FILE_SIZE', { translate: megabytes }),
  STORAGE_MAX_FILE_SIZE_MB: as('STORAGE_MAX_FILE_SIZE', { translate: megabytes }),
  STORAGE_FILE_SIZE_LIMIT: as('STORAGE_MAX_FILE_SIZE'),
  STORAGE_UPLOAD_LIMIT: as('STORAGE_MAX_FILE_SIZE'),
  STORAGE_ALLOWED_MIME_TYPES: needless('each bucket has its own: allowed_mime_types'),
  STORAGE_ALLOWED_TYPES: needless('each bucket has its own: allowed_mime_types'),
  STORAGE_DATABASE_URL: as('DATABASE_URL'),
  STORAGE_DB_URL: as('DATABASE_URL'),
  STORAGE_POSTGRES_URL: as('DATABASE_URL'),
  STORAGE_REDIS_URL: NO_REDIS,
  STORAGE_REDIS_HOST: NO_REDIS,
  STORAGE_CACHE_TTL: needless(
    'what is in memory is never out of date; STORAGE_CACHE_SIZE is how much of it there may be',
  ),
  STORAGE_ANON_KEY: KEYS,
  STORAGE_SERVICE_KEY: KEYS,
  STORAGE_SERVICE_ROLE_KEY: KEYS,
  STORAGE_JWT_KEY: as('STORAGE_JWT_SECRET'),
  STORAGE_AUTH_JWT_SECRET: as('STORAGE_JWT_SECRET'),
  STORAGE_JWKS_URI: as('STORAGE_JWKS_URL'),
  STORAGE_BUCKET: as('STORAGE_S3_BUCKET'),
  STORAGE_BUCKET_NAME: as('STORAGE_S3_BUCKET'),
  STORAGE_REGION: as('STORAGE_S3_REGION'),
  STORAGE_ENDPOINT: as('STORAGE_S3_ENDPOINT'),
  STORAGE_ACCESS_KEY: as('STORAGE_S3_ACCESS_KEY'),
  STORAGE_SECRET_KEY: as('STORAGE_S3_SECRET_KEY'),
  STORAGE_S3_BUCKET_NAME: as('STORAGE_S3_BUCKET'),
  STORAGE_S3_ENDPOINT_URL: as('STORAGE_S3_ENDPOINT'),
  STORAGE_S3_URL: as('STORAGE_S3_ENDPOINT'),
  STORAGE_S3_HOST: as('STORAGE_S3_ENDPOINT', { note: 'as a URL' }),
  STORAGE_S3_ACCESS_KEY_ID: as('STORAGE_S3_ACCESS_KEY'),
  STORAGE_S3_ACCESS_KEY_SECRET: as('STORAGE_S3_SECRET_KEY'),
  STORAGE_S3_SECRET_ACCESS_KEY: as('STORAGE_S3_SECRET_KEY'),
  STORAGE_S3_SECRET: as('STORAGE_S3_SECRET_KEY'),
  STORAGE_S3_USE_PATH_STYLE: as('STORAGE_S3_FORCE_PATH_STYLE'),
  STORAGE_S3_PATH_STYLE: as('STORAGE_S3_FORCE_PATH_STYLE'),
  STORAGE_S3_USE_SSL: needless('it is the scheme of STORAGE_S3_ENDPOINT'),
  STORAGE_S3_SECURE: needless('it is the scheme of STORAGE_S3_ENDPOINT'),
  STORAGE_S3_PUBLIC_URL: as('STORAGE_S3_PUBLIC_ENDPOINT'),
  STORAGE_MINIO_ENDPOINT: as('STORAGE_S3_ENDPOINT', { note: 'as a URL' }),
  STORAGE_MINIO_ACCESS_KEY: as('STORAGE_S3_ACCESS_KEY'),
  STORAGE_MINIO_SECRET_KEY: as('STORAGE_S3_SECRET_KEY'),
  STORAGE_MINIO_BUCKET: as('STORAGE_S3_BUCKET'),
  STORAGE_SIGNED_URL_EXPIRY: needless(
    'who asks for a signed URL says how long it holds, up to STORAGE_MAX_SIGNED_EXPIRY',
  ),
  STORAGE_PRESIGNED_URL_EXPIRY: needless(
    'who asks for a signed URL says how long it holds, up to STORAGE_MAX_SIGNED_EXPIRY',
  ),
  STORAGE_CORS_ORIGIN: as('STORAGE_CORS_ORIGINS'),
  STORAGE_CORS_ALLOWED_ORIGINS: as('STORAGE_CORS_ORIGINS'),
  STORAGE_ALLOWED_ORIGINS: as('STORAGE_CORS_ORIGINS'),
  STORAGE_CLEANUP_INTERVAL_SECONDS: as('STORAGE_CLEANUP_INTERVAL', { translate: seconds }),
  STORAGE_RATE_LIMIT: as('STORAGE_RATE_LIMIT_READ', {
    note: 'and _WRITE, _SIGN, _ADMIN, each as requests in seconds: 100/10',
    translate: () => undefined,
  }),
  STORAGE_LOGLEVEL: as('STORAGE_LOG_LEVEL'),
}

/** What other servers call the two backends. */
export function backendName(text: string): string | undefined {
  return Object.hasOwn(BACKEND_NAMES, text.toLowerCase()) ? BACKEND_NAMES[text.toLowerCase()] : undefined
}

/** Undefined for a name that nobody is known to have. */
export function counterpartOf(name: string): Counterpart | undefined {
  return Object.hasOwn(FOREIGN_SETTINGS, name) ? FOREIGN_SETTINGS[name] : undefined
}

/** The end of a sentence that says what to set instead. */
export function sayCounterpart({ ours, note }: Counterpart): string {
  if (ours === undefined) return note ?? 'it is not needed'
  return `here it is ${ours}${note === undefined ? '' : `: ${note}`}`
}

const PREFIX = 'STORAGE_'

/** What is wrong with a `STORAGE_…` that is none of ours, and what was meant, if that can be told. @param known names of ours */
export function sayUnknown(name: string, known: readonly string[]): string {
  const counterpart = counterpartOf(name)
  if (counterpart) return `${name} is not a setting: ${sayCounterpart(counterpart)}`
  // What all have in common makes none of them more alike.
  const rest = (of: string) => of.slice(PREFIX.length)
  const meant = nearest(rest(name), known.filter((one) => one.startsWith(PREFIX)).map(rest))
  return `${name} is not a setting${meant === undefined ? '' : `: ${PREFIX}${meant} is`}`
}
