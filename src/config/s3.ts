import { z } from 'zod'
import { byteSize, duration, flag, integer, keyPrefix, webUrl } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** An S3-compatible store, and how it is talked to. */
export interface S3Settings extends Omit<Values, Derived> {
  bucket: string
  /** Absent: the SDK's default chain, such as AWS_… variables or the machine's role. */
  credentials: { accessKey: string; secretKey: string } | undefined
  forcePathStyle: boolean
  /** On Amazon all by default, elsewhere only where the operation needs one, as some stores refuse them. */
  requestChecksum: 'when_supported' | 'when_required'
  /** Present when large downloads are sent to the store. */
  redirect: { minSize: number; publicEndpoint: string | undefined } | undefined
}

/** How stores are talked to: that of the objects, and those of backups, which have buckets and prefixes of their own. */
export type S3Access = Omit<S3Settings, 'bucket' | 'prefix'>

/** What is another thing here than in the table. */
type Derived =
  | 'bucket'
  | 'accessKey'
  | 'secretKey'
  | 'forcePathStyle'
  | 'requestChecksum'
  | 'redirect'
  | 'redirectMinSize'
  | 'publicEndpoint'

/** What S3 takes for a part that is not the last one is 5 MiB; more than the other costs too much memory. In bytes. */
export const MIN_PART = 5 * 1024 * 1024
const MAX_PART = 512_000_000

/** Most parts of one object on S3. */
export const MAX_PARTS = 10_000

const PART_SIZE = 6 * 1024 * 1024
const BUFFER_SIZE = 64 * 1024 * 1024

export const S3_TABLE = {
  bucket: setting('STORAGE_S3_BUCKET', z.string(), {
    help: "the store's bucket; make it first",
    example: 'strongroom',
  }),
  endpoint: setting('STORAGE_S3_ENDPOINT', webUrl, {
    shown: 'Amazon S3',
    help: "the store's address, such as `https://s3.example.com`",
    example: 'https://s3.example.com',
  }),
  region: setting('STORAGE_S3_REGION', z.string(), { preset: 'us-east-1', help: "the store's region" }),
  prefix: setting('STORAGE_S3_PREFIX', keyPrefix, {
    preset: '',
    shown: '–',
    help: 'before every key, such as `strongroom/`',
    example: 'strongroom/',
  }),
  accessKey: setting('STORAGE_S3_ACCESS_KEY', z.string(), {
    shown: "the SDK's chain",
    help: "without it and the next: `AWS_…` variables, shared files, the machine's role",
  }),
  secretKey: setting('STORAGE_S3_SECRET_KEY', z.string(), {
    shown: "the SDK's chain",
    help: 'goes with the one before',
  }),
  forcePathStyle: setting('STORAGE_S3_FORCE_PATH_STYLE', flag, {
    shown: '`true` with an endpoint',
    help: "the bucket in the path, not in the host's name",
    example: 'true',
  }),
  requestChecksum: setting(
    'STORAGE_S3_REQUEST_CHECKSUM',
    z.enum(['when_supported', 'when_required'], 'must be when_supported or when_required'),
    {
      shown: '`when_required`; Amazon: `when_supported`',
      help: "the store's own SHA-256 checksums, which some stores refuse",
      example: 'when_required',
    },
  ),
  connections: setting('STORAGE_S3_CONNECTIONS', integer(1, 10_000), {
    preset: '128',
    help: 'most connections for large downloads, as many for uploads, for parts that pass, and for all else',
  }),
  connectTimeoutMs: setting('STORAGE_S3_CONNECT_TIMEOUT', duration, {
    preset: '5s',
    help: 'to get a connection',
  }),
  timeoutMs: setting('STORAGE_S3_TIMEOUT', duration, {
    preset: '30s',
    help: 'of silence from the store before a request counts as failed',
  }),
  attempts: setting('STORAGE_S3_ATTEMPTS', integer(1, 20), {
    preset: '4',
    help: 'how often a request is tried in all, with growing random pauses',
  }),
  /** A chunk of a resumable upload. */
  partSize: setting(
    'STORAGE_S3_PART_SIZE',
    byteSize.refine((bytes) => bytes >= MIN_PART && bytes <= MAX_PART, 'must be from 5.25MB to 512MB'),
    {
      preset: String(PART_SIZE),
      shown: '6 MiB',
      help:
        'parts of multipart uploads; an object has at most 10 000. Chunks of resumable uploads of this size, as ' +
        "Supabase's clients send them, take the fewest requests",
    },
  ),
  parallelParts: setting('STORAGE_S3_PARALLEL_PARTS', integer(1, 100), {
    preset: '4',
    help: 'parts of one upload that are sent at once',
  }),
  bufferSize: setting('STORAGE_S3_BUFFER', byteSize, {
    preset: String(BUFFER_SIZE),
    shown: '64 MiB',
    help: 'memory for parts, of all uploads together; what finds none waits in `storage-data/spool`',
  }),
  redirect: setting('STORAGE_S3_REDIRECT', flag, {
    preset: 'false',
    help: 'answer large downloads with a redirect to the store',
  }),
  redirectMinSize: setting('STORAGE_S3_REDIRECT_MIN_SIZE', byteSize, {
    preset: '1MB',
    help: 'from this size on',
  }),
  publicEndpoint: setting('STORAGE_S3_PUBLIC_ENDPOINT', webUrl, {
    shown: 'the endpoint',
    help: 'where clients reach the store',
    example: 'https://s3.example.com',
  }),
}

type Values = ValuesOf<typeof S3_TABLE>

/** What is wrong with settings that are each right by themselves. */
export function s3Contradictions({ accessKey, secretKey, bufferSize, partSize }: Values): string[] {
  const problems: string[] = []
  if ((accessKey === undefined) !== (secretKey === undefined)) {
    problems.push('STORAGE_S3_ACCESS_KEY and STORAGE_S3_SECRET_KEY go together')
  }
  if (bufferSize < 2 * partSize) {
    problems.push('STORAGE_S3_BUFFER must be at least twice STORAGE_S3_PART_SIZE')
  }
  return problems
}

/** In bytes. */
export function largestS3Object({ partSize }: Values): number {
  return partSize * MAX_PARTS
}

export function s3Settings(values: Values): S3Settings | undefined {
  const { bucket, prefix } = values
  return bucket === undefined ? undefined : { ...s3Access(values), bucket, prefix }
}

export function s3Access(values: Values): S3Access {
  const { bucket: _, prefix: __, ...ofAll } = values
  const { accessKey, secretKey, redirect, redirectMinSize, publicEndpoint, ...rest } = ofAll
  const isAmazon = values.endpoint === undefined
  return {
    ...rest,
    credentials: accessKey !== undefined && secretKey !== undefined ? { accessKey, secretKey } : undefined,
    forcePathStyle: values.forcePathStyle ?? !isAmazon,
    requestChecksum: values.requestChecksum ?? (isAmazon ? 'when_supported' : 'when_required'),
    redirect: redirect ? { minSize: redirectMinSize, publicEndpoint } : undefined,
  }
}
