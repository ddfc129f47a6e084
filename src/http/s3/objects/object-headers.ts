import { StorageError } from '../../../model/errors.ts'
import { isActiveContent, isPage } from '../../../storage/object/content-type.ts'
import { s3HeadersOf } from '../../../storage/object/s3-metadata.ts'
import type { StoredObject } from '../../../storage/object/stored-object.ts'
import { type ObjectHeaders, reprDigest, SANDBOX } from '../../message/object-response.ts'
import { headerSent } from '../../message/upload-headers.ts'
import type { S3Request } from '../request.ts'
import { versionHeaders } from '../version-ids.ts'
import { metadataHeaders } from './user-metadata.ts'

/** Parameters by which a reader says what a header of the answer is to be. */
const OVERRIDES = {
  'response-cache-control': 'Cache-Control',
  'response-content-disposition': 'Content-Disposition',
  'response-content-encoding': 'Content-Encoding',
  'response-content-language': 'Content-Language',
  'response-content-type': 'Content-Type',
  'response-expires': 'Expires',
} as const

/**
 * What a GET or HEAD tells of an object, in S3's words. The type is the true one, of pages too: a browser that opens a
 * presigned URL gets them in a sandbox.
 *
 * @throws InvalidHeaderChar
 */
export function objectHeaders({ query }: S3Request, object: StoredObject): ObjectHeaders {
  const { contentDisposition, contentLanguage, expires } = s3HeadersOf(object)
  const headers: ObjectHeaders = {
    'Content-Type': object.contentType,
    ETag: object.etag,
    'Last-Modified': object.lastModified.toUTCString(),
    'Accept-Ranges': 'bytes',
    'Cache-Control': object.cacheControl,
    'created-at': object.createdAt.toISOString(),
    ...versionHeaders(object.versionId),
    ...metadataHeaders(object.userMetadata),
  }
  if (object.contentEncoding !== null) headers['Content-Encoding'] = object.contentEncoding
  if (contentDisposition !== null) headers['Content-Disposition'] = contentDisposition
  if (contentLanguage !== null) headers['Content-Language'] = contentLanguage
  if (expires !== null) headers.Expires = expires
  if (object.robotsTag !== null) headers['X-Robots-Tag'] = object.robotsTag
  const digest = reprDigest(object)
  if (digest !== undefined) headers['Repr-Digest'] = digest
  if (object.tags.length > 0) headers['x-amz-tagging-count'] = String(object.tags.length)
  for (const [parameter, header] of Object.entries(OVERRIDES)) {
    const value = query.size === 0 ? undefined : query.get(parameter)
    if (value !== undefined) headers[header] = overriding(value)
  }
  const type = headers['Content-Type']
  if (isPage(type) || isActiveContent(type)) {
    headers['Content-Security-Policy'] = SANDBOX
  }
  return headers
}

/** @throws InvalidHeaderChar */
function overriding(value: string): string {
  if (/^[\x20-\x7e\x80-\xff\t]*$/.test(value)) return headerSent(value) ?? ''
  throw new StorageError('InvalidHeaderChar')
}
