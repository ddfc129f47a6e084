import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { ResponseHeaders } from '../../backend/backend.ts'
import type { ReadTarget } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { base64OfHex } from '../../model/checksums.ts'
import { StorageError } from '../../model/errors.ts'
import type { ByteRange } from '../../model/location.ts'
import type { Validators } from '../../model/write-condition.ts'
import type { FileStorage } from '../../storage/file-storage.ts'
import { isActiveContent, safeContentType } from '../../storage/object/content-type.ts'
import type { Representation, RepresentationMetadata } from '../../storage/reading/representation.ts'
import { type AppContext, logTarget } from '../env.ts'
import {
  CONDITIONAL_HEADERS,
  type ConditionalHeaders,
  checkConditions,
  rangeStillValid,
} from './conditionals.ts'
import { contentDisposition } from './content-disposition.ts'
import { parseRange } from './ranges.ts'
import { streamOut } from './stream-out.ts'

/** How bytes are sent, beside what conditions and ranges say. */
export interface SendOptions {
  /** The query parameter `download` (wire §3.5). */
  download?: string | undefined
  /** `Content-Disposition`, in place of what `download` would be. */
  disposition?: string | undefined
  /**
   * Asked when bytes are about to be sent, and whether only a part of them: it throws why they may not. They are sent from here
   * then, so that it is asked each time.
   */
  admit?: ((isRange: boolean) => Promise<void>) | undefined
  /** `Cache-Control`, in place of the object's own and of `Expires`. */
  cacheControl?: string | undefined
  /** For a signed URL: until when it works, sent as `Expires` in place of `Cache-Control`. */
  expiresAt?: Date | undefined
  /**
   * What a surface with words of its own tells of the object, in place of ours. Its clients are answered here, and never
   * sent to the store: they sign for this address.
   */
  headers?: ObjectHeaders | undefined
  /** The conditions, if not those that came. */
  conditions?: ConditionalHeaders | undefined
  /** These bytes are sent with 206, whatever range was asked for; HEAD tells of them. */
  part?: ByteRange | undefined
  /** Whether HEAD tells of the range that is asked for (RFC 9110 §14.2 knows it of GET only). */
  headHasRanges?: boolean | undefined
}

export interface ObjectRequest extends ReadTarget, SendOptions {
  caller: Caller
}

/** Sends an object, as `sendRepresentation` sends anything. @throws NoSuchBucket, NoSuchKey, and as that */
export function sendObject(
  c: AppContext,
  { files }: { files: FileStorage },
  request: ObjectRequest,
): Promise<Response> {
  logTarget(c, request.bucket, request.name)
  const target = { ...request, withBytes: c.req.method !== 'HEAD' }
  return files.download(request.caller, target, (representation, object) => {
    c.env.notes.objectId = object.id
    return sendRepresentation(c, representation, request)
  })
}

/**
 * Sends a representation, or a part of it, or 304 (RFC 9110 §13, §14; wire §3.5, §3.6), or where the store has it. HEAD
 * is answered without its bytes, and without ranges (wire §3.7).
 *
 * @throws PreconditionFailed, InvalidRange, and as `Representation.open`; nothing has been sent then
 */
export async function sendRepresentation(
  c: AppContext,
  representation: Representation,
  options: SendOptions,
): Promise<Response> {
  const { status, part, direct, headers } = answerTo(c, representation, options)
  if (part && options.admit) await options.admit(part !== 'whole')
  const bytes = part && (await representation.open(part, direct))
  if (representation.size !== null) c.env.notes.size = representation.size
  // Hono answers HEAD with another response, made from this one.
  if (bytes === null) return c.body(null, status, headers)
  if (bytes instanceof URL) {
    return c.body(null, 302, { Location: bytes.href, 'Cache-Control': 'no-store' })
  }
  c.env.notes.sent = Number(headers['Content-Length'])
  if (bytes instanceof Readable) {
    streamOut(c, status, headers, bytes)
    return RESPONSE_ALREADY_SENT
  }
  // Past Hono, like a stream: what a Response object costs is a good part of a small answer.
  const { outgoing } = c.env
  outgoing.writeHead(status, headers).end(bytes)
  return RESPONSE_ALREADY_SENT
}

/** How a request is to be answered. */
interface Answer {
  status: 200 | 206 | 304
  /** Null when no bytes are sent. */
  part: 'whole' | ByteRange | null
  /** Present when the reader may as well be sent to an address of the store. */
  direct?: ResponseHeaders | undefined
  headers: Record<string, string>
}

/** @throws PreconditionFailed, InvalidRange */
function answerTo(c: AppContext, representation: Representation, options: SendOptions): Answer {
  const sent = c.env.incoming.headers
  const headers = options.headers ?? objectHeaders(representation, options)
  const isConditional = CONDITIONAL_HEADERS.some((name) => name in sent)
  if (isConditional) {
    const verdict = checkConditions(options.conditions ?? conditionsOf(sent), representation)
    if (verdict === 'precondition-failed') throw new StorageError('PreconditionFailed')
    if (verdict === 'not-modified') return { status: 304, part: null, headers: notModified(headers) }
  }
  const isHead = c.req.method === 'HEAD'
  if (isHead && !options.headHasRanges) {
    if (representation.size !== null) headers['Content-Length'] = String(representation.size)
    return { status: 200, part: null, headers }
  }

  // What has no size has no bytes either; opening it says so.
  const size = representation.size ?? 0
  const range = options.part ?? rangeAskedFor(sent, representation, size)
  if (range === 'unsatisfiable') {
    throw new StorageError('InvalidRange', { headers: { 'Content-Range': `bytes */${size}` } })
  }
  const direct =
    !options.headers && !options.admit && mayGoDirectly(headers, isConditional) ? headers : undefined
  if (range === null) {
    headers['Content-Length'] = String(size)
    return { status: 200, part: isHead ? null : 'whole', direct, headers }
  }
  headers['Content-Length'] = String(range.end - range.start + 1)
  headers['Content-Range'] = `bytes ${range.start}-${range.end}/${size}`
  return { status: 206, part: isHead ? null : range, direct, headers }
}

function conditionsOf(sent: IncomingHttpHeaders): ConditionalHeaders {
  return {
    ifMatch: sent['if-match'],
    ifNoneMatch: sent['if-none-match'],
    ifModifiedSince: sent['if-modified-since'],
    ifUnmodifiedSince: sent['if-unmodified-since'],
  }
}

function rangeAskedFor(sent: IncomingHttpHeaders, current: Validators, size: number) {
  if (sent.range === undefined || !rangeStillValid(sent['if-range']?.toString(), current)) return null
  return parseRange(sent.range, size)
}

/**
 * Whether the store may answer in our place. It cannot send the policy that keeps active content harmless. And a
 * client repeats the conditions of its request there, where they would be compared with the store's own ETag.
 */
function mayGoDirectly(headers: ObjectHeaders, isConditional: boolean): boolean {
  return headers['Content-Security-Policy'] === undefined && !isConditional
}

/** In which nothing is loaded or run. */
export const SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

export type ObjectHeaders = Record<string, string> & ResponseHeaders

function objectHeaders(
  of: RepresentationMetadata,
  { download, disposition, cacheControl, expiresAt }: SendOptions,
): ObjectHeaders {
  const contentType = safeContentType(of.contentType)
  const headers: ObjectHeaders = {
    'Content-Type': contentType,
    ETag: of.etag,
    'Last-Modified': of.lastModified.toUTCString(),
    'Accept-Ranges': 'bytes',
    'X-Robots-Tag': of.robotsTag ?? 'none',
  }
  if (cacheControl !== undefined) headers['Cache-Control'] = cacheControl
  else if (expiresAt) headers.Expires = expiresAt.toUTCString()
  else headers['Cache-Control'] = of.cacheControl
  if (disposition !== undefined) headers['Content-Disposition'] = disposition
  else if (download !== undefined) headers['Content-Disposition'] = contentDisposition(download)
  if (of.contentEncoding !== null) headers['Content-Encoding'] = of.contentEncoding
  const digest = reprDigest(of)
  if (digest !== undefined) headers['Repr-Digest'] = digest
  // Opened by itself such a file could run scripts as a page of our origin; in an <img> it never can.
  if (isActiveContent(contentType)) {
    headers['Content-Security-Policy'] = SANDBOX
  }
  return headers
}

/** A row that plain SQL has made may say anything. */
const SHA256_DIGITS = 64

/** `Repr-Digest`: of the whole, encoded as it is, whatever part of it is sent (RFC 9530 §3). */
export function reprDigest({ checksum }: Pick<RepresentationMetadata, 'checksum'>): string | undefined {
  return checksum?.length === SHA256_DIGITS ? `sha-256=:${base64OfHex(checksum)}:` : undefined
}

/** With what the whole is sent to somebody who asks for nothing special. */
export function wholeObjectHeaders(of: RepresentationMetadata): Record<string, string> {
  const headers = objectHeaders(of, {})
  headers['Content-Length'] = String(of.size ?? 0)
  return headers
}

/** What a 304 repeats (RFC 9110 §15.4.5). */
function notModified(headers: Record<string, string>): Record<string, string> {
  const kept = ['ETag', 'Last-Modified', 'Cache-Control', 'Expires']
  return Object.fromEntries(Object.entries(headers).filter(([name]) => kept.includes(name)))
}
