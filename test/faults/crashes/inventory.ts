import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Contents } from './operation.ts'
import type { Site } from './site.ts'

export interface Inventory {
  /** The SHA-256 of each row's object, by its key. */
  rows: Contents
  /** Rows whose file is missing, is not what the row says, or that have been marked as damaged. */
  lost: string[]
  /** Files that no row names, and entries of the two lists of unfinished work. */
  leaked: string[]
}

/** Walks the disk and reads the rows, and compares the two both ways. For when no request runs. */
export async function takeInventory(site: Pick<Site, 'dataDir' | 'sql'>): Promise<Inventory> {
  const rows = await site.sql(
    (sql) => sql<{ key: string; path: string; checksum: string; size: string; mark: string | null }[]>`
      select bucket_id || '/' || name as key, checksum, metadata->>'size' as size,
        bytes_bucket || '/' || left(version, 2) || '/' || version as path,
        to_jsonb(o)->>'quarantine_reason' as mark
      from storage.objects o`,
  )
  const unfinished = await site.sql(
    (sql) => sql<{ entry: string }[]>`
      select 'upload ' || version as entry from storage.uploads
      union all select 'removal ' || version from storage.removals`,
  )
  const files = await hashFiles(join(site.dataDir, 'objects'))
  const named = new Set(rows.map(({ path }) => path))
  return {
    rows: new Map(rows.map(({ key, checksum }) => [key, checksum])),
    lost: rows
      .filter(({ path, checksum, size, mark }) => mark !== null || files.get(path) !== `${checksum} ${size}`)
      .map((row) => `row ${JSON.stringify(row)}, file ${files.get(row.path)}`),
    leaked: [
      ...[...files.keys()].filter((path) => !named.has(path)).map((path) => `file ${path}`),
      ...unfinished.map(({ entry }) => entry),
    ],
  }
}

/** SHA-256 and size of every file below a folder, by its path in there. */
async function hashFiles(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    // A check whether the folder can be written comes and goes, and a crash may leave it: see LocalBackend.
    if (!entry.isFile() || entry.name.startsWith('.check-')) continue
    const path = join(entry.parentPath, entry.name)
    const bytes = await readFile(path)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    files.set(path.slice(folder.length + 1), `${sha256} ${bytes.length}`)
  }
  return files
}
