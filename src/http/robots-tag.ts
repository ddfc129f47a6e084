import { StorageError } from '../errors.ts'

/** In characters. */
const MAX_LENGTH = 1000

/**
 * One rule, perhaps for one crawler: `noindex`, `max-snippet: 20`, `googlebot: noindex`. The words are those
 * of Google's robots meta tag specification, with the two in use against AI training.
 */
const RULE = new RegExp(
  '^ *(?:[\\w*./-]+ *: *)?(?:' +
    'all|noindex|nofollow|none|nosnippet|indexifembedded|notranslate|noimageindex|noarchive|noai|noimageai' +
    '|max-(?:snippet|video-preview) *: *(?:-1|\\d{1,9})' +
    '|max-image-preview *: *(?:none|standard|large)' +
    '|unavailable_after *: *(?<date>[\\w :,.+-]+)' +
    ') *$',
  'i',
)

/**
 * An `X-Robots-Tag` given at upload, trimmed, to be sent with every download (contract §3.5).
 *
 * @throws InvalidRobotsTag
 */
export function parseRobotsTag(header: string | undefined): string | undefined {
  if (header === undefined) return undefined
  const value = header.trim()
  // A comma after a weekday belongs to the date: `unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT`.
  const rules = value.split(/,(?! *\d{1,2}[ -])/)
  if (value.length > MAX_LENGTH || !rules.every(isRule)) throw new StorageError('InvalidRobotsTag')
  return value
}

function isRule(text: string): boolean {
  const match = RULE.exec(text)
  const date = match?.groups?.date
  return match !== null && (date === undefined || !Number.isNaN(Date.parse(date)))
}
