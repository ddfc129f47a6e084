import type { Caller } from '../../model/caller.ts'
import type { Versioning } from '../../model/version-id.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { type AutoDeletionColumns, autoDeletionOf } from './auto-delete.ts'
import type { ListEntry } from './listing.ts'

/**
 * Deletes up to `limit` versions, markers and things in the trash of a bucket, which were there at `before`. For the service.
 *
 * @returns how many, and how many of these were in the trash
 * @throws ObjectLocked
 */
export async function deleteHistory(
  tx: Transaction,
  bucketId: string,
  before: string,
  limit: number,
): Promise<{ count: number; trash: number }> {
  const rows = await tx.run(DELETE_HISTORY, { bucketId, before, limit })
  return { count: rows.length, trash: rows.filter(({ kind }) => kind === 'trash').length }
}

const DELETE_HISTORY = new Statement<{ bucketId: string; before: string; limit: number }, { kind: string }>(`
  delete from storage.object_versions where sequence in (
    select sequence from storage.object_versions
    where bucket_id = :bucketId and archived_at <= :before::timestamptz limit :limit
  ) returning kind`)

/** Which versions, or markers, are listed beside what is there, or instead of it. */
export type Listed = 'exclude' | 'include' | 'only'

export interface VersionQuery {
  bucketId: string
  prefix: string
  /** Names that have it behind the prefix are shown once, up to its end; '' shows them all. */
  delimiter: string
  /** The last entry of the page before; its version is null when it was a folder. */
  afterName: string | null
  afterVersion: string | null
  limit: number
  /** Entries, folders among them, that are passed over. */
  offset: number
  noncurrent: Listed
  markers: Listed
  /** Whether the prefix is the whole name. */
  exact: boolean
  /** What was there then; null: versions as they are. */
  at: Date | null
  /** How many rows are looked at, hidden ones too; null: as many as there are. */
  mostLooks: number | null
}

/** A part of a list of versions. */
export interface VersionList {
  entries: VersionEntry[]
  /** The entry up to which it has looked, where that was all that it may and there are more; the caller may not see it. */
  end: VersionEntry | null
}

/** An object, a former version of one, a marker or a folder. A folder has a name alone. */
export interface VersionEntry extends Omit<ListEntry, 'exact'> {
  versioning: Versioning | null
  /** Since when it was the current one. */
  since: Date | null
  ownerId: string | null
  checksum: string | null
  /** What its writer says of it. */
  comment: string | null
}

/**
 * Names in order of their bytes, as far as the caller sees them, each with its versions from the newest on, or what it had at a
 * moment. There may be fewer than `limit` though there are more behind them: it looks at so much and no more.
 */
export async function listVersions(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: VersionQuery,
): Promise<VersionList> {
  const at = query.at?.toISOString() ?? null
  const rows = await database.run(LIST_VERSIONS, { ...query, at, context: callerContext(caller) })
  const last = rows.at(-1)
  return {
    entries: rows.filter((row) => row.is_seen).map(asVersionEntry),
    end: last && !last.is_seen ? asVersionEntry(last) : null,
  }
}

const LIST_VERSIONS = new Statement<
  Omit<VersionQuery, 'at'> & { at: string | null; context: string },
  VersionRow
>(`
  select * from storage.list_history_as(:bucketId, :prefix, :delimiter, :afterName, :afterVersion,
    :limit::integer + :offset::integer, :mostLooks::integer, :noncurrent, :markers, :exact, :at::timestamptz, :context)
  offset :offset::integer`)

interface VersionRow extends AutoDeletionColumns {
  is_seen: boolean
  name: string
  is_folder: boolean
  id: string | null
  updated_at: string | null
  created_at: string | null
  last_accessed_at: string | null
  metadata: ListEntry['metadata']
  version: string | null
  version_number: number | null
  is_versioned: boolean | null
  is_delete_marker: boolean | null
  is_latest: boolean | null
  since: string | null
  archived_at: string | null
  owner_id: string | null
  checksum: string | null
  comment: string | null
}

function asVersionEntry(row: VersionRow): VersionEntry {
  return {
    name: row.name,
    isFolder: row.is_folder,
    id: row.id,
    updatedAt: dateOrNull(row.updated_at),
    createdAt: dateOrNull(row.created_at),
    lastAccessedAt: dateOrNull(row.last_accessed_at),
    metadata: row.metadata,
    version: row.version,
    autoDelete: autoDeletionOf(row),
    versioning: row.is_folder
      ? null
      : {
          isVersioned: row.is_versioned === true,
          archivedAt: dateOrNull(row.archived_at),
          isLatest: row.is_latest === true,
          number: row.version_number ?? 1,
        },
    isDeleteMarker: row.is_delete_marker === true,
    keepsVersions: true,
    since: dateOrNull(row.since),
    ownerId: row.owner_id,
    checksum: row.checksum,
    comment: row.comment,
  }
}
