import { base64OfHex, type Checksum, storedChecksum } from '../../model/checksums.ts'
import type { SystemMetadata } from '../../model/metadata.ts'
import { type ObjectParts, storedParts } from '../../model/object-parts.ts'
import { type StoredObject, textOr } from './stored-object.ts'

/** What a row says of an object that came by S3, and of no other. */
export type S3Metadata = Pick<SystemMetadata, 'eTag' | 'checksum' | 'parts'> & S3Headers

/** Headers that S3 keeps and other surfaces have of their own. */
export const S3_HEADERS = ['contentDisposition', 'contentLanguage', 'expires'] as const
export type S3Headers = Pick<SystemMetadata, (typeof S3_HEADERS)[number]>

/**
 * By what an S3 client can check the bytes. What came otherwise is known by its SHA-256, for which nothing has to be read.
 */
export function checksumOf(object: StoredObject): Checksum | null {
  return storedChecksum(object.systemMetadata?.checksum) ?? sha256ChecksumOf(object)
}

/** Null for a row that has none, or not yet. */
export function sha256ChecksumOf({ checksum }: StoredObject): Checksum | null {
  if (checksum === null || !/^[0-9a-f]{64}$/.test(checksum)) return null
  return { algorithm: 'SHA256', type: 'FULL_OBJECT', value: base64OfHex(checksum) }
}

/** Null for an object that came in one piece. */
export function partsOf({ systemMetadata, size }: StoredObject): ObjectParts | null {
  return storedParts(systemMetadata?.parts, size)
}

/** Of a row that plain SQL may have made: only what can be a header. */
export function s3HeadersOf({ systemMetadata }: StoredObject): Record<keyof S3Headers, string | null> {
  const [contentDisposition = null, contentLanguage = null, expires = null] = S3_HEADERS.map((name) =>
    textOr(systemMetadata?.[name], null),
  )
  return { contentDisposition, contentLanguage, expires }
}
