import { headerSent, headerValue } from './header-value.ts'

/** A number of seconds, with more behind it or alone. */
const SECONDS = /^\d+ *(?:,|$)/

/**
 * What a client says of caching in a field, as a header: a number of seconds (contract §3.3, §5.3), or what is to be the
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
