import { posix } from 'node:path'
import { lookup } from 'mime-types'
import { printable } from '../../lib/printable.ts'
import { StorageError } from '../../model/errors.ts'

/** What bytes of unknown type are called (RFC 9110 §8.3). */
export const UNKNOWN_TYPE = 'application/octet-stream'

/** In characters (wire §3.3). */
const MAX_LENGTH = 1000

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+" // RFC 9110 §5.6.2
const QUOTED = '"(?:[ !#-\\[\\]-~\\xa0-\\xff]|\\\\[ -~\\xa0-\\xff])*"' // RFC 9110 §5.6.4, without control characters

/**
 * `media-type`, RFC 9110 §8.3.1. White space is consumed in one place between two semicolons, or a hostile
 * header would take exponential time.
 */
const MEDIA_TYPE = new RegExp(
  `^${TOKEN}/${TOKEN}(?:[ \\t]*;(?:[ \\t]*${TOKEN}=(?:${TOKEN}|${QUOTED}))?)*[ \\t]*$`,
)

/** Types whose markup a browser runs as a page of our origin. */
const PAGE_TYPE = /text\/html|application\/xhtml\+xml/gi

/**
 * A Content-Type as a client sent it, fit to be sent back: trimmed and otherwise untouched, or undefined
 * when absent or blank. Which types a bucket takes is another question (`mimeTypeAllowed`).
 *
 * @throws InvalidMimeType when it is malformed
 */
export function parseContentType(header: string | undefined): string | undefined {
  const type = trimSpace(header ?? '')
  if (type === '') return undefined
  if (!isMediaType(type)) {
    throw new StorageError('InvalidMimeType', { message: `mime type ${printable(type)} is malformed` })
  }
  return type
}

/** The type that a name's extension stands for. A bare `html` or `.png` is a name without extension. */
export function guessContentType(name: string): string {
  return lookup(posix.extname(name)) || UNKNOWN_TYPE
}

/** Type and subtype in lower case, without parameters: what two types are compared by. */
export function essence(type: string): string {
  return (type.split(';', 1)[0] ?? '').trim().toLowerCase()
}

/** The same without `x-` and `vnd.`, which come and go before the names of one type. */
export function plainName(type: string): string {
  return essence(type).replace(/\/(?:x-|vnd\.)/, '/')
}

/**
 * The Content-Type to download with: anything that mentions HTML is shown as text, parameters kept
 * (wire §3.5), so that an upload cannot become a page of our origin. A stored value that is no type at
 * all, as plain SQL may leave it, is `application/octet-stream`. Send `X-Content-Type-Options: nosniff` too.
 */
export function safeContentType(stored: string): string {
  return isMediaType(stored) ? stored.replace(PAGE_TYPE, 'text/plain') : UNKNOWN_TYPE
}

/** Whether a browser would show it as a page, or may. */
export function isPage(type: string): boolean {
  return type.search(PAGE_TYPE) >= 0
}

/**
 * Whether a browser that opens the object itself may run scripts in it: SVG and every other XML (which may
 * hold XHTML), and multipart streams of pages. Such a response gets a sandboxing Content-Security-Policy;
 * `<img>` is not affected by that.
 */
export function isActiveContent(type: string): boolean {
  return /^(?:[^/]+\/(?:[^/]+\+xml|xml|xsl)|multipart\/.*)$/.test(essence(type))
}

function isMediaType(text: string): boolean {
  return text.length <= MAX_LENGTH && MEDIA_TYPE.test(text)
}

/** Optional white space of RFC 9110 §5.6.3 only: `trim` would also forgive a line break. */
function trimSpace(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text[start])) start++
  while (end > start && isSpace(text[end - 1])) end--
  return text.slice(start, end)
}

function isSpace(char: string | undefined): boolean {
  return char === ' ' || char === '\t'
}
