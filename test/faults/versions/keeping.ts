import type postgres from '#postgres'
import type { Keeping } from './history.ts'
import type { Place } from './versioned-load.ts'

/** So few that the oldest one has to go now and then. */
const MOST = 5

/** What the buckets of a `VersionedLoad` are called, and keep. */
export const KEEPING: ReadonlyMap<string, Keeping> = new Map([
  ['kept', { way: 'versions', most: MOST }],
  ['thrown-away', { way: 'trash', most: 1 }],
])

/** Makes them. */
export async function makeBuckets({ url, token }: Place, sql: postgres.Sql): Promise<void> {
  for (const [name, { way }] of KEEPING) {
    const body = JSON.stringify({ name, versioning_status: way === 'versions' ? 'ENABLED' : 'DISABLED' })
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const response = await fetch(`${url}/bucket`, { method: 'POST', headers, body })
    if (!response.ok) throw new Error(`bucket ${name}: ${response.status} ${await response.text()}`)
  }
  await sql`update storage.buckets set max_versions = ${MOST} where id = 'kept'`
  await sql`update storage.buckets set trash_days = 7 where id = 'thrown-away'`
}

/** Takes away what is due, as plain SQL may. */
export async function purgeDue(sql: postgres.Sql): Promise<void> {
  await sql`delete from storage.object_versions where purge_at <= now()`
}
