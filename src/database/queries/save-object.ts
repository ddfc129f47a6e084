import { asUuid } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import type { SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import type { ObjectAttributes } from '../../model/object-attributes.ts'
import { versionId } from '../../model/version-id.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOr1970, jsonOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { attributesJson } from './attributes.ts'
import type { CurrentObject } from './current-object.ts'

/** An object to be, with bytes that are stored or about to be. */
export interface NewObject {
  bucketId: string
  name: string
  version: string
  bytesBucket: string
  /** The caller's subject, or null; an overwrite without one keeps the former owner (wire §7.2). */
  ownerId: string | null
  metadata: SystemMetadata
  userMetadata: UserMetadata | null
  /** SHA-256, 64 lower-case hexadecimal digits; null for a copy of a row that has none. */
  checksum: string | null
  tags: string[]
  /** An overwrite that names no organisation keeps the former one. */
  attributes: ObjectAttributes
  /** After how many days it goes by itself; an overwrite that does not say it keeps the former days. */
  autoDeleteAfterDays?: number | undefined
}

/**
 * Makes a row. Asks for none of its columns back, since that would need a SELECT policy (wire §7.7).
 *
 * @returns its id, and what S3 calls its version
 * @throws ResourceAlreadyExists, AccessDenied, BucketReference when there is no such bucket, SkippedByTrigger
 */
export async function insertObject(
  tx: Transaction,
  object: NewObject,
): Promise<Pick<Saved, 'id' | 'versionId'>> {
  const id = crypto.randomUUID()
  const [row] = await tx.run(INSERT, rowValues(id, object))
  if (!row) throw new StorageError('SkippedByTrigger')
  return { id, ...asWritten(row, object) }
}

/** What a row says that its writer did not. */
export interface Saved {
  id: string
  /** An overwrite without a subject keeps the former one. */
  ownerId: string | null
  /** Whether there was no row of that name before. */
  created: boolean
  createdAt: Date
  updatedAt: Date
  /** What S3 calls the version; null where the bucket keeps none. */
  versionId: string | null
}

/** Makes a row or replaces the one of that name. Needs SELECT and UPDATE policies too (wire §7.7). @throws SkippedByTrigger */
export async function upsertObject(tx: Transaction, object: NewObject): Promise<Saved> {
  const [row] = await tx.run(UPSERT, rowValues(crypto.randomUUID(), object))
  if (!row) throw new StorageError('SkippedByTrigger')
  return { ...asSaved(row), ...asWritten(row, object) }
}

/**
 * The same, but replaces a row only if it still is `current`, and none if that is null.
 *
 * @returns null when another row is there; a row that is made where `current` has gone is told by `created`
 */
export async function upsertObjectOver(
  tx: Transaction,
  object: NewObject,
  current: CurrentObject | null,
): Promise<Saved | null> {
  const values = rowValues(crypto.randomUUID(), object)
  const [row] = await tx.run(UPSERT_OVER, { ...values, mark: current?.mark ?? null })
  return row ? { ...asSaved(row), ...asWritten(row, object) } : null
}

/** As the columns of a row take them. */
export function rowValues(id: string, object: NewObject) {
  return {
    ...object,
    id,
    owner: asUuid(object.ownerId),
    metadata: JSON.stringify(object.metadata),
    userMetadata: jsonOrNull(object.userMetadata),
    autoDeleteAfterDays: object.autoDeleteAfterDays ?? null,
    attributes: jsonOrNull(attributesJson(object.attributes)),
  }
}

export type RowValues = ReturnType<typeof rowValues>

/** Of a bucket that keeps no versions. */
export function asSaved(row: Omit<UpsertedRow, 'written'>): Saved {
  return {
    id: row.id,
    ownerId: row.owner_id,
    created: row.created,
    createdAt: dateOr1970(row.created_at),
    updatedAt: dateOr1970(row.updated_at),
    versionId: null,
  }
}

/** What has become of a version that the bucket keeps, where it keeps any; the id is that of the history of its name then. */
function asWritten(
  { written }: WrittenRow,
  { version }: NewObject,
): Partial<Pick<Saved, 'id'>> & Pick<Saved, 'versionId'> {
  return written
    ? { id: written.id, versionId: versionId(version, written.is_versioned) }
    : { versionId: null }
}

interface WrittenRow {
  /** Null where the bucket keeps no versions. */
  written: { id: string; is_versioned: boolean } | null
}

interface UpsertedRow extends WrittenRow {
  id: string
  owner_id: string | null
  created_at: string | null
  updated_at: string | null
  created: boolean
}

const INSERTION = `
  insert into storage.objects (id, bucket_id, name, version, bytes_bucket, owner, owner_id, metadata, user_metadata, checksum,
    tags, auto_delete_after_days, file_name, organization_id, access_level, asset_type, enable_indexing)
  values (:id, :bucketId, :name, :version, :bytesBucket, :owner, :ownerId, :metadata, :userMetadata, :checksum, :tags,
    :autoDeleteAfterDays, :attributes::jsonb ->> 'file_name', :attributes::jsonb ->> 'organization_id',
    coalesce(:attributes::jsonb ->> 'access_level', 'private'), :attributes::jsonb ->> 'asset_type',
    coalesce((:attributes::jsonb ->> 'enable_indexing')::boolean, true))`

// It is of no column, so that no policy is asked whether the row is seen.
const WRITTEN = 'storage.written_version(:bucketId, :name, :version) as written'

const INSERT = new Statement<RowValues, WrittenRow>(`${INSERTION} returning ${WRITTEN}`)

const upsertion = (condition = '') => `${INSERTION}
  on conflict (bucket_id, name) do update set
    version = excluded.version,
    bytes_bucket = excluded.bytes_bucket,
    owner = coalesce(excluded.owner, objects.owner),
    owner_id = coalesce(excluded.owner_id, objects.owner_id),
    metadata = excluded.metadata,
    user_metadata = excluded.user_metadata,
    checksum = excluded.checksum,
    tags = excluded.tags,
    auto_delete_after_days = coalesce(excluded.auto_delete_after_days, objects.auto_delete_after_days),
    file_name = excluded.file_name,
    organization_id = coalesce(excluded.organization_id, objects.organization_id),
    access_level = excluded.access_level,
    asset_type = excluded.asset_type,
    enable_indexing = excluded.enable_indexing
  ${condition}
  -- Only a row that this statement inserted has no deleting transaction.
  returning id, owner_id, created_at, updated_at, xmax = 0 as created, ${WRITTEN}`

const UPSERT = new Statement<RowValues, UpsertedRow>(upsertion())

const UPSERT_OVER = new Statement<RowValues & { mark: string | null }, UpsertedRow>(
  upsertion('where objects.xmin::text = :mark'),
)
