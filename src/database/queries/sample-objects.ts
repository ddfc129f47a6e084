import { randomUUID } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import { UUID } from '../../lib/uuid.ts'
import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import { isIn, type Place } from './objects-to-check.ts'

/**
 * Objects whose bytes a server of ours has written: it says in each row which bytes, and where, unless it has made them of
 * parts. Rows that were taken
 * over from another database, or made by plain SQL, promise no bytes.
 */
const IS_OURS = sql`bytes_bucket is not null and (checksum is not null or metadata -> 'parts' is not null)`

/** Those whose bytes are in the backend, with what was there before and is kept. */
export async function countOwnObjects(database: Database): Promise<number> {
  const [row] = await asService(database, (tx) =>
    tx.execute<{ count: number }>(
      sql`select ((select count(*) from storage.objects where ${IS_OURS} and ${isIn('backend')})
        + (select count(*) from storage.object_versions where not is_delete_marker and ${isIn('backend')}))::float8 as count`,
    ),
  )
  return row?.count ?? 0
}

export interface OwnObject {
  id: string
  location: Location
}

/**
 * Up to `limit` objects, from a random one on, and when there are fewer, of what was there before as many as are missing: ids are
 * random, so they have nothing in common.
 */
export async function sampleOwnObjects(
  database: Database,
  place: Place,
  limit: number,
): Promise<OwnObject[]> {
  const start = randomUUID()
  const from = (ids: SQL) =>
    sql`(select id, version, bytes_bucket as bucket from storage.objects
      where ${ids} and ${IS_OURS} and ${isIn(place)} order by id limit ${limit})`
  const former = (versions: SQL) =>
    sql`(select object_id as id, version, bytes_bucket as bucket from storage.object_versions
      where ${versions} and not is_delete_marker and ${isIn(place)} order by version limit ${limit})`
  const rows = await asService(database, (tx) =>
    tx.execute<{ id: string; bucket: string; version: string }>(
      sql`${from(sql`id >= ${start}`)} union all ${from(sql`id < ${start}`)}
        union all ${former(sql`version >= ${start}`)} union all ${former(sql`version < ${start}`)} limit ${limit}`,
    ),
  )
  return rows
    .filter(({ version }) => UUID.test(version)) // plain SQL may have changed it
    .map(({ id, bucket, version }) => ({ id, location: { bucket, version } }))
}

/** How many of these exist, or are kept, with the same bytes in the same place. */
export async function stillThere(database: Database, objects: OwnObject[]): Promise<number> {
  const ids = textArray(objects.map(({ id }) => id))
  const versions = textArray(objects.map(({ location }) => location.version))
  const buckets = textArray(objects.map(({ location }) => location.bucket))
  const [row] = await asService(database, (tx) =>
    tx.execute<{ count: number }>(
      sql`select count(*)::float8 as count
        from unnest(${ids}::uuid[], ${versions}, ${buckets}::uuid[]) as s (id, version, bucket)
        where exists (
          select from storage.objects o where o.id = s.id and o.version = s.version and o.bytes_bucket = s.bucket
        ) or exists (
          select from storage.object_versions v where v.version = s.version and v.bytes_bucket = s.bucket
        )`,
    ),
  )
  return row?.count ?? 0
}
