import { z } from 'zod'
import { parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'
import { isStorableText } from './object-name.ts'

/**
 * Where a page of list v2 ended (wire §3.13): base64url of JSON, opaque to clients. It carries sort
 * column and order, which win over those of later requests. It is not signed: a made-up cursor only asks
 * for another page of what the caller may see anyway.
 */
export type ListCursor = z.infer<typeof cursorSchema>

/** `2026-11-21T03:21:00.123Z`, or as PostgreSQL prints a timestamptz: space, microseconds, `+00`. */
const TIMESTAMP =
  /^(\d{4})-(\d\d)-(\d\d)[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)?$/

const cursorSchema = z.strictObject({
  /** Name of the last entry, a folder's with its slash: the next page starts after it. */
  after: z.string().refine(isStorableText),
  order: z.enum(['asc', 'desc']),
  column: z.enum(['name', 'updated_at', 'created_at']),
  /** The last entry's time, when sorted by one. PostgreSQL can read it. */
  timestamp: z.string().refine(isTimestamp).exactOptional(),
  /** The last entry's, in a list of versions. */
  version: z.string().refine(isVersionPlace).exactOptional(),
})

/** In characters: the longest `after` with every character escaped still fits. */
const MAX_LENGTH = 40_000

export function encodeCursor({ after, order, column, timestamp, version }: ListCursor): string {
  return Buffer.from(JSON.stringify({ after, order, column, timestamp, version })).toString('base64url')
}

/** @throws InvalidParameter for anything that `encodeCursor` cannot have made */
export function decodeCursor(text: string): ListCursor {
  try {
    if (text.length > MAX_LENGTH) throw new Error('too long')
    const cursor = cursorSchema.parse(parseJson(Buffer.from(text, 'base64url').toString()))
    // Only the one spelling: the decoder passes over what is no base64url, and over bytes that are no UTF-8.
    if (encodeCursor(cursor) !== text) throw new Error('spelled otherwise')
    return cursor
  } catch (cause) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid', cause })
  }
}

/** Whether this says where a list of versions goes on, as `placeOf` (storage/object-lists.ts) does: a version, and its number. */
export function isVersionPlace(text: string): boolean {
  return isStorableText(text) && /\.\d{1,9}$/.test(text)
}

/** Whether a cursor can carry this time. A date that exists in the calendar: PostgreSQL refuses 30 February, JavaScript calls it 1 March. */
export function isTimestamp(text: string): boolean {
  const match = TIMESTAMP.exec(text)
  if (!match) return false
  const [year, month, day] = match.slice(1).map(Number)
  if (!year || !month || !day) return false
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day
}
