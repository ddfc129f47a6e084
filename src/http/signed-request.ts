import { StorageError } from '../errors.ts'
import { anonymousCaller } from './caller.ts'
import type { AppContext, Services } from './env.ts'
import { sendObject } from './object-response.ts'
import { logTarget } from './request-log.ts'
import { decodeSegment, objectTarget, requestTarget } from './request-path.ts'

/** What a request with a signed URL is for, and what it proves that with. */
export interface SignedTarget {
  bucket: string
  name: string
  token: string
  query: URLSearchParams
}

/** Whether a request brings a token of a signed URL, so that nothing else decides about it. */
export function hasUrlToken(c: AppContext): boolean {
  return /(?:^|[?&])token=/.test(requestTarget(c.env.incoming).query)
}

/**
 * Sends the object to whoever has the token for it (design §7).
 *
 * @param route what stands before the bucket, such as `/object/sign/`
 */
export async function sendSigned(c: AppContext, services: Services, route: string): Promise<Response> {
  const caller = anonymousCaller(c, services, 'storage.object.get_signed')
  const { bucket, name, token, query } = signedTarget(c, route)
  const { exp, bucket_uid: bucketUid } = services.urls.checkDownload(token, bucket, name)
  return sendObject(c, services, {
    caller,
    access: 'signed',
    bucket,
    name,
    bucketUid,
    download: query.get('download') ?? undefined,
    expiresAt: new Date(exp * 1000),
  })
}

/**
 * What a signed request is for. A client may leave a question mark in the name as it is (storage-js does, contract
 * §3.1); so the query begins at the last `?token=`.
 *
 * @throws InvalidRequest without a token
 */
export function signedTarget(c: AppContext, route: string): SignedTarget {
  const { path, query } = requestTarget(c.env.incoming)
  const whole = `${path}?${query}`
  const mark = whole.lastIndexOf('?token=')
  const hasMark = mark > path.length
  const parameters = new URLSearchParams(hasMark ? whole.slice(mark + 1) : query)
  const token = parameters.get('token')
  if (token === null || token === '') {
    throw new StorageError('InvalidRequest', { message: "querystring must have required property 'token'" })
  }
  const { bucket, name: start } = objectTarget(path, route)
  const name = start + (hasMark ? decodeSegment(whole.slice(path.length, mark)) : '')
  logTarget(c, bucket, name)
  return { bucket, name, token, query: parameters }
}
