import { type SQL, sql } from 'drizzle-orm'
import { UUID } from '../../lib/uuid.ts'
import { INLINE_BUCKET, type Location } from '../../model/location.ts'
import type { QuarantineReason } from '../../model/metadata.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { ask, inScope, longAgo, type Scope } from './drift.ts'
import { ownRemovals } from './listed-versions.ts'
import { NAMING_ROWS, SIZE } from './naming-rows.ts'

/**
 * Objects whose bytes are looked at, moved, or missed: by the cleanup, the scrub and the moves (design §6). Asked as the
 * questions of drift.ts are. What was there before, as versions and in the trash (decision 0070), is gone through behind the
 * objects that are there.
 */

/** An object, or one that was there before, as the checks of its bytes need it. */
export interface ObjectToCheck {
  id: string
  /** Of a version or something in the trash; null for an object that is there. */
  sequence: string | null
  /** Where it comes when all are gone through. */
  place: string
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

/** In a statement about rows that name bytes. */
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

function isWhich({ place, maxSize }: Which, size: SQL): SQL {
  const isSmall = maxSize === undefined ? sql`true` : sql`${size} <= ${maxSize}`
  return place ? sql`${isIn(place)} and ${isSmall}` : isSmall
}

/** How many objects with bytes of ours there are or were, and how many bytes they have. */
export async function countObjects(
  database: Database,
  scope: Scope,
  which: Which,
): Promise<{ count: number; bytes: number }> {
  const [row] = await ask<{ count: number; bytes: number }>(
    database,
    sql`select count(*)::float8 as count, coalesce(sum(size), 0)::float8 as bytes from ${NAMING_ROWS} n
      where ${inScope(sql`bucket_id`, scope)} and version ~ ${UUID.source} and ${isWhich(which, sql`size`)}`,
  )
  return row ?? { count: 0, bytes: 0 }
}

/**
 * Those with bytes of ours, from after the given place: objects by id, and then, at places behind all random UUIDs, what was
 * there before.
 */
export async function objectsAfter(
  database: Database,
  scope: Scope,
  after: string | null,
  limit: number,
  which: Which = {},
): Promise<ObjectToCheck[]> {
  const isOurs = sql`${inScope(sql`o.bucket_id`, scope)} and o.version ~ ${UUID.source}`
  const isBehind = after?.startsWith(BEHIND_ALL) === true
  const objects = isBehind
    ? []
    : await ask<CheckRow>(
        database,
        sql`select ${OBJECT_COLUMNS} from storage.objects o join storage.buckets b on b.id = o.bucket_id
          where ${after === null ? sql`true` : sql`o.id > ${after}`} and ${isOurs} and ${isWhich(which, SIZE)}
          order by o.id limit ${limit}`,
      )
  // Not asked for before: where it has few of those that are wanted, each page would look through all of it.
  const left = limit - objects.length
  const last = isBehind ? Number.parseInt(after.slice(BEHIND_ALL.length).replace('-', ''), 16) : 0
  const former =
    left === 0
      ? []
      : await ask<CheckRow>(
          database,
          sql`select ${VERSION_COLUMNS} from storage.object_versions o join storage.buckets b on b.id = o.bucket_id
            where o.sequence > ${last} and not o.is_delete_marker and ${isOurs} and ${isWhich(which, sql`o.size`)}
            order by o.sequence limit ${left}`,
        )
  return [...objects, ...former].map(asObjectToCheck)
}

/** How the place of a version begins, in hexadecimal digits; its sequence follows. */
const BEHIND_ALL = 'ffffffff-ffff-ffff-'

/** The same as it is now: an object of this id, or what was there before; null when it is no more, or its bytes are not ours. */
export async function findObjectToCheck(
  database: Database,
  { id, sequence }: Pick<ObjectToCheck, 'id' | 'sequence'>,
): Promise<ObjectToCheck | null> {
  const [row] = await ask<CheckRow>(
    database,
    sequence === null
      ? sql`select ${OBJECT_COLUMNS} from storage.objects o join storage.buckets b on b.id = o.bucket_id
          where o.id = ${id} and o.version ~ ${UUID.source}`
      : sql`select ${VERSION_COLUMNS} from storage.object_versions o join storage.buckets b on b.id = o.bucket_id
          where o.sequence = ${sequence} and o.version ~ ${UUID.source}`,
  )
  return row ? asObjectToCheck(row) : null
}

/**
 * What a bucket has or had, and was marked as missing before `markedBefore`, and at least `graceMs` ago; but nothing that is
 * locked.
 */
export async function longMissing(
  database: Database,
  bucketId: string,
  { markedBefore, graceMs }: { markedBefore: string; graceMs: number },
  limit: number,
): Promise<ObjectToCheck[]> {
  const isLong = sql`o.bucket_id = ${bucketId} and o.quarantine_reason = 'missing' and o.version ~ ${UUID.source}
    and o.quarantined_at < ${markedBefore}::timestamptz and o.quarantined_at <= ${longAgo(graceMs)}`
  const rows = await ask<CheckRow>(
    database,
    sql`(select ${OBJECT_COLUMNS} from storage.objects o join storage.buckets b on b.id = o.bucket_id
          where ${isLong} and storage.lock_of(o.bucket_id, o.version, storage.since_of(o)) is null limit ${limit})
      union all
      (select ${VERSION_COLUMNS} from storage.object_versions o join storage.buckets b on b.id = o.bucket_id
          where ${isLong} and storage.lock_of(o.bucket_id, o.version, o.valid_from) is null limit ${limit})
      limit ${limit}`,
  )
  return rows.map(asObjectToCheck)
}

/** What is marked, for a report: by bucket and name. `version` is of what was there before. */
export function quarantined(database: Database, scope: Scope, limit: number) {
  return ask<{ bucketId: string; name: string; version: string | null; reason: QuarantineReason }>(
    database,
    sql`select * from (
        select bucket_id as "bucketId", name, null as version, quarantine_reason as reason from storage.objects
        union all
        select bucket_id, name, version, quarantine_reason from storage.object_versions
      ) marked
      where reason is not null and ${inScope(sql`"bucketId"`, scope)}
      order by "bucketId", name, version nulls first limit ${limit}`,
  )
}

/**
 * Marks an object, or takes its mark away, and so all that was there before of the same bytes. Returns whether it did: not if
 * nothing has this version any more, or its bytes are in another place, or it is marked so already.
 */
export async function setQuarantine(
  database: Database,
  object: { id: string; location: Location },
  reason: QuarantineReason | null,
): Promise<boolean> {
  return mark(database, object, reason, sql`quarantine_reason is distinct from ${reason}`)
}

/** Takes the mark away of what is still marked as missing. Returns whether it did. */
export async function releaseMissing(
  database: Database,
  object: { id: string; location: Location },
): Promise<boolean> {
  return mark(database, object, null, sql`quarantine_reason = 'missing'`)
}

async function mark(
  database: Database,
  object: { id: string; location: Location },
  reason: QuarantineReason | null,
  where: SQL,
): Promise<boolean> {
  const marks = sql`quarantine_reason = ${reason}, quarantined_at = ${reason === null ? sql`null` : sql`now()`}`
  const rows = await ask(
    database,
    sql`with current as (
        update storage.objects set ${marks} where id = ${object.id} and ${isStill(object)} and ${where} returning version
      ), former as (
        update storage.object_versions set ${marks} where object_id = ${object.id} and ${isStill(object)} and ${where}
        returning version
      )
      select from current union all select from former`,
  )
  return rows.length > 0
}

/**
 * Deletes what is still marked as missing, and whatever was there before of the same bytes: nothing is left of it to restore. Of
 * an object in a bucket that keeps versions a marker stays, under which others can be found.
 *
 * @returns what may be removed for it; null when it did not
 * @throws ObjectLocked
 */
export function deleteMissing(
  database: Database,
  object: { id: string; location: Location },
): Promise<Location[] | null> {
  return asService(database, async (tx) => {
    const isMissing = sql`${isStill(object)} and quarantine_reason = 'missing'`
    const current = await tx.execute(
      sql`delete from storage.objects where id = ${object.id} and ${isMissing} returning id`,
    )
    const former = await tx.execute(
      sql`delete from storage.object_versions where object_id = ${object.id} and ${isMissing} returning sequence`,
    )
    return current.length + former.length > 0 ? ownRemovals(tx) : null
  })
}

/** A row without a bytes_bucket has its bytes where its bucket's are. */
function isStill({ location: { bucket, version } }: { location: Location }): SQL {
  return sql`version = ${version} and coalesce(bytes_bucket, ${bucket}) = ${bucket}`
}

interface CheckRow extends Record<string, unknown> {
  id: string
  sequence: string | null
  place: string
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

const COLUMNS = sql`o.bucket_id, o.name, o.version, coalesce(o.bytes_bucket, b.uid) as bytes_bucket, b.uid as bucket_uid,
  o.checksum, o.quarantine_reason,
  case when ${isIn('database')} then exists (
    select from storage.inline_bytes i where i.version = o.version::uuid
  ) end as has_inline_bytes`

const OBJECT_COLUMNS = sql`o.id, null::text as sequence, o.id as place, ${SIZE} as size, ${COLUMNS}`

const VERSION_COLUMNS = sql`o.object_id as id, o.sequence::text as sequence,
  (${BEHIND_ALL}::text || lpad(to_hex(o.sequence), 16, '0'))::uuid as place,
  o.size::numeric as size, ${COLUMNS}`

function asObjectToCheck(row: CheckRow): ObjectToCheck {
  return {
    id: row.id,
    sequence: row.sequence,
    place: row.place,
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
