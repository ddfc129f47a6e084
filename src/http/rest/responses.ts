import type { DeletedRow } from '../../database/queries/delete-objects.ts'
import type { ListEntry } from '../../database/queries/listing.ts'
import { asUuid } from '../../lib/uuid.ts'
import type { AutoDeletion } from '../../model/auto-deletion.ts'
import { NULL_VERSION } from '../../model/version-id.ts'
import { assetTypeOf } from '../../storage/object/attributes.ts'
import type { StoredObject } from '../../storage/object/stored-object.ts'
import type { Stored } from '../../storage/writing/commit.ts'
import { type AppContext, logStored } from '../env.ts'
import type { Services } from '../services.ts'

export interface Additions {
  /** The status by our own rules (design §8); Supabase's is always 200. */
  status?: 200 | 201 | 204
  /** Fields that only our own shape has. */
  fields?: Record<string, unknown>
}

/**
 * The one renderer of successful JSON answers that differ between the two modes: `body` is Supabase's (wire §2,
 * §3), and unless its exact wire is wanted (STORAGE_COMPAT=supabase), ours is added to it; where both have a field,
 * Supabase's stays.
 */
export function successResponse(
  c: AppContext,
  { supabaseCompat }: { supabaseCompat: boolean },
  body: Record<string, unknown>,
  { status = 200, fields = {} }: Additions = {},
): Response {
  if (supabaseCompat) return c.json(body)
  if (status === 204) return c.body(null, 204)
  return c.json({ ...fields, ...body }, status)
}

/** The same for a list. */
export function successList(
  c: AppContext,
  { supabaseCompat }: { supabaseCompat: boolean },
  items: { body: Record<string, unknown>; fields: Record<string, unknown> }[],
): Response {
  return c.json(items.map(({ body, fields }) => (supabaseCompat ? body : { ...fields, ...body })))
}

/** Answers an upload: Supabase's own body, and the object itself (wire §3.3). */
export function uploadResponse(
  c: AppContext,
  services: Services,
  stored: Stored,
  body: Record<string, unknown>,
): Response {
  const { object, created } = stored
  logStored(c, stored)
  // PUT is an update, which RFC 9110 §9.3.4 answers with 201 only when there was nothing before.
  const status = created || c.req.method === 'POST' ? 201 : 200
  return successResponse(c, services, body, { status, fields: ownFields(object) })
}

/** An object as answers name it in `Key`: with its bucket. */
export function keyOf(object: { bucket: string; name: string }): string {
  return `${object.bucket}/${object.name}`
}

/** What we add to Supabase's answers about an object (wire §3.3). */
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

/** What an object says of itself (docs/attributes.md), with what follows where it says nothing. */
export function attributeFields({ name, tags, attributes, contentType }: StoredObject) {
  const { fileName, organizationId, accessLevel, assetType, enableIndexing } = attributes
  return {
    tags,
    file_name: fileName ?? lastOf(name),
    organization_id: organizationId ?? null,
    access_level: accessLevel ?? 'private',
    asset_type: assetType ?? assetTypeOf(contentType),
    enable_indexing: enableIndexing ?? true,
  }
}

/** A file by its id: by our names of the fields, and by those that other services have for them. */
export function fileJson(object: StoredObject) {
  const own = ownFields(object)
  const said = attributeFields(object)
  return {
    ...own,
    ...said,
    status: 'available',
    etag: object.etag,
    cache_control: object.cacheControl,
    ...autoDeletion(object),
    file_id: own.id,
    bucket_name: own.bucket,
    file_path: own.path,
    filename: said.file_name,
    file_size: own.size,
    mime_type: own.content_type,
    content_hash: own.checksum,
    user_id: own.owner_id,
    uploaded_at: own.created_at,
  }
}

function lastOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** What the info routes tell (wire §3.7). */
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

/** Which version an object is (wire §13.2). */
export function versionJson({ versionId, versioning }: StoredObject) {
  return {
    archived_at: versioning?.archivedAt ?? null,
    is_versioned: versioning?.isVersioned ?? (versionId !== null && versionId !== NULL_VERSION),
    is_delete_marker: false,
  }
}

/** Supabase's servers of before versions tell nothing of them: so it is of a bucket that has never kept any (wire §13.2). */
export function withVersion(object: StoredObject, body: Record<string, unknown>): Record<string, unknown> {
  return object.versionId === null ? body : { ...body, ...versionJson(object) }
}

/** When it goes by itself, if it does. */
export function autoDeletion({ autoDelete }: StoredObject) {
  return { auto_delete_after_days: autoDelete?.days ?? null, auto_delete_at: autoDelete?.at ?? null }
}

/** The same, of what does. */
export function autoDeleteJson(autoDelete: AutoDeletion | null) {
  return autoDelete && { auto_delete_after_days: autoDelete.days, auto_delete_at: autoDelete.at }
}

/** Supabase's servers of before versions tell nothing of them: so it is of a bucket that has never kept any (wire §13.2). */
export function listEntryJson(
  { supabaseCompat }: Pick<Services, 'supabaseCompat'>,
  entry: Omit<ListEntry, 'exact'>,
) {
  const { version, versioning } = entry
  return {
    name: entry.name,
    id: entry.id,
    updated_at: entry.updatedAt,
    created_at: entry.createdAt,
    last_accessed_at: entry.lastAccessedAt,
    metadata: entry.metadata,
    ...((entry.keepsVersions || !supabaseCompat) && {
      version,
      archived_at: versioning?.archivedAt ?? null,
      is_versioned: versioning?.isVersioned ?? null,
      is_delete_marker: versioning ? entry.isDeleteMarker : null,
    }),
    ...(!supabaseCompat && autoDeleteJson(entry.autoDelete)),
  }
}

/** A row of wire §3.8: texts that are null appear as `""`. */
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

/** The same of one that is deleted, where versions are kept with the version that is gone, or the marker that says so. */
export function deletedJson(row: DeletedRow) {
  const { isDeleteMarker } = row
  return { ...rowJson(row), ...(isDeleteMarker !== undefined && { is_delete_marker: isDeleteMarker }) }
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
