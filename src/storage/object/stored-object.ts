import type { ObjectRow } from '../../database/queries/objects.ts'
import { UUID } from '../../lib/uuid.ts'
import type { AutoDeletion } from '../../model/auto-deletion.ts'
import type { Location } from '../../model/location.ts'
import type { SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import type { ObjectAttributes } from '../../model/object-attributes.ts'
import type { Versioning } from '../../model/version-id.ts'
import type { Validators } from '../../model/write-condition.ts'
import { UNKNOWN_TYPE } from './content-type.ts'

/** An object as the wire surfaces show it, whoever made its row. */
export interface StoredObject {
  id: string
  bucket: string
  name: string
  /** Null when no bytes of ours belong to the row. */
  location: Location | null
  version: string | null
  /** What S3 calls it; null where the bucket keeps no versions. */
  versionId: string | null
  /** In bytes; null when unknown. */
  size: number | null
  contentType: string
  cacheControl: string
  contentEncoding: string | null
  robotsTag: string | null
  /** Strong, with its quotes (RFC 9110 §8.8.3). */
  etag: string
  /** When the bytes were stored; the row itself also changes when the object is moved. */
  lastModified: Date
  /** SHA-256, 64 lower-case hexadecimal digits; null when unknown. */
  checksum: string | null
  /** Whether the bytes are known to differ from those that were uploaded; nobody is sent them. */
  isCorrupted: boolean
  ownerId: string | null
  systemMetadata: SystemMetadata | null
  userMetadata: UserMetadata | null
  tags: string[]
  attributes: ObjectAttributes
  createdAt: Date
  updatedAt: Date
  /** Null when it stays, and when that was not asked for. */
  autoDelete: AutoDeletion | null
  /** Null when it was not asked for. */
  versioning: Versioning | null
}

/** Stored when a client names no `cache-control` (wire §3.3). */
export const DEFAULT_CACHE_CONTROL = 'no-cache'

/** Reads a row, also one that plain SQL made with any metadata or none. */
export function storedObject(row: ObjectRow): StoredObject {
  const metadata = metadataOf(row)
  const size = metadata?.size
  return {
    id: row.id,
    bucket: row.bucketId,
    name: row.name,
    location:
      row.version !== null && UUID.test(row.version)
        ? { bucket: row.bytesBucket, version: row.version }
        : null,
    version: row.version,
    versionId: row.versionId ?? null,
    size: typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : null,
    contentType: textOr(metadata?.mimetype, UNKNOWN_TYPE),
    cacheControl: textOr(metadata?.cacheControl, DEFAULT_CACHE_CONTROL),
    contentEncoding: textOr(metadata?.contentEncoding, null),
    robotsTag: textOr(metadata?.xRobotsTag, null),
    etag: etagOf(row),
    lastModified: lastModifiedOf(row),
    checksum: row.checksum,
    isCorrupted: row.quarantineReason === 'corrupted',
    ownerId: row.ownerId,
    systemMetadata: metadata,
    userMetadata: row.userMetadata,
    tags: row.tags,
    attributes: row.attributes,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    autoDelete: row.autoDelete ?? null,
    versioning: row.versioning ?? null,
  }
}

/** Of a row, whoever made it. */
export function validatorsOf(row: ValidatedRow): Validators {
  return { etag: etagOf(row), lastModified: lastModifiedOf(row), version: row.version }
}

type ValidatedRow = Pick<ObjectRow, 'id' | 'version' | 'metadata' | 'updatedAt'>

function metadataOf({ metadata }: Pick<ObjectRow, 'metadata'>): SystemMetadata | null {
  return typeof metadata === 'object' ? metadata : null
}

function etagOf(row: Omit<ValidatedRow, 'updatedAt'>): string {
  const etag = metadataOf(row)?.eTag
  return STRONG_ETAG.test(etag ?? '') ? textOr(etag, '') : `"${row.version || row.id}"`
}

function lastModifiedOf(row: Pick<ValidatedRow, 'metadata' | 'updatedAt'>): Date {
  const stored = new Date(metadataOf(row)?.lastModified ?? Number.NaN)
  return Number.isNaN(stored.getTime()) ? row.updatedAt : stored
}

/** RFC 9110 §8.8.3, without the weak ones. */
const STRONG_ETAG = /^"[\x21\x23-\x7e]*"$/

/** A text that can be a header's value, or the other. */
export function textOr<T>(value: unknown, otherwise: T): string | T {
  return typeof value === 'string' && /^[\x20-\x7e\x80-\xff\t]+$/.test(value) ? value : otherwise
}
