import { type SQL, sql } from 'drizzle-orm'
import { UUID } from '../../lib/uuid.ts'
import { INLINE_BUCKET, type Location } from '../../model/location.ts'
import type { QuarantineReason } from '../../model/metadata.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { sayDeletion } from './deletion.ts'
import { ask, inScope, longAgo, type Scope } from './drift.ts'
import { ownRemovals } from './listed-versions.ts'

/**
 * Objects whose bytes are looked at, moved, or missed: by the cleanup, the scrub and the moves (design §6). Asked as the
 * questions of drift.ts are.
 */

/** An object as the checks of its bytes need it. */
export interface ObjectToCheck {
  id: string
  bucketId: string
  name: string
  location: Location
  /** The UUID of its bucket. */
  bucketUid: string
  /** In bytes; null for rows that plain SQL made without one. */
  size: number | null
  /** SHA-256, 64 lower-case hexadecimal digits, or null. */
  checksum: string | null
  quarantineReason: QuarantineReason | null
  /** Whether the bytes are in the database that should be; null when they should not. */
  hasInlineBytes: boolean | null
}

/** Where the bytes of objects are: in the backend, or, of small ones, in the database (decision 0052). */
export type Place = 'backend' | 'database'

/** In a statement about `storage.objects`. */
export function isIn(place: Place): SQL {
  const isInline = sql`bytes_bucket is not distinct from ${INLINE_BUCKET}`
  return place === 'database' ? isInline : sql`not ${isInline}`
}

/** Some of the objects alone. */
export interface Which {
  place?: Place
  /** In bytes; a row that plain SQL made without a size is none then. */
  maxSize?: number
}

function isWhich({ place, maxSize }: Which): SQL {
  const isSmall = maxSize === undefined ? sql`true` : sql`${SIZE} <= ${maxSize}`
  return place ? sql`${isIn(place)} and ${isSmall}` : isSmall
}

/** In bytes; null for rows that plain SQL made without one, which may hold anything there. */
export const SIZE = sql`case when jsonb_typeof(metadata -> 'size') = 'number' then (metadata ->> 'size')::numeric end`

/** How many objects with bytes of ours there are, and how many bytes they have. */
export async function countObjects(
  database: Database,
  scope: Scope,
  which: Which,
): Promise<{ count: number; bytes: number }> {
  const [row] = await ask<{ count: number; bytes: number }>(
    database,
    sql`select count(*)::float8 as count, coalesce(sum(${SIZE}), 0)::float8 as bytes from storage.objects
      where ${inScope(sql`bucket_id`, scope)} and version ~ ${UUID.source} and ${isWhich(which)}`,
  )
  return row ?? { count: 0, bytes: 0 }
}

/** Objects with bytes of ours, by id, from after the given one. */
export async function objectsAfter(
  database: Database,
  scope: Scope,
  after: string | null,
  limit: number,
  which: Which = {},
): Promise<ObjectToCheck[]> {
  const rows = await ask<CheckRow>(
    database,
    sql`select ${CHECK_COLUMNS} from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where ${after === null ? sql`true` : sql`o.id > ${after}`} and ${inScope(sql`o.bucket_id`, scope)}
        and o.version ~ ${UUID.source} and ${isWhich(which)}
      order by o.id limit ${limit}`,
  )
  return rows.map(asObjectToCheck)
}

/** An object as it is now; null when there is none with this id, or its bytes are not ours. */
export async function findObjectToCheck(database: Database, id: string): Promise<ObjectToCheck | null> {
  const [row] = await ask<CheckRow>(
    database,
    sql`select ${CHECK_COLUMNS} from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where o.id = ${id} and o.version ~ ${UUID.source}`,
  )
  return row ? asObjectToCheck(row) : null
}

/** Objects of a bucket that were marked as missing before `markedBefore`, and at least `graceMs` ago. */
export async function longMissing(
  database: Database,
  bucketId: string,
  { markedBefore, graceMs }: { markedBefore: string; graceMs: number },
  limit: number,
): Promise<ObjectToCheck[]> {
  const rows = await ask<CheckRow>(
    database,
    sql`select ${CHECK_COLUMNS} from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where o.bucket_id = ${bucketId} and o.quarantine_reason = 'missing' and o.version ~ ${UUID.source}
        and o.quarantined_at < ${markedBefore}::timestamptz and o.quarantined_at <= ${longAgo(graceMs)}
      limit ${limit}`,
  )
  return rows.map(asObjectToCheck)
}

/** What is marked, for a report: by bucket and name. */
export function quarantined(database: Database, scope: Scope, limit: number) {
  return ask<{ bucketId: string; name: string; reason: QuarantineReason }>(
    database,
    sql`select bucket_id as "bucketId", name, quarantine_reason as reason from storage.objects
      where quarantine_reason is not null and ${inScope(sql`bucket_id`, scope)}
      order by bucket_id, name limit ${limit}`,
  )
}

/**
 * Marks an object, or takes its mark away. Returns whether it did: not if the object has another version by now, or its
 * bytes are in another place, or it is marked so already.
 */
export async function setQuarantine(
  database: Database,
  object: { id: string; location: Location },
  reason: QuarantineReason | null,
): Promise<boolean> {
  const rows = await ask(
    database,
    sql`update storage.objects
      set quarantine_reason = ${reason}, quarantined_at = ${reason === null ? sql`null` : sql`now()`}
      where ${isStill(object)} and quarantine_reason is distinct from ${reason}
      returning id`,
  )
  return rows.length > 0
}

/** Takes the mark of an object away that is still marked as missing. Returns whether it did. */
export async function releaseMissing(
  database: Database,
  object: { id: string; location: Location },
): Promise<boolean> {
  const rows = await ask(
    database,
    sql`update storage.objects set quarantine_reason = null, quarantined_at = null
      where ${isStill(object)} and quarantine_reason = 'missing' returning id`,
  )
  return rows.length > 0
}

/** Deletes an object that is still marked as missing. Returns what may be removed for it; null when it did not. */
export function deleteMissing(
  database: Database,
  object: { id: string; location: Location },
): Promise<Location[] | null> {
  return asService(database, async (tx) => {
    await sayDeletion(tx, 'purge') // without bytes it is no version
    const rows = await tx.execute(sql`delete from storage.objects
      where ${isStill(object)} and quarantine_reason = 'missing' returning id`)
    return rows.length > 0 ? ownRemovals(tx) : null
  })
}

/** A row without a bytes_bucket has its bytes where its bucket's are. */
function isStill({ id, location: { bucket, version } }: { id: string; location: Location }): SQL {
  return sql`id = ${id} and version = ${version} and coalesce(bytes_bucket, ${bucket}) = ${bucket}`
}

interface CheckRow extends Record<string, unknown> {
  id: string
  bucket_id: string
  name: string
  version: string
  bytes_bucket: string
  bucket_uid: string
  size: number | string | null
  checksum: string | null
  quarantine_reason: QuarantineReason | null
  has_inline_bytes: boolean | null
}

const CHECK_COLUMNS = sql`o.id, o.bucket_id, o.name, o.version, coalesce(o.bytes_bucket, b.uid) as bytes_bucket,
  b.uid as bucket_uid,
  case when jsonb_typeof(o.metadata -> 'size') = 'number' then o.metadata -> 'size' end as size,
  o.checksum, o.quarantine_reason,
  case when ${isIn('database')} then exists (
    select from storage.inline_bytes i where i.version = o.version::uuid
  ) end as has_inline_bytes`

function asObjectToCheck(row: CheckRow): ObjectToCheck {
  return {
    id: row.id,
    bucketId: row.bucket_id,
    name: row.name,
    location: { bucket: row.bytes_bucket, version: row.version },
    bucketUid: row.bucket_uid,
    size: row.size === null ? null : Number(row.size),
    checksum: row.checksum,
    quarantineReason: row.quarantine_reason,
    hasInlineBytes: row.has_inline_bytes,
  }
}
