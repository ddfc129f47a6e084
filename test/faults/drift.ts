import type { TestServer } from '../support/server.ts'

/** What rows, files and lists disagree about. Empty when all is well. */
export interface Drift {
  filesWithoutRow: string[]
  rowsWithoutFile: string[]
  /** Versions that are said to be being written, or to be removed. */
  pending: string[]
}

export const NO_DRIFT: Drift = { filesWithoutRow: [], rowsWithoutFile: [], pending: [] }

/** Compares both ways, row by row and file by file. */
export async function findDrift(server: Pick<TestServer, 'admin' | 'storedFiles'>): Promise<Drift> {
  const rows = await server.admin`
    select bytes_bucket || '/' || left(version, 2) || '/' || version as file from storage.objects
    union
    select bytes_bucket || '/' || left(version, 2) || '/' || version from storage.object_versions where not is_delete_marker`
  const pending = await server.admin`
    select version from storage.uploads union all select version from storage.removals`
  const [expected, stored] = [new Set(rows.map((row) => row.file)), new Set(await server.storedFiles())]
  return {
    filesWithoutRow: [...stored].filter((file) => !expected.has(file)),
    rowsWithoutFile: [...expected].filter((file) => !stored.has(file)),
    pending: pending.map((row) => row.version),
  }
}

export function driftCount({ filesWithoutRow, rowsWithoutFile, pending }: Drift): number {
  return filesWithoutRow.length + rowsWithoutFile.length + pending.length
}
