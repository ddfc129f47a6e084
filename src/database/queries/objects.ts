import { and, eq, sql } from 'drizzle-orm'
import { asUuid } from '../../lib/uuid.ts'
import type { AutoDeletion } from '../../model/auto-deletion.ts'
import type { Access, Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { QuarantineReason, SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import type { ObjectAttributes } from '../../model/object-attributes.ts'
import { NULL_VERSION, type Versioning, versionId, type WantedVersion } from '../../model/version-id.ts'
import { asCaller, callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOr1970, dateOrNull, textArray } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { objects } from '../schema.ts'
import { type AttributesJson, attributesOf } from './attributes.ts'
import { type AutoDeletionColumns, autoDeletionOf } from './auto-delete.ts'

/** One object as its row tells it. */
export interface ObjectRow {
  id: string
  bucketId: string
  name: string
  /** Null, or any text, for rows that plain SQL made: those have no bytes of ours. */
  version: string | null
  /** The uid of the bucket under which the bytes are. */
  bytesBucket: string
  ownerId: string | null
  metadata: SystemMetadata | null
  userMetadata: UserMetadata | null
  /** SHA-256, 64 lower-case hexadecimal digits; null for rows that plain SQL made. */
  checksum: string | null
  tags: string[]
  attributes: ObjectAttributes
  /** What is known to be wrong with the bytes; null is the normal case. */
  quarantineReason: QuarantineReason | null
  createdAt: Date
  updatedAt: Date
  /** Undefined where it was not asked for. */
  versioning?: Versioning
  /** When it goes by itself; null: not at all. Undefined where it was not asked for. */
  autoDelete?: AutoDeletion | null
  /** What S3 calls its version; null where the bucket keeps none, undefined where it was not asked for. */
  versionId?: string | null
}

/** An object that was found, and what its bucket is. */
export interface FoundObject extends ObjectRow {
  isPublic: boolean
  bucketUid: string
  /** Those that are in the database, if they were asked for. */
  bytes: Uint8Array<ArrayBuffer> | null
}

/** What is to be read, and by what right. */
export interface ReadTarget {
  access: Access
  bucket: string
  name: string
  /** The bucket that is meant, when another may have its name by now; undefined means whichever has the name. */
  bucketUid?: string | undefined
  /** Undefined: what is there now. */
  version?: WantedVersion | undefined
  /** Whether a name that has no object is told of by the marker that says so: another question, where versions are kept. */
  withMarker?: boolean
}

/** In place of an object: what S3 calls the marker by which it is deleted, or that was asked for. */
export interface FoundMarker {
  marker: string
}

/**
 * Finds an object in one round trip, or in two where that is a marker.
 *
 * @param bytesUnless the version whose bytes the reader has; bytes that are in the database come along unless it is this
 *   one, or null
 * @returns `noBucket` when the bucket is absent, another one, or not for this access; null when the object, or the version, is
 *   absent or hidden
 */
export async function findObject(
  database: Database,
  caller: Caller,
  { access, bucket: bucketId, name, bucketUid, version, withMarker }: ReadTarget,
  bytesUnless: string | null = null,
): Promise<FoundObject | FoundMarker | null | 'noBucket'> {
  const context = callerContext(caller)
  const asked = { access, bucketId, name, bytesUnless, context }
  const [row] = version
    ? await database.run(READ_VERSION, { ...asked, ...versionValues(version) })
    : await database.read(READ_OBJECT, asked)
  if (row === undefined || (bucketUid !== undefined && row.bucket_uid !== bucketUid)) return 'noBucket'
  if (row.is_delete_marker) return { marker: versionId(row.version, row.is_versioned) }
  if (row.id === null) {
    if (version || !withMarker || !row.keeps_versions) return null
    const [marker] = await database.run(READ_MARKER, { access, bucketId, name, context })
    return marker ? { marker: versionId(marker.version, marker.is_versioned) } : null
  }
  return {
    id: row.id,
    bucketId,
    name,
    version: row.version,
    bytesBucket: row.bytes_bucket,
    ownerId: row.owner_id,
    metadata: row.metadata,
    userMetadata: row.user_metadata,
    checksum: row.checksum,
    tags: row.tags,
    attributes: attributesOf(row.attributes),
    quarantineReason: row.quarantine_reason,
    isPublic: row.is_public === true,
    bucketUid: row.bucket_uid,
    bytes: row.bytes,
    createdAt: dateOr1970(row.created_at),
    updatedAt: dateOr1970(row.updated_at),
    versionId: row.keeps_versions ? versionId(row.version, row.is_versioned) : null,
    autoDelete: autoDeletionOf(row),
    ...(row.version_number !== undefined && { versioning: versioningOf(row) }),
  }
}

const READ_OBJECT = new Statement<
  { access: Access; bucketId: string; name: string; bytesUnless: string | null; context: string },
  FoundRow
>('select * from storage.read_row(:access, :bucketId, :name, :bytesUnless, :context)')

/** As `storage.read_version_row` and its like take them. */
export function versionValues(version: WantedVersion): { wanted: string | null; moment: string | null } {
  if ('at' in version) return { wanted: null, moment: version.at.toISOString() }
  if ('id' in version) return { wanted: isId(version.id) ? version.id : NO_VERSION, moment: null }
  return { wanted: 'number' in version ? `#${version.number}` : NULL_VERSION, moment: null }
}

/** Numbers begin with 1. */
const NO_VERSION = '#0'

/** Whether it can be told from the other ways to name a version, and PostgreSQL takes it. */
function isId(text: string): boolean {
  return text !== NULL_VERSION && !text.startsWith('#') && !/[\0\p{Cs}]/u.test(text)
}

const READ_VERSION = new Statement<
  {
    access: Access
    bucketId: string
    name: string
    wanted: string | null
    moment: string | null
    bytesUnless: string | null
    context: string
  },
  FoundRow
>(
  `select * from storage.read_version_row(:access, :bucketId, :name, :wanted, :moment::timestamptz, :bytesUnless, :context)`,
)

const READ_MARKER = new Statement<
  { access: Access; bucketId: string; name: string; context: string },
  { version: string; is_versioned: boolean }
>('select * from storage.read_marker(:access, :bucketId, :name, :context)')

function versioningOf(row: FoundRow): Versioning {
  return {
    isVersioned: row.is_versioned === true,
    archivedAt: dateOrNull(row.archived_at ?? null),
    isLatest: row.is_latest === true,
    number: row.version_number ?? 1,
  }
}

interface FoundRow extends AutoDeletionColumns {
  bucket_uid: string
  id: string | null
  version: string | null
  bytes_bucket: string
  owner_id: string | null
  metadata: SystemMetadata | null
  user_metadata: UserMetadata | null
  checksum: string | null
  tags: string[]
  attributes: AttributesJson | null
  quarantine_reason: QuarantineReason | null
  is_public: boolean | null
  bytes: Uint8Array<ArrayBuffer> | null
  created_at: string | null
  updated_at: string | null
  keeps_versions: boolean | null
  is_versioned: boolean | null
  // Of a version alone.
  archived_at?: string | null
  is_delete_marker?: boolean
  version_number?: number
  is_latest?: boolean
}

/**
 * Gives a visible object another name or bucket.
 *
 * @param to.at its bytes from now on, under a version of their own; undefined: they stay what they are
 * @returns null when the policies do not let it; else whether the name that it leaves keeps a version, or a marker
 */
export async function renameObject(
  tx: Transaction,
  from: { bucketId: string; name: string },
  to: { bucketId: string; name: string; ownerId: string | null; at?: Location | undefined },
): Promise<{ keepsVersions: boolean } | null> {
  const [row] = await tx
    .update(objects)
    .set({
      bucketId: to.bucketId,
      name: to.name,
      ...(to.ownerId === null ? {} : { ownerId: to.ownerId, owner: asUuid(to.ownerId) }),
      ...(to.at && { version: to.at.version, bytesBucket: to.at.bucket }),
    })
    .where(named(from))
    .returning({ keepsVersions: keepsVersions(from.bucketId) })
  return row ? { keepsVersions: row.keepsVersions === true } : null
}

function keepsVersions(bucketId: string) {
  return sql<boolean | null>`storage.keeps_versions(${bucketId})`
}

/** Gives a visible object these tags, if it still has that version. Returns whether the policies let it. */
export async function updateTags(
  tx: Transaction,
  object: { bucketId: string; name: string },
  tags: string[],
  version: string | null,
): Promise<boolean> {
  const chosen = version === null ? named(object) : and(named(object), eq(objects.version, version))
  const rows = await tx.update(objects).set({ tags }).where(chosen).returning({ id: objects.id })
  return rows.length > 0
}

/** Deletes an object, if the policies let the caller see and delete it; returns its row, and whether a marker is in its place. */
export async function deleteObject(
  tx: Transaction,
  object: { bucketId: string; name: string },
): Promise<
  (Pick<ObjectRow, 'id' | 'version' | 'metadata' | 'updatedAt'> & { keepsVersions: boolean }) | null
> {
  const [row] = await tx
    .delete(objects)
    .where(named(object))
    .returning({
      id: objects.id,
      version: objects.version,
      metadata: objects.metadata,
      updatedAt: objects.updatedAt,
      keepsVersions: keepsVersions(object.bucketId),
    })
  if (!row) return null
  return { ...row, updatedAt: row.updatedAt ?? new Date(0), keepsVersions: row.keepsVersions === true }
}

/** The database's clock, which is the one that `created_at` is set by. */
export async function databaseTime(tx: Transaction): Promise<string> {
  const [row] = await tx.run(NOW, {})
  return row?.now ?? ''
}

const NOW = new Statement<object, { now: string }>('select now()::text as now')

/**
 * Deletes up to `limit` objects of a bucket that were there at `before`, whatever their names.
 *
 * @returns how many it has chosen, and how many of those are there all the same, by a trigger
 */
export async function deleteAnyObjects(
  tx: Transaction,
  bucketId: string,
  before: string,
  limit: number,
): Promise<{ chosen: number; kept: number }> {
  const [row] = await tx.execute<{ chosen: number; left: string[] }>(sql`
    with chosen as (
      select o.id from ${objects} o
      where o.bucket_id = ${bucketId} and (o.created_at is null or o.created_at <= ${before})
      limit ${limit}
    ),
    gone as (delete from ${objects} where id in (select id from chosen) returning id)
    select (select count(*)::int from chosen) as chosen,
      array(select id::text from chosen except select id::text from gone) as left`)
  const { chosen = 0, left = [] } = row ?? {}
  if (left.length === 0) return { chosen, kept: 0 }
  // Others may have deleted them at the same moment.
  const kept = await tx.execute(sql`select from ${objects} where id = any (${textArray(left)}::uuid[])`)
  return { chosen, kept: kept.length }
}

/** Which of these names the caller may see, each with the uid of its bucket. */
export async function visibleNames(
  database: Database,
  caller: Caller,
  bucketId: string,
  names: string[],
): Promise<Map<string, string>> {
  const rows = await database.run(VISIBLE_NAMES, { bucketId, names, context: callerContext(caller) })
  return new Map(rows.map((row) => [row.name, row.bucket_uid]))
}

const VISIBLE_NAMES = new Statement<
  { bucketId: string; names: string[]; context: string },
  { name: string; bucket_uid: string }
>('select * from storage.visible_names_as(:bucketId, :names::text[], :context)')

/** Which row has a name, as `Deletions.there` says it. Null when there is none that the caller may see. */
export async function findRow(tx: Transaction, bucketId: string, name: string): Promise<string | null> {
  const rows = tx.select({ id: objects.id, version: objects.version }).from(objects)
  const [row] = await rows.where(named({ bucketId, name }))
  return row ? `${row.id} ${row.version}` : null
}

/** Where the object of an id is; null when there is none that the caller may see. */
export function findPlace(
  database: Pick<Database, 'transaction'>,
  caller: Caller,
  id: string,
): Promise<{ bucket: string; name: string } | null> {
  return asCaller(database, caller, async (tx) => {
    const [row] = await tx.run(FIND_PLACE, { id })
    return row ?? null
  })
}

const FIND_PLACE = new Statement<{ id: string }, { bucket: string; name: string }>(
  'select bucket_id as bucket, name from storage.objects where id = :id and bucket_id is not null and name is not null',
)

/** Whose an object is, past all policies; null when there is none. */
export async function findObjectOwner(
  tx: Transaction,
  bucketId: string,
  name: string,
): Promise<Pick<ObjectRow, 'id' | 'ownerId'> | null> {
  const rows = tx.select({ id: objects.id, ownerId: objects.ownerId }).from(objects)
  const [row] = await rows.where(named({ bucketId, name }))
  return row ?? null
}

function named(object: { bucketId: string; name: string }) {
  return and(eq(objects.bucketId, object.bucketId), eq(objects.name, object.name))
}
