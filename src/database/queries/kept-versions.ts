import type postgres from '#postgres'
import { inOurErrors } from '../connection/postgres-error.ts'

/**
 * How many former versions and markers there are whose time is not up at `moment`: those go only if somebody deletes them, or a rule
 * of his. Of that `storage.events` has nothing.
 */
export async function countKeptVersions(sql: postgres.ISql, moment: Date): Promise<number> {
  const [table] = await inOurErrors(sql<{ has: boolean }[]>`
    select to_regclass('storage.object_versions') is not null as has`)
  if (!table?.has) return 0 // of a version of before
  const [row] = await inOurErrors(sql<{ count: number }[]>`
    select count(*)::float8 as count from storage.object_versions
    where kind <> 'trash' and (purge_at is null or purge_at > ${moment.toISOString()}::timestamptz)`)
  return row?.count ?? 0
}
