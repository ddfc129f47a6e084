import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { ResponseHeaders } from '../../backend/backend.ts'
import type { ReadTarget } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { FileStorage } from '../../storage/file-storage.ts'
import { isActiveContent, safeContentType } from '../../storage/object/content-type.ts'
import { lastModified, type StoredObject } from '../../storage/object/stored-object.ts'
import type { ReadPlan } from '../../storage/reading/object-bytes.ts'
import { type AppContext, logTarget } from '../env.ts'
import { CONDITIONAL_HEADERS, checkConditions, rangeStillValid } from './conditionals.ts'
import { contentDisposition } from './content-disposition.ts'
import { parseRange } from './ranges.ts'
import { streamOut } from './stream-out.ts'

export interface ObjectRequest extends ReadTarget {
  caller: Caller
  /** The query parameter `download` (wire §3.5). */
  download: string | undefined
  /** For a signed URL: until when it works, sent as `Expires` in place of `Cache-Control`. */
  expiresAt?: Date
}

/** How a download is to be answered, once its row is known. */
interface Answer {
  status: 200 | 206 | 304
  read: ReadPlan
  headers: Record<string, string>
}

/**
 * Sends an object, or a part of it, or 304 (RFC 9110 §13, §14; wire §3.5, §3.6). HEAD is answered from the
 * row, without ranges (wire §3.7).
 */
export async function sendObject(
  c: AppContext,
  { files }: { files: FileStorage },
  request: ObjectRequest,
): Promise<Response> {
  const { caller, bucket, name } = request
  logTarget(c, bucket, name)
  let answer: Answer | undefined
  const { object, bytes } = await files.download(caller, request, (found) => {
    answer = answerTo(c, found, request)
    return answer.read
  })
  if (!answer) throw new Error('a download was opened without a plan')
  const { status, headers } = answer
  if (object.size !== null) c.get('log').size = object.size
  if (bytes instanceof URL) {
    return c.body(null, 302, { Location: bytes.href, 'Cache-Control': 'no-store' })
  }
  if (bytes instanceof Readable) {
    streamOut(c, status, headers, bytes)
    return RESPONSE_ALREADY_SENT
  }
  // Hono answers HEAD with another response, made from this one.
  if (bytes === null) return c.body(null, status, headers)
  // Past Hono, like a stream: what a Response object costs is a good part of a small answer.
  const outgoing = c.env.outgoing as ServerResponse
  outgoing.writeHead(status, headers).end(bytes)
  return RESPONSE_ALREADY_SENT
}

/** @throws PreconditionFailed, InvalidRange */
function answerTo(c: AppContext, object: StoredObject, request: ObjectRequest): Answer {
  const sent = c.env.incoming.headers
  const headers = objectHeaders(object, request)
  const validators = { etag: object.etag, lastModified: lastModified(object) }
  const verdict = checkConditions(
    {
      ifMatch: sent['if-match'],
      ifNoneMatch: sent['if-none-match'],
      ifModifiedSince: sent['if-modified-since'],
      ifUnmodifiedSince: sent['if-unmodified-since'],
    },
    validators,
  )
  if (verdict === 'precondition-failed') throw new StorageError('PreconditionFailed')
  if (verdict === 'not-modified')
    return { status: 304, read: { part: 'nothing' }, headers: notModified(headers) }
  if (c.req.method === 'HEAD') {
    if (object.size !== null) headers['Content-Length'] = String(object.size)
    return { status: 200, read: { part: 'nothing' }, headers }
  }

  // A row without a size has no bytes either; reading it says so.
  const size = object.size ?? 0
  const range = rangeStillValid(sent['if-range']?.toString(), validators)
    ? parseRange(sent.range, size)
    : null
  if (range === 'unsatisfiable') {
    throw new StorageError('InvalidRange', { headers: { 'Content-Range': `bytes */${size}` } })
  }
  const direct = mayGoDirectly(sent, headers) ? headers : undefined
  if (range === null) {
    headers['Content-Length'] = String(size)
    return { status: 200, read: { part: 'whole', direct }, headers }
  }
  headers['Content-Length'] = String(range.end - range.start + 1)
  headers['Content-Range'] = `bytes ${range.start}-${range.end}/${size}`
  return { status: 206, read: { part: range, direct }, headers }
}

/**
 * Whether the store may answer in our place. It cannot send the policy that keeps active content harmless. And a
 * client repeats the conditions of its request there, where they would be compared with the store's own ETag.
 */
function mayGoDirectly(sent: IncomingHttpHeaders, headers: ObjectHeaders): boolean {
  return headers['Content-Security-Policy'] === undefined && !CONDITIONAL_HEADERS.some((name) => name in sent)
}

type ObjectHeaders = Record<string, string> & ResponseHeaders

function objectHeaders(
  object: StoredObject,
  request: { download?: string | undefined; expiresAt?: Date },
): ObjectHeaders {
  const contentType = safeContentType(object.contentType)
  const disposition = contentDisposition(request.download)
  const headers: ObjectHeaders = {
    'Content-Type': contentType,
    ETag: object.etag,
    'Last-Modified': lastModified(object).toUTCString(),
    'Accept-Ranges': 'bytes',
    'X-Robots-Tag': object.robotsTag ?? 'none',
  }
  if (request.expiresAt) headers.Expires = request.expiresAt.toUTCString()
  else headers['Cache-Control'] = object.cacheControl
  if (disposition !== undefined) headers['Content-Disposition'] = disposition
  if (object.contentEncoding !== null) headers['Content-Encoding'] = object.contentEncoding
  // Opened by itself such a file could run scripts as a page of our origin; in an <img> it never can.
  if (isActiveContent(contentType)) {
    headers['Content-Security-Policy'] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
  }
  return headers
}

/** With what the whole object is sent to somebody who asks for nothing special. */
export function wholeObjectHeaders(object: StoredObject): Record<string, string> {
  return { ...objectHeaders(object, {}), 'Content-Length': String(object.size ?? 0) }
}

/** What a 304 repeats (RFC 9110 §15.4.5). */
function notModified(headers: Record<string, string>): Record<string, string> {
  const kept = ['ETag', 'Last-Modified', 'Cache-Control', 'Expires']
  return Object.fromEntries(Object.entries(headers).filter(([name]) => kept.includes(name)))
}
