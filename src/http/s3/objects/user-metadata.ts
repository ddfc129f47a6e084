import type { IncomingHttpHeaders } from 'node:http'
import { StorageError } from '../../../model/errors.ts'
import type { UserMetadata } from '../../../model/metadata.ts'

/** User metadata in headers, a name of which each has in front (wire §6.4). */
const PREFIX = 'x-amz-meta-'

/** Of names and values together, in bytes: as S3 has it, whose clients know. */
const MAX_BYTES = 2048

/** What can be the rest of a header's name (RFC 9110 §5.6.2), as Node gives it. */
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/

/** What a header may say without being encoded, and without losing blanks at its ends. */
const VALUE = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/

/**
 * What a request says of its object.
 *
 * @throws MetadataTooLarge
 */
export function metadataOf(headers: IncomingHttpHeaders): UserMetadata {
  const metadata: UserMetadata = {}
  let bytes = 0
  for (const name in headers) {
    if (!name.startsWith(PREFIX)) continue
    const key = name.slice(PREFIX.length)
    const value = decoded(headers[name]?.toString() ?? '')
    bytes += key.length + Buffer.byteLength(value)
    if (key !== '') Object.defineProperty(metadata, key, { value, enumerable: true })
  }
  if (bytes > MAX_BYTES) throw new StorageError('MetadataTooLarge')
  return metadata
}

/** Node reads headers as Latin-1; S3 clients write UTF-8. */
function decoded(header: string): string {
  if (/^[\x00-\x7f]*$/.test(header)) return header
  const bytes = Buffer.from(header, 'latin1')
  const text = bytes.toString()
  return text.includes('\ufffd') ? header : text
}

/** The same of an object, and how many entries cannot be headers: they are left out, and counted. */
export function metadataHeaders(metadata: UserMetadata | null): Record<string, string> {
  if (!metadata) return {}
  const headers: Record<string, string> = {}
  let missing = 0
  let bytes = 0
  for (const [key, value] of Object.entries(metadata)) {
    const name = key.toLowerCase()
    const isText = typeof value === 'string' && VALUE.test(value) && NAME.test(name)
    const size = isText ? name.length + value.length : 0
    if (isText && bytes + size <= MAX_BYTES) {
      headers[PREFIX + name] = value
      bytes += size
    } else missing++
  }
  if (missing > 0) headers['x-amz-missing-meta'] = String(missing)
  return headers
}
