import { encodeStrictly } from '../../lib/percent-encoding.ts'
import { printable } from '../../lib/printable.ts'
import { StorageError } from '../../model/errors.ts'
import { isStorableText } from '../../storage/object/object-name.ts'

type Query = ReadonlyMap<string, string>

/**
 * A whole number of a query; undefined when it has none.
 *
 * @throws InvalidParameter when it is none, or less than `from`; what is more than `to` counts as that
 */
export function integerIn(query: Query, name: string, { from, to }: { from: number; to: number }) {
  const text = query.get(name)
  if (text === undefined || text === '') return undefined
  const value = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= from)) throw invalid(`${name} must be a whole number from ${from} to ${to}`)
  return Math.min(value, to)
}

/** A text of a query that the database is asked by; '' when it has none. @throws InvalidParameter */
export function textIn(query: Query, name: string): string {
  const text = query.get(name) ?? ''
  if (!isStorableText(text)) throw invalid(`${name} is too long, or has what no key can have`)
  return text
}

/** How keys of an answer are written: as they are, or as in a URL, for what XML has no word for. */
export type KeyWriter = (key: string) => string

/** @throws InvalidParameter for any `encoding-type` but `url` */
export function keyWriterIn(query: Query): KeyWriter {
  const encoding = query.get('encoding-type') ?? ''
  if (encoding === '') return asItIs
  if (encoding === 'url') return urlEncoded
  throw invalid(`encoding-type must be url, not ${printable(encoding)}`)
}

function asItIs(key: string): string {
  return key
}

/** Clients read a plus as a blank or as itself, and %20 and %2B in one way only. */
function urlEncoded(key: string): string {
  return encodeStrictly(key).replaceAll('%2F', '/')
}

export function invalid(message: string): StorageError {
  return new StorageError('InvalidParameter', { message })
}
