import { z } from 'zod'
import { byteSize, duration, flag, integer, keyPrefix, webUrl } from './fields.ts'

/** An S3-compatible store, and how it is talked to. */
export interface S3Settings {
  /** Base URL; Amazon's for the region when absent. STORAGE_S3_ENDPOINT. */
  endpoint: string | undefined
  /** STORAGE_S3_REGION, us-east-1. */
  region: string
  /** STORAGE_S3_BUCKET. */
  bucket: string
  /** Before every key; empty, or ends with a slash. STORAGE_S3_PREFIX. */
  prefix: string
  /** Absent: the SDK's default chain, such as AWS_… variables or the machine's role. STORAGE_S3_ACCESS_KEY, _SECRET_KEY. */
  credentials: { accessKey: string; secretKey: string } | undefined
  /** Whether the bucket is in the path rather than in the host. STORAGE_S3_FORCE_PATH_STYLE, true with an endpoint. */
  forcePathStyle: boolean
  /**
   * Whether checksums beyond the signature are sent: on Amazon by default, elsewhere only where the operation needs
   * one, as some stores refuse them. STORAGE_S3_REQUEST_CHECKSUM.
   */
  requestChecksum: 'when_supported' | 'when_required'
  /** Most connections for large downloads, as many for uploads and as many for all else. STORAGE_S3_CONNECTIONS, 128. */
  connections: number
  /** How long to wait for a connection, a free one or a new one, in milliseconds. STORAGE_S3_CONNECT_TIMEOUT, 5s. */
  connectTimeoutMs: number
  /** How long the store may be silent, in milliseconds. STORAGE_S3_TIMEOUT, 30s. */
  timeoutMs: number
  /** How often a request is tried in all. STORAGE_S3_ATTEMPTS, 4. */
  attempts: number
  /** Length of the parts of a multipart upload, in bytes. STORAGE_S3_PART_SIZE, 6 MiB: a chunk of a resumable upload. */
  partSize: number
  /** How many parts of one upload are sent at once. STORAGE_S3_PARALLEL_PARTS, 4. */
  parallelParts: number
  /** Memory for parts, of all uploads together, in bytes; more are kept on the disk. STORAGE_S3_BUFFER, 64 MiB. */
  bufferSize: number
  /** Present when large downloads are sent to the store. STORAGE_S3_REDIRECT. */
  redirect:
    | {
        /** From this length on, in bytes. STORAGE_S3_REDIRECT_MIN_SIZE, 1 MB. */
        minSize: number
        /** Where clients reach the store; the endpoint when absent. STORAGE_S3_PUBLIC_ENDPOINT. */
        publicEndpoint: string | undefined
      }
    | undefined
}

/** What S3 takes for a part that is not the last one is 5 MiB; more than the other costs too much memory. In bytes. */
const MIN_PART = 5 * 1024 * 1024
const MAX_PART = 512_000_000

/** Most parts of one object on S3. */
export const MAX_PARTS = 10_000

export const s3Fields = {
  STORAGE_S3_ENDPOINT: webUrl.optional(),
  STORAGE_S3_REGION: z.string().default('us-east-1'),
  STORAGE_S3_BUCKET: z.string().optional(),
  STORAGE_S3_PREFIX: keyPrefix.default(''),
  STORAGE_S3_ACCESS_KEY: z.string().optional(),
  STORAGE_S3_SECRET_KEY: z.string().optional(),
  STORAGE_S3_FORCE_PATH_STYLE: flag.optional(),
  STORAGE_S3_REQUEST_CHECKSUM: z
    .enum(['when_supported', 'when_required'], 'must be when_supported or when_required')
    .optional(),
  STORAGE_S3_CONNECTIONS: integer(1, 10_000).default(128),
  STORAGE_S3_CONNECT_TIMEOUT: duration.default(5000),
  STORAGE_S3_TIMEOUT: duration.default(30_000),
  STORAGE_S3_ATTEMPTS: integer(1, 20).default(4),
  STORAGE_S3_PART_SIZE: byteSize
    .refine((bytes) => bytes >= MIN_PART && bytes <= MAX_PART, 'must be from 5.25MB to 512MB')
    .default(6 * 1024 * 1024),
  STORAGE_S3_PARALLEL_PARTS: integer(1, 100).default(4),
  STORAGE_S3_BUFFER: byteSize.default(64 * 1024 * 1024),
  STORAGE_S3_REDIRECT: flag.default(false),
  STORAGE_S3_REDIRECT_MIN_SIZE: byteSize.default(1_000_000),
  STORAGE_S3_PUBLIC_ENDPOINT: webUrl.optional(),
}

const schema = z.object(s3Fields)
type Values = z.infer<typeof schema>

/** What is wrong with settings that are each right by themselves. */
export function s3Contradictions(v: Values): string[] {
  const problems: string[] = []
  if ((v.STORAGE_S3_ACCESS_KEY === undefined) !== (v.STORAGE_S3_SECRET_KEY === undefined)) {
    problems.push('STORAGE_S3_ACCESS_KEY and STORAGE_S3_SECRET_KEY go together')
  }
  if (v.STORAGE_S3_BUFFER < 2 * v.STORAGE_S3_PART_SIZE) {
    problems.push('STORAGE_S3_BUFFER must be at least twice STORAGE_S3_PART_SIZE')
  }
  return problems
}

/** In bytes. */
export function largestS3Object(v: Values): number {
  return v.STORAGE_S3_PART_SIZE * MAX_PARTS
}

export function s3Settings(v: Values): S3Settings | undefined {
  if (v.STORAGE_S3_BUCKET === undefined) return undefined
  const { STORAGE_S3_ACCESS_KEY: accessKey, STORAGE_S3_SECRET_KEY: secretKey } = v
  const isAmazon = v.STORAGE_S3_ENDPOINT === undefined
  return {
    endpoint: v.STORAGE_S3_ENDPOINT,
    region: v.STORAGE_S3_REGION,
    bucket: v.STORAGE_S3_BUCKET,
    prefix: v.STORAGE_S3_PREFIX,
    credentials: accessKey !== undefined && secretKey !== undefined ? { accessKey, secretKey } : undefined,
    forcePathStyle: v.STORAGE_S3_FORCE_PATH_STYLE ?? !isAmazon,
    requestChecksum: v.STORAGE_S3_REQUEST_CHECKSUM ?? (isAmazon ? 'when_supported' : 'when_required'),
    connections: v.STORAGE_S3_CONNECTIONS,
    connectTimeoutMs: v.STORAGE_S3_CONNECT_TIMEOUT,
    timeoutMs: v.STORAGE_S3_TIMEOUT,
    attempts: v.STORAGE_S3_ATTEMPTS,
    partSize: v.STORAGE_S3_PART_SIZE,
    parallelParts: v.STORAGE_S3_PARALLEL_PARTS,
    bufferSize: v.STORAGE_S3_BUFFER,
    redirect: v.STORAGE_S3_REDIRECT
      ? { minSize: v.STORAGE_S3_REDIRECT_MIN_SIZE, publicEndpoint: v.STORAGE_S3_PUBLIC_ENDPOINT }
      : undefined,
  }
}
