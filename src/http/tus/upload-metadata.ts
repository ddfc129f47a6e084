import { StorageError } from '../../model/errors.ts'
import { parseAttributes } from '../../storage/object/attributes.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import { DEFAULT_CACHE_CONTROL } from '../../storage/object/stored-object.ts'
import type { ResumableRequest } from '../../storage/resumable/resumable-uploads.ts'
import { sha256In } from '../message/declared-hashes.ts'
import { cacheControlOf, metadataFromJson } from '../message/upload-headers.ts'

/** What the Upload-Metadata of a creation says (wire §5.3). */
export type UploadMetadata = Pick<ResumableRequest, 'bucket' | 'name' | 'content'>

/** In characters. The header comes back with each HEAD, and clients on Node take no more than 16 KiB of headers. */
const MAX_LENGTH = 12 * 1024

/** `key base64`, or `key` alone; a key is printable ASCII without space and comma (TUS 1.0, Upload-Metadata). */
const METADATA_PAIR = /^([!-+\--~]+)(?: ([A-Za-z0-9+/]*={0,2}))?$/

/**
 * Reads the Upload-Metadata header. Unknown keys mean nothing here, and are kept by who keeps the header.
 *
 * @throws InvalidRequest when it is missing, malformed, or names no bucket or object; InvalidMimeType,
 *   InvalidHeaderChar, InvalidChecksum, and as `parseAttributes`
 */
export function parseUploadMetadata(header: string | undefined): UploadMetadata {
  if (header === undefined || header.trim() === '') throw malformed('Upload-Metadata is required')
  if (header.length > MAX_LENGTH) throw malformed('Upload-Metadata is too long')
  const values = new Map<string, string>()
  for (const pair of header.split(',')) {
    const [, key, value = ''] = METADATA_PAIR.exec(pair.trim()) ?? []
    if (key === undefined || values.has(key)) throw malformed('Upload-Metadata is malformed')
    values.set(key, decode(value))
  }
  const bucket = values.get('bucketName')
  const name = values.get('objectName')
  if (!bucket || !name) throw malformed('Upload-Metadata needs bucketName and objectName')
  const contentType = parseContentType(values.get('contentType'))
  const userMetadata = metadataFromJson(values.get('metadata'))
  const sha256 = sha256In(values.get('content_hash'), 'content_hash')
  return {
    bucket,
    name,
    content: {
      contentType,
      cacheControl: cacheControlOf(values.get('cacheControl')) ?? DEFAULT_CACHE_CONTROL,
      ...(userMetadata !== undefined && { userMetadata }),
      ...(sha256 !== undefined && { sha256 }),
      sent: parseAttributes((field) => values.get(field)),
    },
  }
}

function decode(base64: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(base64, 'base64'))
  } catch (cause) {
    throw new StorageError('InvalidRequest', {
      message: 'Upload-Metadata has a value that is not UTF-8',
      cause,
    })
  }
}

function malformed(message: string): StorageError {
  return new StorageError('InvalidRequest', { message })
}
