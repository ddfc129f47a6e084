import type { S3Settings } from '../../config-s3.ts'
import { StorageError } from '../../errors.ts'

/** What the SDK throws, as far as it says anything. */
interface StoreError extends Error {
  code?: unknown
  $metadata?: { httpStatusCode?: number }
}

/** The store's own code for what went wrong, such as NoSuchUpload; also of an error that was put in our words. */
export function storeCode(error: unknown): string {
  let innermost = error
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause
  return innermost instanceof Error ? innermost.name : ''
}

/**
 * The store's errors in our words: MissingBytes, StorageFull, BackendUnavailable for what may pass by itself, and
 * BackendRefused for what an operator has to mend, with a sentence on it as the cause's message.
 */
export function fromStoreError(error: unknown, settings: S3Settings): unknown {
  if (error instanceof StorageError || !(error instanceof Error)) return error
  const status = (error as StoreError).$metadata?.httpStatusCode
  if (MISSING.has(error.name)) return new StorageError('MissingBytes', { cause: error })
  if (FULL.has(error.name) || status === 507) return new StorageError('StorageFull', { cause: error })
  const isRefusal = REFUSALS.has(error.name) || (status !== undefined && status < 500 && status !== 429)
  const cause = new Error(explainStoreError(error, settings), { cause: error })
  return new StorageError(isRefusal ? 'BackendRefused' : 'BackendUnavailable', { cause })
}

/** InvalidRange: what should be there is longer than what is. */
const MISSING = new Set(['NoSuchKey', 'NotFound', 'InvalidRange'])

/** Ceph, MinIO and others each have their own word for it. */
const FULL = new Set(['QuotaExceeded', 'InsufficientStorage', 'XMinioStorageFull', 'StorageFull'])

/** Refusals that came without a status, or with a misleading one. */
const REFUSALS = new Set(['NoSuchBucket', 'CredentialsProviderError', 'PermanentRedirect'])

/** What is wrong, in plain words, and which setting to look at. Without secrets. */
export function explainStoreError(error: unknown, settings: S3Settings): string {
  const { bucket, region, endpoint = `Amazon S3 in ${region}` } = settings
  const { name, message, code: errno, $metadata } = error as StoreError
  const key = settings.credentials
    ? 'STORAGE_S3_ACCESS_KEY'
    : "the SDK's default chain (STORAGE_S3_ACCESS_KEY is not set)"
  switch (name) {
    case 'NoSuchBucket':
      return `The store has no bucket "${bucket}": make it, or correct STORAGE_S3_BUCKET`
    case 'InvalidAccessKeyId':
      return `The store does not know the access key: correct ${key}`
    case 'SignatureDoesNotMatch':
      return 'The store refuses the signature: STORAGE_S3_SECRET_KEY does not belong to STORAGE_S3_ACCESS_KEY'
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'InvalidToken':
      return `The store refuses the session token: credentials come from ${key}`
    case 'CredentialsProviderError':
      return 'No credentials for the store: set STORAGE_S3_ACCESS_KEY and STORAGE_S3_SECRET_KEY, or give this machine a role'
    case 'RequestTimeTooSkewed':
      return "This machine's clock differs from the store's by more than 15 minutes: set it right"
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return `The bucket "${bucket}" is not in the region ${region}: correct STORAGE_S3_REGION, or STORAGE_S3_ENDPOINT`
    case 'AccessDenied':
    case 'Forbidden':
      return `The store denies access to bucket "${bucket}": credentials from ${key} need rights to list the bucket, and to read, write and delete in it`
    case 'NotImplemented':
      return `The store at ${endpoint} does not know a request that is needed: ${message}`
    case 'TimeoutError':
    case 'AbortError':
      return `The store at ${endpoint} did not answer in time (STORAGE_S3_TIMEOUT, STORAGE_S3_CONNECT_TIMEOUT)`
  }
  switch (errno) {
    case 'ECONNREFUSED':
      return `Nothing answers at ${endpoint}: is the store running, and STORAGE_S3_ENDPOINT right?`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `The host of the store is not known: correct STORAGE_S3_ENDPOINT (${endpoint}), or set STORAGE_S3_FORCE_PATH_STYLE=true if its buckets have no host names`
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
      return `${endpoint} does not speak TLS: does STORAGE_S3_ENDPOINT begin with http:// there?`
  }
  if (typeof errno === 'string' && /CERT|SIGNED/.test(errno)) {
    return `The certificate of ${endpoint} cannot be trusted (${errno}): NODE_EXTRA_CA_CERTS names a file of further authorities`
  }
  const status = $metadata?.httpStatusCode
  if (status === 403) {
    return `The store denies access to bucket "${bucket}": look at the credentials, from ${key}, and their rights`
  }
  if (status !== undefined) return `The store at ${endpoint} answered ${status} ${name}: ${message}`
  return `The store at ${endpoint} cannot be reached: ${message}`
}
