import type { Snapshot } from '../../database/dump/snapshot.ts'
import type { SpareTime } from '../throttle.ts'
import type { WrittenFiles } from './written-files.ts'

export interface WritingRows {
  /** Ids of the only buckets that are wanted; null for all. */
  buckets: string[] | null
  spareTime: SpareTime
  signal: AbortSignal
}

/** Writes the rows of each table. Returns how many objects there are. */
export async function writeRows(
  snapshot: Snapshot,
  files: WrittenFiles,
  { buckets, spareTime, signal }: WritingRows,
): Promise<number> {
  let objects = 0
  for (const table of snapshot.tables) {
    if (table === 'inline_bytes') continue // as bytes, see planVersions
    const keep = chosenRows(table, buckets)
    if (keep === null) continue
    const path = `rows/${table}.ndjson`
    const lines = files.lines(path)
    try {
      for await (const line of snapshot.rows(table)) {
        if (!keep(line)) continue
        const behind = lines.add(line)
        if (behind) await behind
        const rest = spareTime.rest()
        if (rest) await rest
        signal.throwIfAborted()
      }
      const { lines: count, ...written } = await lines.end()
      files.add(path, written)
      if (table === 'objects') objects = count
    } catch (error) {
      await lines.abort()
      throw error
    }
  }
  return objects
}

/** Which rows of a table go along; null for none. */
function chosenRows(table: string, buckets: string[] | null): ((line: string) => boolean) | null {
  if (buckets === null) return () => true
  const column = BUCKET_COLUMNS.get(table)
  if (column === undefined) return null
  const chosen = new Set(buckets)
  return (line) => chosen.has(JSON.parse(line)[column])
}

/** By which a backup of some buckets chooses rows; it has no other tables. */
const BUCKET_COLUMNS = new Map([
  ['buckets', 'id'],
  ['objects', 'bucket_id'],
  ['object_versions', 'bucket_id'],
])
