import type { IncomingHttpHeaders } from 'node:http'
import { StorageError } from '../../model/errors.ts'
import type { Tags, Validators, WriteCondition } from '../../model/write-condition.ts'

/** Names of request headers that make an answer depend on what there is (RFC 9110 §13.1). */
export const CONDITIONAL_HEADERS = [
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
] as const

/** Request headers that make a GET or HEAD conditional (RFC 9110 §13.1), as they came. */
export interface ConditionalHeaders {
  ifMatch?: string | undefined
  ifNoneMatch?: string | undefined
  ifModifiedSince?: string | undefined
  ifUnmodifiedSince?: string | undefined
}

/**
 * What to answer a GET or HEAD of an object that exists: it, 304 or 412, in the order of precedence of
 * RFC 9110 §13.2.2. The numbers are the steps there; step 5 is `rangeStillValid`.
 */
export function checkConditions(
  headers: ConditionalHeaders,
  current: Validators,
): 'proceed' | 'not-modified' | 'precondition-failed' {
  const modifiedMs = wholeSecond(current.lastModified)

  // 1. If-Match, compared strongly. 2. Only without it, If-Unmodified-Since.
  if (headers.ifMatch !== undefined) {
    if (!matchesStrongly(headers.ifMatch, current.etag)) return 'precondition-failed'
  } else {
    const unmodifiedSince = parseHttpDate(headers.ifUnmodifiedSince)
    if (unmodifiedSince !== null && modifiedMs > unmodifiedSince) return 'precondition-failed'
  }

  // 3. If-None-Match, compared weakly. 4. Only without it, If-Modified-Since.
  if (headers.ifNoneMatch !== undefined) {
    return matchesWeakly(headers.ifNoneMatch, current.etag) ? 'not-modified' : 'proceed'
  }
  const modifiedSince = parseHttpDate(headers.ifModifiedSince)
  return modifiedSince !== null && modifiedMs <= modifiedSince ? 'not-modified' : 'proceed'
}

/**
 * Whether a `Range` may be honoured (RFC 9110 §13.1.5): there is no If-Range, or it names exactly what we
 * would send. Otherwise the whole object is sent with 200, and the client starts over.
 */
export function rangeStillValid(ifRange: string | undefined, current: Validators): boolean {
  if (ifRange === undefined) return true
  if (ifRange.includes('"')) return ifRange.trim() === current.etag // a weak tag differs by its W/
  return parseHttpDate(ifRange) === wholeSecond(current.lastModified)
}

/**
 * What the headers of a write demand of what is there, if anything (RFC 9110 §13.1). It is judged by the transaction
 * that writes.
 *
 * An `If-Match` without any entity tag can match nothing. An `If-None-Match` without one would hold always, and let a
 * client overwrite what it has meant to keep.
 *
 * @throws InvalidRequest
 */
export function writeCondition(headers: IncomingHttpHeaders): WriteCondition | undefined {
  const ifMatch = headers['if-match']
  const ifNoneMatch = headers['if-none-match']
  const unmodifiedSince = headers['if-unmodified-since']
  if (ifMatch === undefined && ifNoneMatch === undefined && unmodifiedSince === undefined) return undefined
  const none = ifNoneMatch === undefined ? undefined : tagsOf(ifNoneMatch)
  if (none?.length === 0) throw new StorageError('InvalidRequest', { message: 'Invalid if-none-match' })
  return {
    ifMatch: ifMatch === undefined ? undefined : tagsOf(ifMatch),
    unmodifiedSince: parseHttpDate(unmodifiedSince) ?? undefined,
    // Compared weakly (RFC 9110 §13.1.2).
    ifNoneMatch: Array.isArray(none) ? none.map(strong) : none,
  }
}

/**
 * Refuses a condition where a request is about many things, and it could only be ignored.
 *
 * @throws InvalidRequest
 */
export function refuseCondition(headers: IncomingHttpHeaders): void {
  if (writeCondition(headers) === undefined) return
  throw new StorageError('InvalidRequest', { message: 'A condition needs a request about one thing' })
}

function tagsOf(list: string): Tags {
  return list.trim() === '*' ? '*' : entityTags(list)
}

function strong(tag: string): string {
  return tag.replace(/^W\//, '')
}

function matchesStrongly(list: string, etag: string): boolean {
  return list.trim() === '*' || entityTags(list).includes(etag)
}

function matchesWeakly(list: string, etag: string): boolean {
  return list.trim() === '*' || entityTags(list).some((tag) => strong(tag) === etag)
}

/** The tags of a list; a comma may also stand inside the quotes (RFC 9110 §8.8.3). Others are no tags. */
function entityTags(list: string): string[] {
  return list.match(/(?<![^ \t,])(?:W\/)?"[^"]*"(?![^ \t,])/g) ?? []
}

/** HTTP dates carry no fraction, so with one we would never match our own `Last-Modified`. */
function wholeSecond(date: Date): number {
  return Math.floor(date.getTime() / 1000) * 1000
}

const MONTH = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)'
const TIME = '\\d\\d:\\d\\d:\\d\\d'

/** RFC 9110 §5.6.7: the usual form, that of RFC 850, and that of C's asctime; all mean UTC. */
const HTTP_DATE = new RegExp(
  `^[A-Z][a-z]{2}, \\d\\d ${MONTH} \\d{4} ${TIME} GMT$` +
    `|^[A-Z][a-z]+day, \\d\\d-${MONTH}-\\d\\d ${TIME} GMT$` +
    `|^[A-Z][a-z]{2} ${MONTH} [ \\d]\\d ${TIME} \\d{4}$`,
)

/** In milliseconds since 1970; null for what is no HTTP date, which must be ignored (RFC 9110 §13.1.3). */
function parseHttpDate(text: string | undefined): number | null {
  const date = text?.trim() ?? ''
  if (!HTTP_DATE.test(date)) return null
  const ms = Date.parse(date.endsWith('GMT') ? date : `${date} GMT`)
  return Number.isNaN(ms) ? null : ms
}
