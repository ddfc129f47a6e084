import { expect } from 'vitest'
import type { TestServer } from './server.ts'
import { until } from './wait.ts'

/** Everything that a request can leave behind: rows, bytes, and what is written down about either. */
export async function traces(server: TestServer) {
  const [rows] = await server.admin<
    {
      buckets: unknown
      objects: { version: string }[] | null
      history: { version: string }[] | null
      uploads: unknown
      removals: unknown
    }[]
  >`
    select
      (select json_agg(b order by b.id) from storage.buckets b) as buckets,
      (select json_agg(o order by o.id) from storage.objects o) as objects,
      (select json_agg(v order by v.sequence) from storage.object_versions v) as history,
      (select json_agg(u order by u.version) from storage.uploads u) as uploads,
      (select json_agg(r order by r.version) from storage.removals r) as removals`
  if (rows === undefined) throw new Error('PostgreSQL told no row')
  return { ...rows, files: (await server.storedFiles()).sort() }
}

/**
 * Runs `work`, and says that it has changed no row and no file, and that the server still answers. What is cleaned
 * up behind a client that has gone away may be a moment late; `expectNoDrift` at the end tells whether it came.
 */
export async function expectNothingWritten<T>(server: TestServer, work: () => Promise<T>): Promise<T> {
  const before = await settled(() => traces(server), isAtRest)
  const result = await work()
  const after = await settled(
    () => traces(server),
    (now) => JSON.stringify(now) === JSON.stringify(before),
  )
  expect(after).toEqual(before)
  const alive = await fetch(`${server.url}/status`)
  await alive.arrayBuffer()
  expect(alive.status).toBe(200)
  return result
}

/** Whether nothing is under way. The rows were asked for before the files, so a file may be of what has begun between. */
function isAtRest({
  uploads,
  removals,
  objects,
  history,
  files,
}: Awaited<ReturnType<typeof traces>>): boolean {
  if (uploads !== null || removals !== null) return false
  const versions = new Set([...(objects ?? []), ...(history ?? [])].map(({ version }) => version))
  return files.every((file) => versions.has(file.split('/').at(-1) ?? ''))
}

/** Says that each file is one row's and each row has its file, of what was there, too, and that no upload or removal is left unfinished. */
export async function expectNoDrift(server: TestServer): Promise<void> {
  const drift = async () => {
    const [row] = await server.admin`
      select
        (select count(*)::int from storage.uploads) as uploads,
        (select count(*)::int from storage.removals) as removals,
        (select array_agg(bytes_bucket || '/' || left(version, 2) || '/' || version) from (
          select bytes_bucket, version from storage.objects
          union all select bytes_bucket, version from storage.object_versions where not is_delete_marker
        ) named) as versions`
    const files = new Set(await server.storedFiles())
    const versions = new Set<string>(row?.versions)
    return {
      uploads: row?.uploads,
      removals: row?.removals,
      filesWithoutRow: [...files].filter((file) => !versions.has(file)),
      rowsWithoutFile: [...versions].filter((version) => !files.has(version)),
    }
  }
  const none = { uploads: 0, removals: 0, filesWithoutRow: [], rowsWithoutFile: [] }
  expect(await settled(drift, (now) => JSON.stringify(now) === JSON.stringify(none))).toEqual(none)
}

/** What `ask` says as soon as it is as wished; what it said last when that does not come about. */
async function settled<T>(ask: () => Promise<T>, isAsWished: (now: T) => boolean): Promise<T> {
  let now = await ask()
  await until(async () => {
    if (!isAsWished(now)) now = await ask()
    return isAsWished(now)
  }, 'it is as wished').catch(() => {})
  return now
}
