import type { IncomingMessage } from 'node:http'
import { StorageError } from '../../../model/errors.ts'
import { ALGORITHM, type GivenSignature } from './header.ts'

/** How long what is signed beforehand may hold, as with S3: a week. */
export const LONGEST_SECONDS = 7 * 86_400

/** Whether a request has its signature in its query: a presigned URL. */
export function isPresigned(query: string): boolean {
  return query.includes('X-Amz-Algorithm=') || query.includes('X-Amz-Signature=')
}

/** The signature in a query. @throws InvalidPresignedUrl, InvalidRequest */
export function signatureInQuery(
  { headers, method }: IncomingMessage,
  query: ReadonlyMap<string, string>,
): GivenSignature {
  if (query.get('X-Amz-Algorithm') !== ALGORITHM) throw malformed(`X-Amz-Algorithm must be ${ALGORITHM}`)
  const needed = (name: string) => {
    const value = query.get(name)
    if (!value) throw malformed(`${name} is missing`)
    return value
  }
  const expires = needed('X-Amz-Expires')
  const expiresInSeconds = /^\d{1,6}$/.test(expires) ? Number(expires) : 0
  if (expiresInSeconds < 1 || expiresInSeconds > LONGEST_SECONDS) {
    throw malformed(`X-Amz-Expires must be a number of seconds from 1 to ${LONGEST_SECONDS}`)
  }
  const sentHash = method === 'GET' ? undefined : headers['x-amz-content-sha256']?.toString()
  return {
    credential: needed('X-Amz-Credential'),
    at: needed('X-Amz-Date'),
    signedHeaders: needed('X-Amz-SignedHeaders').split(';'),
    signature: needed('X-Amz-Signature'),
    expiresInSeconds,
    token: query.get('X-Amz-Security-Token'),
    payloadHash: query.get('X-Amz-Content-Sha256') ?? sentHash ?? 'UNSIGNED-PAYLOAD',
  }
}

function malformed(what: string): StorageError {
  return new StorageError('InvalidPresignedUrl', { message: `The presigned URL is malformed: ${what}` })
}
