import type postgres from '#postgres'
import type { Keeping } from './history.ts'
import { demand, type Place } from './requests.ts'
import { SHARED } from './shared-names.ts'

/** So few that the oldest one has to go now and then. */
const MOST = 5

/** What the buckets of a `VersionedLoad` are called, and keep. */
export const KEEPING: ReadonlyMap<string, Keeping> = new Map([
  ['kept', { way: 'versions', most: MOST }],
  ['thrown-away', { way: 'trash', most: 1 }],
])

/** The same, and those that are tidied up meanwhile (tidying.ts). */
export const TIDIED: ReadonlyMap<string, Keeping> = new Map([
  ...KEEPING,
  ['ruled', { way: 'versions', most: MOST, newest: 2 }],
  ['emptied', { way: 'trash', most: 1, isEmptied: true }],
])

/** Makes them, and the one of `SharedNames`. */
export async function makeBuckets(
  place: Place,
  sql: postgres.Sql,
  keeping: ReadonlyMap<string, Keeping> = KEEPING,
): Promise<void> {
  const all: [string, Keeping][] = [...keeping, [SHARED, { way: 'versions', most: 1000 }]]
  for (const [name, { way, most }] of all) {
    const hasVersions = way === 'versions'
    await demand(place, 'POST', '/bucket', { name, versioning_status: hasVersions ? 'ENABLED' : 'DISABLED' })
    if (hasVersions) await sql`update storage.buckets set max_versions = ${most} where id = ${name}`
    else await sql`update storage.buckets set trash_days = 7 where id = ${name}`
  }
}

/** Takes away what is due, as plain SQL may. */
export async function purgeDue(sql: postgres.Sql): Promise<void> {
  await sql`delete from storage.object_versions where purge_at <= now()`
}
