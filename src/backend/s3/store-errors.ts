import type { S3Settings } from '../../config/s3.ts'
import { printable } from '../../lib/printable.ts'
import { StorageError } from '../../model/errors.ts'

/** What the SDK throws, as far as it says anything. */
interface StoreError extends Error {
  code?: unknown
  $metadata?: { httpStatusCode?: number }
  $response?: { headers?: Record<string, string> }
}

/** The store's own code for what went wrong, such as NoSuchUpload; also of an error that was put in our words. */
export function storeCode(error: unknown): string {
  return storeError(error)?.name ?? ''
}

/** What the store itself has said, to be put behind a sentence of ours; empty when it has said nothing. */
export function storeWords(error: unknown): string {
  const { message = '' } = storeError(error) ?? {}
  // The SDK's word for nothing.
  return message === '' || message === 'UnknownError' ? '' : ` (it says: ${printable(message)})`
}

function storeError(error: unknown): Error | undefined {
  let innermost = error
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause
  return innermost instanceof Error ? innermost : undefined
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
  const isRefusal =
    REFUSALS.has(error.name) || (status !== undefined && status < 500 && !mayPass(error, status))
  const cause = new Error(explainStoreError(error, settings), { cause: error })
  return new StorageError(isRefusal ? 'BackendRefused' : 'BackendUnavailable', { cause })
}

/** What an operator has to mend, in a sentence of ours: the store itself has not refused. */
export function refusal(sentence: string): StorageError {
  return new StorageError('BackendRefused', { cause: new Error(sentence) })
}

/** Whether another attempt may succeed, though the status says that the request was at fault. */
function mayPass({ name }: Error, status: number): boolean {
  return status === 408 || status === 429 || PASSING.has(name)
}

/**
 * The body did not get through in time, or as a whole; another request for the same key was under way, such as one
 * that we had given up; a cleanup has abandoned the upload.
 */
const PASSING = new Set([
  'RequestTimeout',
  'IncompleteBody',
  'ConditionalRequestConflict',
  'OperationAborted',
  'NoSuchUpload',
])

/** InvalidRange: what should be there is longer than what is. */
const MISSING = new Set(['NoSuchKey', 'NotFound', 'InvalidRange'])

/** Ceph, MinIO and others each have their own word for it. */
const FULL = new Set(['QuotaExceeded', 'InsufficientStorage', 'XMinioStorageFull', 'StorageFull'])

/** Refusals that came without a status, or with a misleading one. */
const REFUSALS = new Set([
  'NoSuchBucket',
  'InvalidBucketName',
  'CredentialsProviderError',
  'PermanentRedirect',
])

/** Where the credentials come from. */
export function credentialsSource({ credentials }: S3Settings): string {
  return credentials ? 'STORAGE_S3_ACCESS_KEY' : "the SDK's default chain (STORAGE_S3_ACCESS_KEY is not set)"
}

/** What is wrong, in plain words, and which setting to look at. Without secrets. */
export function explainStoreError(error: unknown, settings: S3Settings): string {
  const { bucket, region, endpoint = `Amazon S3 in ${region}` } = settings
  const { name, message, code: errno, $metadata, $response } = error as StoreError
  const source = credentialsSource(settings)
  switch (name) {
    case 'NoSuchBucket':
      return `The store has no bucket "${bucket}": make it, or correct STORAGE_S3_BUCKET`
    case 'InvalidBucketName':
      return `No bucket can be called "${bucket}": correct STORAGE_S3_BUCKET`
    case 'InvalidAccessKeyId':
      return `The store does not know the access key: correct ${source}`
    case 'SignatureDoesNotMatch':
      return settings.credentials
        ? 'The store refuses the signature: STORAGE_S3_SECRET_KEY does not belong to STORAGE_S3_ACCESS_KEY'
        : `The store refuses the signature: the secret key from ${source} does not belong to its access key`
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'InvalidToken':
      return `The store refuses the session token: credentials come from ${source}`
    case 'CredentialsProviderError':
      return 'No credentials for the store: set STORAGE_S3_ACCESS_KEY and STORAGE_S3_SECRET_KEY, or give this machine a role'
    case 'RequestTimeTooSkewed':
      return "This machine's clock differs from the store's by more than 15 minutes: set it right"
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return `The bucket "${bucket}" is not in the region ${region}: correct STORAGE_S3_REGION, or STORAGE_S3_ENDPOINT${storeWords(error)}`
    case 'AccessDenied':
    case 'Forbidden':
      return `The store denies access to bucket "${bucket}" (STORAGE_S3_BUCKET): the credentials from ${source} need rights to list it, its multipart uploads and their parts, and to read, write and delete in it${storeWords(error)}`
    case 'NotImplemented':
      return `The store at ${endpoint} does not know a request that is needed${storeWords(error)}`
  }
  // Before the names: the SDK calls a connection that breaks off a TimeoutError too.
  switch (errno) {
    case 'ECONNREFUSED':
      return `Nothing answers at ${endpoint}: is the store running, and STORAGE_S3_ENDPOINT right?`
    case 'ECONNRESET':
    case 'EPIPE':
      return `What is at ${endpoint} ends the connection without an answer: is it the store, and should STORAGE_S3_ENDPOINT begin with ${otherScheme(endpoint)}?`
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `There is no way to ${endpoint} (${errno}): is STORAGE_S3_ENDPOINT right, and the network up?`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return settings.forcePathStyle
        ? `The host of the store is not known: correct STORAGE_S3_ENDPOINT (${endpoint})`
        : `The host of the store is not known: correct STORAGE_S3_ENDPOINT (${endpoint}), or set STORAGE_S3_FORCE_PATH_STYLE=true if its buckets have no host names`
    case 'EPROTO':
      return /wrong version number/.test(message)
        ? `${endpoint} does not speak TLS: does STORAGE_S3_ENDPOINT begin with http:// there?`
        : `${endpoint} and this machine find no way to speak TLS (${printable(message.trim())}): look at STORAGE_S3_ENDPOINT`
  }
  if (typeof errno === 'string' && /CERT|SIGNED/.test(errno)) {
    return `The certificate of ${endpoint} cannot be trusted (${errno}): NODE_EXTRA_CA_CERTS names a file of further authorities`
  }
  if (name === 'TimeoutError' || name === 'AbortError') {
    return `The store at ${endpoint} did not answer in time: is STORAGE_S3_ENDPOINT right? (STORAGE_S3_TIMEOUT, STORAGE_S3_CONNECT_TIMEOUT)`
  }
  const status = $metadata?.httpStatusCode
  if ((typeof errno === 'string' && errno.startsWith('HPE_')) || isNoStoresAnswer(error as StoreError)) {
    const type = $response?.headers?.['content-type'] ?? 'without a type'
    const answer = status === undefined ? '' : ` (it answers ${status} ${printable(type)})`
    return `What is at ${endpoint} is not an S3 store${answer}: correct STORAGE_S3_ENDPOINT`
  }
  if (status === 403) {
    return `The store denies access to bucket "${bucket}": look at the credentials, from ${source}, and their rights`
  }
  if (status !== undefined) {
    const code = name === 'Unknown' ? '' : ` ${name}`
    return `The store at ${endpoint} answered ${status}${code}${storeWords(error)}`
  }
  return `The store at ${endpoint} cannot be reached: ${message}`
}

/** Whether the answer is a web page or the like, as no store sends one. From 500 on it may come from what is before it. */
function isNoStoresAnswer({ message, $metadata, $response }: StoreError): boolean {
  const status = $metadata?.httpStatusCode
  if (status === undefined || status >= 500) return false
  return /Deserialization error/.test(message) || /html|json/.test($response?.headers?.['content-type'] ?? '')
}

function otherScheme(endpoint: string): string {
  return endpoint.startsWith('https:') ? 'http://' : 'https://'
}
