import { type SQL, sql } from 'drizzle-orm'
import { INLINE_BUCKET } from '../../model/location.ts'

/**
 * Rows that name bytes: of objects, and of what was there before, among it the trash (decision 0070). Who asks whether bytes are
 * needed, or goes through all of them, asks both.
 */

/** In bytes; null for rows that plain SQL made without one, which may hold anything there. */
export const SIZE = sql`case when jsonb_typeof(metadata -> 'size') = 'number' then (metadata ->> 'size')::numeric end`

/** All of them, to count and to find by version; whoever pages through them needs an order of each table (objects-to-check.ts). */
export const NAMING_ROWS = sql`(
  select id, bucket_id, version, bytes_bucket, ${SIZE} as size from storage.objects
  union all
  select object_id, bucket_id, version, bytes_bucket, size::numeric from storage.object_versions where not is_delete_marker
)`

/**
 * Whether a row names these bytes. One names its version where it says, and nowhere else: `strongroom inline` brings bytes out
 * into the folder of the bucket where their object is by then, and in another one they may be back after a power failure, or
 * have been left by a run that was killed. Where a row says nothing, such as one copied with SQL, it keeps its version outside
 * the database wherever that is.
 */
export function isNamed(version: SQL, bucket: SQL): SQL {
  return sql`(exists (
    select from storage.objects o
    where o.version = ${version}::text
      and (o.bytes_bucket = ${bucket} or (o.bytes_bucket is null and ${bucket} <> ${INLINE_BUCKET}))
  ) or exists (
    select from storage.object_versions o where o.version = ${version}::text and o.bytes_bucket = ${bucket}
  ))`
}
