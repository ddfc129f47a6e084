import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { JsonTooComplex, parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'
import type { UserMetadata } from '../../model/metadata.ts'

/**
 * User metadata as `x-metadata` has it: base64 of a JSON object; anything else is ignored (wire §3.3). It is UTF-8, or
 * else Latin-1: `btoa`, by which browsers make it, knows no other letters.
 *
 * @throws InvalidRequest when it is nested too deeply or has too many values
 */
export function metadataFromHeader(header: string | undefined): UserMetadata | undefined {
  if (header === undefined) return undefined
  const bytes = Buffer.from(header, 'base64')
  return metadataFromJson(textOfHeader(bytes))
}

/** What is UTF-8, or else Latin-1. */
export function textOfHeader(bytes: Buffer): string {
  return bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1')
}

/** The same as a form has it: JSON. @throws InvalidRequest when it is nested too deeply or has too many values */
export function metadataFromJson(text: string | undefined): UserMetadata | undefined {
  const value = parsedOrNull(text ?? '')
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return value as UserMetadata // an object, and its keys are texts
}

function parsedOrNull(text: string): unknown {
  try {
    return parseJson(text)
  } catch (cause) {
    if (!(cause instanceof JsonTooComplex)) return null
    throw new StorageError('InvalidRequest', { message: `The metadata ${cause.message}`, cause })
  }
}

/** In characters. Proxies keep all headers of an answer in one buffer, which nginx gives 4 KiB, and else say 502. */
const MAX_LENGTH = 1000

/** A text of a form or of JSON that will be sent back as a header. @throws InvalidHeaderChar */
export function headerValue(text: string): string {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new StorageError('InvalidHeaderChar')
  return ofLength(text)
}

/** The same of a header, whose characters Node has looked at. @throws InvalidHeaderChar */
export function headerSent(header: string | undefined): string | undefined {
  return header === undefined ? undefined : ofLength(header)
}

function ofLength(text: string): string {
  if (text.length <= MAX_LENGTH) return text
  const message = `A value is sent back as a header, and may have at most ${MAX_LENGTH} characters`
  throw new StorageError('InvalidHeaderChar', { message })
}

/** A number of seconds, with more behind it or alone. */
const SECONDS = /^\d+ *(?:,|$)/

/**
 * What a client says of caching in a field, as a header: a number of seconds (wire §3.3, §5.3), or what is to be the
 * header's whole value.
 *
 * @returns undefined for nothing
 * @throws InvalidHeaderChar
 */
export function cacheControlOf(field: string | undefined): string | undefined {
  const text = field?.trim()
  if (!text) return undefined
  return headerValue(SECONDS.test(text) ? `max-age=${text}` : text)
}

/**
 * The same of a header. Clients put `max-age=` before whatever they are given, which may be a whole value already.
 *
 * @throws InvalidHeaderChar
 */
export function cacheControlIn(header: string | undefined): string | undefined {
  const isWhole = header === undefined || !/^max-age=(?!["\d])/.test(header)
  return isWhole ? headerSent(header) : cacheControlOf(header.slice('max-age='.length))
}

/** In bytes, or null for a chunked body. Node has refused what is no number. */
export function declaredLength(incoming: IncomingMessage): number | null {
  const length = incoming.headers['content-length']
  return length === undefined
    ? incoming.headers['transfer-encoding'] === undefined
      ? 0
      : null
    : Number(length)
}
