import { sql } from 'drizzle-orm'
import { INLINE_BUCKET, type Location } from '../../model/location.ts'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import { ask } from './drift.ts'

/**
 * Where the bytes of these versions are, of those that have any outside the database and that a row names, or did until
 * somebody removes them.
 *
 * @throws DatabaseUnavailable
 */
export function placesOf(database: Database, versions: string[]): Promise<Location[]> {
  return ask<Location>(
    database,
    sql`select v.version::text as version, place.bucket::text as bucket
      from unnest(${textArray(versions)}::uuid[]) as v (version)
      cross join lateral (
        select coalesce(o.bytes_bucket, b.uid) as bucket
        from storage.objects o join storage.buckets b on b.id = o.bucket_id where o.version = v.version::text
        union all
        select f.bytes_bucket from storage.object_versions f where f.version = v.version::text
        union all
        select r.bucket_uid from storage.removals r where r.version = v.version
        limit 1
      ) place
      where place.bucket <> ${INLINE_BUCKET}::uuid`,
  )
}
