import type { ByteRange } from '../backend/backend.ts'

/**
 * The part of an object that a `Range` header asks for (RFC 9110 §14.1.2, contract §3.6).
 *
 * One range only: several, or malformed ones, are `'unsatisfiable'` (416). RFC 9110 §14.2 would let us send
 * everything instead; a client that wanted a part is better told. Use it for GET only.
 *
 * @param size of the whole object, in bytes
 * @returns null when the whole object is to be sent: no header, or a unit other than bytes (§14.2)
 */
export function parseRange(header: string | undefined, size: number): ByteRange | null | 'unsatisfiable' {
  if (header === undefined) return null
  const [unit, set] = splitUnit(header)
  if (set !== undefined && unit !== 'bytes') return null
  const match = /^(\d*)-(\d*)$/.exec(set?.trim() ?? '')
  if (!match) return 'unsatisfiable'

  // Digits beyond 2^53 lose precision, at worst to Infinity, yet stay on their side of any size.
  const [, first, last] = match
  if (first === '') {
    // The last bytes: all when there are fewer. `-0` wants nothing, and `-` is no range.
    const length = Number(last)
    return length === 0 || size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - length), end: size - 1 }
  }
  const start = Number(first)
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1)
  return start > end ? 'unsatisfiable' : { start, end } // also when start is past the end of the object
}

/** Range units are case-insensitive (RFC 9110 §14.1). */
function splitUnit(header: string): [unit: string, set: string | undefined] {
  const at = header.indexOf('=')
  if (at < 0) return [header, undefined]
  return [header.slice(0, at).trim().toLowerCase(), header.slice(at + 1)]
}
