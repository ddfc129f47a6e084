import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { bytesOrNull, dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/** An object as it was when it was deleted, or as it is back. */
export interface TrashedObject {
  id: string
  bucket: string
  name: string
  version: string
  /** In bytes; null for rows that plain SQL made without one. */
  size: number | null
  contentType: string | null
  /** SHA-256, 64 lower-case hexadecimal digits. */
  checksum: string | null
  ownerId: string | null
  userMetadata: UserMetadata | null
  createdAt: Date | null
  updatedAt: Date | null
}

export interface TrashEntry extends TrashedObject {
  deletedAt: Date | null
  /** The subject of who has deleted it. */
  deletedBy: string | null
  /** When it goes for good. */
  purgeAt: Date | null
}

/** Where a page has ended. */
export interface TrashPlace {
  bucket: string
  name: string
  /** Of several of that name. */
  sequence: string
}

export interface TrashQuery {
  /** Null is all of them. */
  bucket: string | null
  prefix: string
  /** The subject of who has deleted it; null is anybody. */
  deletedBy: string | null
  after: TrashPlace | null
  limit: number
}

/**
 * What is in the trash and the caller may see, by bucket, name and age. There may be fewer than `limit` though there are more behind
 * them: of what is hidden a page looks at so much and no more.
 *
 * @returns where it has ended; null when it has come to the end
 */
export async function listTrash(
  database: Pick<Database, 'run'>,
  caller: Caller,
  { bucket, prefix, deletedBy, after, limit }: TrashQuery,
): Promise<{ entries: TrashEntry[]; end: TrashPlace | null }> {
  const rows = await database.run(LIST, {
    bucket,
    prefix,
    deletedBy,
    afterBucket: after?.bucket ?? null,
    afterName: after?.name ?? null,
    afterSequence: after?.sequence ?? null,
    limit,
    context: callerContext(caller),
  })
  const last = rows.at(-1)
  const isCutOff = last !== undefined && (rows.length === limit || !last.is_seen)
  return {
    entries: rows
      .filter((row) => row.is_seen)
      .map((row) => ({
        ...trashedObject(row),
        deletedAt: dateOrNull(row.deleted_at),
        deletedBy: row.deleted_by,
        purgeAt: dateOrNull(row.purge_at),
      })),
    end: isCutOff ? { bucket: last.bucket_id, name: last.name, sequence: last.sequence } : null,
  }
}

const LIST = new Statement<
  {
    bucket: string | null
    prefix: string
    deletedBy: string | null
    afterBucket: string | null
    afterName: string | null
    afterSequence: string | null
    limit: number
    context: string
  },
  ObjectRow & {
    is_seen: boolean
    sequence: string
    deleted_at: string | null
    deleted_by: string | null
    purge_at: string | null
  }
>(`
  select * from storage.list_trash_as(:bucket, :prefix, :deletedBy, :afterBucket, :afterName, :afterSequence::bigint, :limit,
    :context)`)

/** One thing in the trash: by the id of the object or of its version, or the newest of a name. */
export type TrashTarget = { id: string } | { bucket: string; name: string }

/**
 * Brings one back, under its own name or another one of its bucket.
 *
 * @param overwrite whether what has the name gives way
 * @returns `taken` and `kept` when what has the name does not; null when there is none, or the caller may not see it
 * @throws AccessDenied, ResourceAlreadyExists when somebody else is faster, ObjectLocked, SkippedByTrigger
 */
export async function restoreTrash(
  database: Database,
  caller: Caller,
  target: TrashTarget,
  { to, overwrite }: { to: string | null; overwrite: boolean },
): Promise<{ object: TrashedObject; removals: Location[] } | 'taken' | 'kept' | null> {
  const [row] = await database.run(RESTORE, {
    id: 'id' in target ? target.id : null,
    bucket: 'id' in target ? null : target.bucket,
    name: 'id' in target ? null : target.name,
    to,
    overwrite,
    context: callerContext(caller),
  })
  if (!row) return null
  if (row.outcome !== 'restored') return row.outcome
  return { object: trashedObject(row), removals: removalsOf(row) }
}

const RESTORE = new Statement<
  {
    id: string | null
    bucket: string | null
    name: string | null
    to: string | null
    overwrite: boolean
    context: string
  },
  ObjectRow & RemovalColumns & { outcome: 'restored' | 'taken' | 'kept' }
>('select * from storage.restore_trash(:id::uuid, :bucket, :name, :to, :overwrite, :context)')

/** What has gone for good. */
export interface Purged {
  id: string
  bucket: string
  name: string
  /** In bytes. */
  size: number | null
  removals: Location[]
}

/**
 * Removes one for good.
 *
 * @returns `kept` when the caller may see it and not remove it; null when there is none, or he may not see it
 * @throws ObjectLocked
 */
export async function deleteTrash(
  database: Database,
  caller: Caller,
  id: string,
): Promise<Purged | 'kept' | null> {
  const [row] = await database.run(DELETE, { id, context: callerContext(caller) })
  if (!row) return null
  if (row.outcome === 'kept') return 'kept'
  const { bucket_id: bucket, name, size } = row
  return { id: row.id, bucket, name, size: bytesOrNull(size), removals: removalsOf(row) }
}

const DELETE = new Statement<
  { id: string; context: string },
  Pick<ObjectRow, 'id' | 'bucket_id' | 'name' | 'size'> & RemovalColumns & { outcome: 'deleted' | 'kept' }
>('select * from storage.delete_trash(:id::uuid, :context)')

/**
 * Removes for good what is the caller's own, or in a bucket of his, or, for the service, anybody's; nothing that is locked.
 *
 * @param bucket null is all of them
 * @param olderThanDays how many days ago it was deleted at least
 * @param limit how much at the most
 */
export async function emptyTrash(
  database: Database,
  caller: Caller,
  asked: { bucket: string | null; olderThanDays: number; limit: number },
): Promise<{ count: number; removals: Location[] }> {
  const [row] = await database.run(EMPTY, { ...asked, context: callerContext(caller) })
  return { count: row?.gone ?? 0, removals: row ? removalsOf(row) : [] }
}

const EMPTY = new Statement<
  { bucket: string | null; olderThanDays: number; limit: number; context: string },
  RemovalColumns & { gone: number }
>('select * from storage.empty_trash(:bucket, :olderThanDays, :limit, :context)')

interface ObjectRow {
  id: string
  bucket_id: string
  name: string
  version: string
  size: string | null
  content_type: string | null
  checksum: string | null
  owner_id: string | null
  user_metadata: UserMetadata | null
  created_at: string | null
  updated_at: string | null
}

interface RemovalColumns {
  removed_versions: string[] | null
  removed_buckets: string[] | null
}

function trashedObject(row: ObjectRow): TrashedObject {
  return {
    id: row.id,
    bucket: row.bucket_id,
    name: row.name,
    version: row.version,
    size: bytesOrNull(row.size),
    contentType: row.content_type,
    checksum: row.checksum,
    ownerId: row.owner_id,
    userMetadata: row.user_metadata,
    createdAt: dateOrNull(row.created_at),
    updatedAt: dateOrNull(row.updated_at),
  }
}

function removalsOf(row: RemovalColumns): Location[] {
  const buckets = row.removed_buckets ?? []
  return (row.removed_versions ?? []).map((version, i) => ({ bucket: buckets[i] ?? '', version }))
}
