import { StorageError } from '../../model/errors.ts'

/** In characters. */
const MAX_LENGTH = 1000

/** The words of Google's robots meta tag specification, with the two in use against AI training. */
const WORDS = new Set([
  'all',
  'noindex',
  'nofollow',
  'none',
  'nosnippet',
  'indexifembedded',
  'notranslate',
  'noimageindex',
  'noarchive',
  'noai',
  'noimageai',
])

/** The words that take a value, and what values. Spaces around a value are not part of it. */
const VALUES = new Map<string, (value: string) => boolean>([
  ['max-snippet', isCount],
  ['max-video-preview', isCount],
  ['max-image-preview', (value) => ['none', 'standard', 'large'].includes(value)],
  ['unavailable_after', (value) => /^[\w :,.+-]+$/.test(value) && !Number.isNaN(Date.parse(value))],
])

/**
 * An `X-Robots-Tag` given at upload, trimmed, to be sent with every download (wire §3.5).
 *
 * @throws InvalidRobotsTag
 */
export function parseRobotsTag(header: string): string {
  const value = header.trim()
  const isAsciiText = /^[\x20-\x7e]*$/.test(value)
  if (value.length > MAX_LENGTH || !isAsciiText) throw new StorageError('InvalidRobotsTag')
  // A comma after a weekday belongs to the date: `unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT`.
  const rules = value.split(/,(?! *\d{1,2}[ -])/)
  if (!rules.every(isRule)) throw new StorageError('InvalidRobotsTag')
  return value
}

/**
 * One rule, perhaps for one crawler: `noindex`, `max-snippet: 20`, `googlebot: noindex`. Taken apart by hand: a
 * regular expression with spaces on both sides of a date that may hold spaces takes minutes to refuse some.
 */
function isRule(text: string): boolean {
  const rule = text.trim().toLowerCase()
  if (isDirective(rule)) return true
  const [crawler, directive] = cut(rule)
  return directive !== undefined && /^[\w*./-]+$/.test(crawler) && isDirective(directive)
}

function isDirective(text: string): boolean {
  const [word, value] = cut(text)
  return value === undefined ? WORDS.has(word) : VALUES.get(word)?.(value) === true
}

/** At the first colon, without the spaces around it. */
function cut(text: string): [before: string, after: string | undefined] {
  const colon = text.indexOf(':')
  return colon < 0 ? [text, undefined] : [text.slice(0, colon).trim(), text.slice(colon + 1).trim()]
}

function isCount(value: string): boolean {
  return /^(?:-1|\d{1,9})$/.test(value)
}
