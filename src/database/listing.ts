import { sql } from 'drizzle-orm'
import { prepared } from './prepared.ts'
import { dateOrNull } from './row-dates.ts'
import type { SystemMetadata } from './schema.ts'
import type { Transaction } from './transaction.ts'

/** A file or a folder of a list. A folder has a name alone. */
export interface ListEntry {
  name: string
  isFolder: boolean
  id: string | null
  updatedAt: Date | null
  createdAt: Date | null
  lastAccessedAt: Date | null
  metadata: SystemMetadata | null
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
}

/** One level of a folder, names relative to it, case ignored (contract §3.12). */
export async function listFolder(tx: Transaction, query: FolderQuery): Promise<ListEntry[]> {
  const rows = await prepared<EntryRow>(
    tx,
    'list_folder',
    sql`select *, id is null as is_folder from storage.list_folder(${query.bucketId}, ${query.folder}, ${query.search},
      ${query.limit}, ${query.offset}, ${query.column}, ${query.order})`,
  )
  return rows.map(asEntry)
}

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

/** Full names that begin with a prefix, case counting (contract §3.13). */
export async function listPage(tx: Transaction, query: PageQuery): Promise<ListEntry[]> {
  const rows = await prepared<EntryRow>(
    tx,
    'list_page',
    sql`select * from storage.list_page(${query.bucketId}, ${query.prefix}, ${query.delimited}, ${query.limit},
      ${query.after}, ${query.afterTime}, ${query.column}, ${query.order})`,
  )
  return rows.map(asEntry)
}

interface EntryRow extends Record<string, unknown> {
  name: string
  is_folder: boolean
  id: string | null
  updated_at: string | null
  created_at: string | null
  last_accessed_at: string | null
  metadata: SystemMetadata | null
}

function asEntry(row: EntryRow): ListEntry {
  return {
    name: row.name,
    isFolder: row.is_folder,
    id: row.id,
    updatedAt: dateOrNull(row.updated_at),
    createdAt: dateOrNull(row.created_at),
    lastAccessedAt: dateOrNull(row.last_accessed_at),
    metadata: row.metadata,
  }
}
