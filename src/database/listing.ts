import { sql } from 'drizzle-orm'
import { dateOrNull } from './row-dates.ts'
import type { SystemMetadata } from './schema.ts'
import { Statement } from './statement.ts'
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
  return (await LIST_FOLDER.run(tx, { ...query })).map(asEntry)
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
  return (await LIST_PAGE.run(tx, { ...query })).map(asEntry)
}

const { placeholder } = sql

const LIST_FOLDER = new Statement<Record<keyof FolderQuery, unknown>, EntryRow>(
  'list_folder',
  sql`select *, id is null as is_folder from storage.list_folder(${placeholder('bucketId')},
    ${placeholder('folder')}, ${placeholder('search')}, ${placeholder('limit')}, ${placeholder('offset')},
    ${placeholder('column')}, ${placeholder('order')})`,
)

const LIST_PAGE = new Statement<Record<keyof PageQuery, unknown>, EntryRow>(
  'list_page',
  sql`select * from storage.list_page(${placeholder('bucketId')}, ${placeholder('prefix')},
    ${placeholder('delimited')}, ${placeholder('limit')}, ${placeholder('after')}, ${placeholder('afterTime')},
    ${placeholder('column')}, ${placeholder('order')})`,
)

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
