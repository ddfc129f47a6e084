import type { ByteRange } from '../../model/location.ts'

/**
 * The part of an object that a `Range` header asks for (RFC 9110 §14.1.2, wire §3.6).
 *
 * One range only. Several, and what is malformed or ends before it begins, is ignored, as RFC 9110 §14.2 lets a server
 * do: a client that sent it has to take the whole object in any case. Use it for GET only.
 *
 * @param size of the whole object, in bytes
 * @returns null when the whole object is to be sent; `'unsatisfiable'` when the range has none of its bytes (416)
 */
export function parseRange(header: string | undefined, size: number): ByteRange | null | 'unsatisfiable' {
  if (header === undefined) return null
  const [, first, last] = BYTE_RANGE.exec(header) ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return null

  // Digits beyond 2^53 lose precision, at worst to Infinity, yet stay on their side of any size.
  if (first === '') {
    // The last bytes: all when there are fewer. `-0` wants nothing.
    const length = Number(last)
    return length === 0 || size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - length), end: size - 1 }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return null
  return start >= size
    ? 'unsatisfiable'
    : { start, end: last === '' ? size - 1 : Math.min(Number(last), size - 1) }
}

/** Range units are case-insensitive (RFC 9110 §14.1). */
const BYTE_RANGE = /^\s*bytes\s*=\s*(\d*)-(\d*)\s*$/i
