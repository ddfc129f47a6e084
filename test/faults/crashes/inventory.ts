import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isCheckName } from '../../../src/backend/check-name.ts'
import { INLINE_BUCKET } from '../../../src/model/location.ts'
import { until } from '../../support/wait.ts'
import type { Contents } from './operation.ts'
import type { Site } from './site.ts'

export interface Inventory {
  /** The SHA-256 of each row's object, by its key; of what was there before, by key and version. */
  rows: Contents
  /** Rows whose file is missing, is not what the row says, or that have been marked as damaged. */
  lost: string[]
  /** Files that no row names, and entries of the two lists of unfinished work. */
  leaked: string[]
}

/** Walks the disk, and what the database has of bytes, and reads the rows, and compares both ways. For when no request runs. */
export async function takeInventory(site: Pick<Site, 'dataDir' | 'sql'>): Promise<Inventory> {
  const rows = await site.sql(
    (sql) => sql<Row[]>`
      select bucket_id || '/' || name as key, checksum, metadata->>'size' as size,
        bytes_bucket || '/' || left(version, 2) || '/' || version as path,
        to_jsonb(o)->>'quarantine_reason' as mark, storage.find_version_parts(version::uuid) as parts
      from storage.objects o
      union all
      select bucket_id || '/' || name || ' ' || version, checksum, size::text,
        bytes_bucket || '/' || left(version, 2) || '/' || version, quarantine_reason,
        storage.find_version_parts(version::uuid)
      from storage.object_versions where not is_delete_marker`,
  )
  const unfinished = await site.sql(
    (sql) => sql<{ entry: string }[]>`
      select 'upload ' || version as entry from storage.uploads
      union all select 'removal ' || version from storage.removals`,
  )
  const inline = await site.sql(
    (sql) => sql<{ path: string; bytes: Buffer }[]>`
      select ${INLINE_BUCKET} || '/' || left(version::text, 2) || '/' || version as path, bytes
      from storage.inline_bytes`,
  )
  const inDatabase = new Map(inline.map(({ path, bytes }) => [path, bytes]))
  const folder = join(site.dataDir, 'objects')
  const versions = await findVersions(folder)
  const contents = new Map<string, string>()
  const lost: string[] = []
  for (const row of rows) {
    const bytes = inDatabase.get(row.path) ?? (await readPieces(folder, versions.get(row.path) ?? []))
    contents.set(row.key, row.checksum ?? hash(bytes))
    if (row.mark !== null || !isWhole(row, bytes)) {
      lost.push(`row ${JSON.stringify(row)}, ${bytes.length} bytes ${hash(bytes)}`)
    }
    versions.delete(row.path)
    inDatabase.delete(row.path)
  }
  const files = [...versions.values(), ...(await findChecks(folder))].flat().map(({ path }) => `file ${path}`)
  const rowless = [...inDatabase.keys()].map((path) => `bytes in the database ${path}`)
  return { rows: contents, lost, leaked: [...files, ...rowless, ...unfinished.map(({ entry }) => entry)] }
}

interface Row {
  key: string
  path: string
  /** Null of an object in parts that the scrub has not read yet. */
  checksum: string | null
  size: string
  mark: string | null
  /** Where there is no checksum. */
  parts: { size: number; sha256: string }[] | null
}

function isWhole({ checksum, size, parts }: Row, bytes: Buffer): boolean {
  if (bytes.length !== Number(size)) return false
  if (parts === null) return checksum === hash(bytes)
  let end = 0
  return parts.every((part) => {
    end += part.size
    return part.sha256 === hash(bytes.subarray(end - part.size, end))
  })
}

/** A file, or what of it belongs to a version. */
interface Piece {
  /** Below the folder of all. */
  path: string
  /** In bytes; without it the whole file. */
  size?: number
}

/** The files of each version by its path, and all others by theirs. */
async function findVersions(folder: string): Promise<Map<string, Piece[]>> {
  const versions = new Map<string, Piece[]>()
  const lists: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || isCheckName(entry.name)) continue
    const path = join(entry.parentPath, entry.name).slice(folder.length + 1)
    // Parts have their own lists in a crash: those are leaked like any other file.
    if (entry.name.startsWith('0-') && !path.startsWith('parts/')) lists.push(path)
    else versions.set(path, [{ path }])
  }
  for (const list of lists) {
    const version = dirname(list) // see JoinedFiles
    const pieces: { name: string; size: number }[] = JSON.parse(await readFile(join(folder, list), 'utf8'))
    const found = pieces.map(({ name, size }) => ({ path: join(version, name), size }))
    versions.set(version, found)
    for (const { path } of found) versions.delete(path)
  }
  return versions
}

/** The files of checks that stay, as that of one does not that runs: it comes and goes. */
async function findChecks(folder: string): Promise<Piece[]> {
  const find = async () => (await readdir(folder)).filter(isCheckName)
  const found = new Set(await find())
  const areGone = async () => (await find()).every((name) => !found.has(name))
  await until(areGone, 'the checks are over').catch(() => {}) // then they are leaked
  return (await find()).filter((name) => found.has(name)).map((path) => ({ path }))
}

async function readPieces(folder: string, pieces: Piece[]): Promise<Buffer> {
  const read = pieces.map(async ({ path, size }) => {
    const bytes = await readFile(join(folder, path)).catch(() => Buffer.alloc(0)) // lost
    return bytes.subarray(0, size)
  })
  return Buffer.concat(await Promise.all(read))
}

function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
