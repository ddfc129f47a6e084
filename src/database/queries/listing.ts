import type { AutoDeletion } from '../../model/auto-deletion.ts'
import type { Caller } from '../../model/caller.ts'
import type { SystemMetadata } from '../../model/metadata.ts'
import type { Versioning } from '../../model/version-id.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { type AutoDeletionColumns, autoDeletionOf } from './auto-delete.ts'

/** A file or a folder of a list. A folder has a name alone. */
export interface ListEntry {
  name: string
  isFolder: boolean
  id: string | null
  updatedAt: Date | null
  createdAt: Date | null
  lastAccessedAt: Date | null
  /** The times in full, as PostgreSQL prints them: a `Date` knows milliseconds. */
  exact: { updatedAt: string | null; createdAt: string | null }
  metadata: SystemMetadata | null
  version: string | null
  /** Which one of its name that is; null of a folder. */
  versioning: Pick<Versioning, 'isVersioned' | 'archivedAt'> | null
  isDeleteMarker: boolean
  /** Whether its bucket keeps versions, or has kept some. */
  keepsVersions: boolean
  /** Null for what stays. */
  autoDelete: AutoDeletion | null
}

export interface FolderQuery {
  bucketId: string
  /** '' or with a slash at the end. */
  folder: string
  /** What names after the folder begin with. */
  search: string
  limit: number
  offset: number
  column: 'name' | 'updated_at' | 'created_at' | 'last_accessed_at'
  order: 'asc' | 'desc'
  /** Whether case counts for the folder, and for those in it. For the search and the order it never does. */
  exactFolders: boolean
}

/** One level of a folder as the caller sees it, names relative to it (wire §3.12; exact folders: decision 0035). */
export async function listFolder(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: FolderQuery,
): Promise<ListEntry[]> {
  const rows = await database.run(LIST_FOLDER, { ...query, context: callerContext(caller) })
  return rows.map(asEntry)
}

const LIST_FOLDER = new Statement<FolderQuery & { context: string }, EntryRow>(`
  select *, id is null as is_folder from storage.folder_entries_as(:bucketId, :folder, :search, :limit,
    :offset, :column, :order, :exactFolders, :context)`)

export interface PageQuery {
  bucketId: string
  prefix: string
  /** Whether names are folded at the next slash after the prefix. */
  delimited: boolean
  limit: number
  /** The last entry of the page before, by its full name, and by time when that is the order. */
  after: string | null
  afterTime: string | null
  column: 'name' | 'updated_at' | 'created_at'
  order: 'asc' | 'desc'
}

/** Full names that begin with a prefix, as far as the caller sees them, case counting (wire §3.13). */
export async function listPage(
  database: Pick<Database, 'run'>,
  caller: Caller,
  query: PageQuery,
): Promise<ListEntry[]> {
  const rows = await database.run(LIST_PAGE, { ...query, context: callerContext(caller) })
  return rows.map(asEntry)
}

const LIST_PAGE = new Statement<PageQuery & { context: string }, EntryRow>(`
  select * from storage.page_entries_as(:bucketId, :prefix, :delimited, :limit, :after, :afterTime,
    :column, :order, :context)`)

/** What rows of a list say. */
export interface EntryRow extends AutoDeletionColumns {
  name: string
  is_folder: boolean
  id: string | null
  updated_at: string | null
  created_at: string | null
  last_accessed_at: string | null
  metadata: SystemMetadata | null
  version: string | null
  is_versioned: boolean | null
  keeps_versions: boolean | null
}

export function asEntry(row: EntryRow): ListEntry {
  return {
    name: row.name,
    isFolder: row.is_folder,
    id: row.id,
    updatedAt: dateOrNull(row.updated_at),
    createdAt: dateOrNull(row.created_at),
    lastAccessedAt: dateOrNull(row.last_accessed_at),
    exact: { updatedAt: row.updated_at, createdAt: row.created_at },
    metadata: row.metadata,
    version: row.version,
    versioning: row.is_folder ? null : { isVersioned: row.is_versioned === true, archivedAt: null },
    isDeleteMarker: false,
    keepsVersions: row.keeps_versions === true,
    autoDelete: autoDeletionOf(row),
  }
}
