import { StorageError } from '../../model/errors.ts'
import { parseAttributes } from '../../storage/object/attributes.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import type { LateFields } from '../../storage/writing/upload-request.ts'
import { cacheControlOf, headerValue, metadataFromJson } from './upload-headers.ts'

/** Wire §3.3. */
export const MAX_FIELD_BYTES = 1024 * 1024

/** Of all fields together, their names included. The largest one, and room for the rest. */
const MAX_FIELDS_BYTES = MAX_FIELD_BYTES + 64 * 1024

/** The fields of a form, as far as they have come. They are kept in memory. */
export class FormFields {
  readonly #values = new Map<string, string>()
  #bytes = 0

  /** @param isTruncated whether it has more bytes than a field may have @throws EntityTooLarge */
  add(name: string, value: string, isTruncated: boolean): void {
    this.#bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
    if (isTruncated) throw tooLarge(`The form field ${name} is too large`)
    if (this.#bytes > MAX_FIELDS_BYTES) throw tooLarge('The form fields together are too large')
    const before = name === 'tags' ? this.#values.get(name) : undefined
    this.#values.set(name, before === undefined ? value : `${before},${value}`) // one tag each
  }

  /** All that have come so far, by their names in lower case. */
  all(): ReadonlyMap<string, string> {
    return new Map([...this.#values].map(([name, value]) => [name.toLowerCase(), value]))
  }

  /** The SHA-256 that the file is said to have, in hex. */
  get contentHash(): string | undefined {
    return this.#values.get('content_hash')
  }

  /** Those that mean something to us. @throws InvalidMimeType, InvalidHeaderChar, InvalidRequest, and as `parseAttributes` */
  known(): LateFields {
    const fields = this.#values
    const contentType = parseContentType(fields.get('contentType'))
    const cacheControl = cacheControlOf(fields.get('cacheControl'))
    const contentEncoding = fields.get('contentEncoding')
    const userMetadata = metadataFromJson(fields.get('metadata') ?? fields.get('userMetadata'))
    return {
      ...(contentType !== undefined && { contentType }),
      ...(cacheControl !== undefined && { cacheControl }),
      ...(contentEncoding && { contentEncoding: headerValue(contentEncoding) }),
      ...(userMetadata !== undefined && { userMetadata }),
      ...parseAttributes((field) => fields.get(field)),
    }
  }
}

function tooLarge(message: string): StorageError {
  return new StorageError('EntityTooLarge', { message })
}
