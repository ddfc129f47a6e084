import type { IncomingHttpHeaders } from 'node:http'
import { StorageError } from '../../../model/errors.ts'
import { malformed } from './scope.ts'
import { signedTime } from './time.ts'

/** What a signature says of itself, wherever a request carries it (wire §6.2). */
export interface GivenSignature {
  credential: string
  /** As `20130524T000000Z`. */
  at: string
  /** In lower case, in the order in which they were signed. */
  signedHeaders: string[]
  /** In hex. */
  signature: string
  /** For a presigned URL. */
  expiresInSeconds?: number
  /** What a session's requests bring besides: the token of its user. */
  token: string | undefined
  payloadHash: string
}

export const ALGORITHM = 'AWS4-HMAC-SHA256'

/** Of no bytes: what has no body may leave the header out. */
export const EMPTY_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** The signature in the header `Authorization`. @throws InvalidAuthorization, AccessDenied */
export function signatureInHeader(headers: IncomingHttpHeaders, authorization: string): GivenSignature {
  const fields = authorization.slice(ALGORITHM.length)
  const credential = field(fields, 'Credential=')
  const signedHeaders = field(fields, 'SignedHeaders=')
  const signature = field(fields, 'Signature=')
  if (credential === undefined || signedHeaders === undefined || signature === undefined) {
    throw malformed(`${ALGORITHM} needs Credential, SignedHeaders and Signature`)
  }
  const { 'x-amz-content-sha256': payloadHash = EMPTY_HASH, 'x-amz-security-token': token } = headers
  return {
    credential,
    at: timeIn(headers),
    signedHeaders: signedHeaders.split(';'),
    signature,
    token: token?.toString(),
    payloadHash: String(payloadHash),
  }
}

function field(fields: string, name: string): string | undefined {
  const start = fields.indexOf(name)
  if (start < 0) return undefined
  const end = fields.indexOf(',', start)
  return fields.slice(start + name.length, end < 0 ? undefined : end).trim()
}

/** `x-amz-date`; without it `Date`, in its own form or in that of HTTP. */
function timeIn(headers: IncomingHttpHeaders): string {
  const at = headers['x-amz-date']
  if (at !== undefined) return String(at)
  const { date } = headers
  if (date === undefined) {
    throw new StorageError('AccessDenied', { message: 'A signed request needs an x-amz-date header' })
  }
  const ms = Date.parse(date)
  return Number.isNaN(ms) ? date : signedTime(new Date(ms))
}
