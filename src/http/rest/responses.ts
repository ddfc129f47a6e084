import type { DeletedRow } from '../../database/queries/objects.ts'
import { asUuid } from '../../lib/uuid.ts'
import type { StoredObject } from '../../storage/object/stored-object.ts'

/** An object as answers name it in `Key`: with its bucket. */
export function keyOf(object: { bucket: string; name: string }): string {
  return `${object.bucket}/${object.name}`
}

/** What we add to Supabase's answers about an object (design §8). */
export function ownFields(object: StoredObject) {
  return {
    id: object.id,
    bucket: object.bucket,
    path: object.name,
    size: object.size,
    content_type: object.contentType,
    checksum: object.checksum,
    owner_id: object.ownerId,
    metadata: object.userMetadata,
    created_at: object.createdAt,
    updated_at: object.updatedAt,
  }
}

/** What the info routes tell (contract §3.7). */
export function infoJson(object: StoredObject) {
  const known = object.systemMetadata
  return {
    id: object.id,
    name: object.name,
    version: object.version,
    bucket_id: object.bucket,
    size: object.size,
    content_type: known?.mimetype ?? null,
    cache_control: known?.cacheControl ?? null,
    etag: known?.eTag ?? null,
    metadata: object.userMetadata,
    last_modified: object.updatedAt,
    created_at: object.createdAt,
    content_encoding: object.contentEncoding,
  }
}

/** A row of contract §3.8: texts that are null appear as `""`. */
export function rowJson(row: DeletedRow) {
  return {
    name: row.name ?? '',
    bucket_id: row.bucketId ?? '',
    owner: row.owner ?? '',
    owner_id: row.ownerId ?? '',
    version: row.version ?? '',
    id: row.id,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
    last_accessed_at: row.lastAccessedAt,
    metadata: row.metadata,
    user_metadata: row.userMetadata,
  }
}

/** The same of an object that is there. */
export function storedRowJson(object: StoredObject) {
  return rowJson({
    ...object,
    bucketId: object.bucket,
    owner: asUuid(object.ownerId),
    lastAccessedAt: object.updatedAt,
    metadata: object.systemMetadata,
  })
}
