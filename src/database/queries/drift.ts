import { type SQL, sql } from 'drizzle-orm'
import { UUID } from '../../lib/uuid.ts'
import { INLINE_BUCKET, type Location } from '../../model/location.ts'
import type { QuarantineReason } from '../../model/metadata.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/**
 * The questions of the cleanup and the scrub (design §6). The server itself asks them, past RLS; none of them holds
 * a lock for longer than its own statement.
 */

/** Only what belongs to this bucket, by its id; undefined means all. */
export type Scope = string | undefined

export interface StaleUpload extends Location {
  bucketId: string
  name: string
}

/** Uploads of which nothing was heard for `graceMs`, and resumable ones that have expired. */
export function staleUploads(database: Database, graceMs: number, scope: Scope, limit: number) {
  return ask<StaleUpload>(
    database,
    sql`select version, bucket_uid as bucket, bucket_id as "bucketId", name from storage.uploads
      where ${isStale(graceMs)} and ${inScope(sql`bucket_id`, scope)} order by heartbeat_at limit ${limit}`,
  )
}

/**
 * Lets these uploads expire, unless they have been heard of meanwhile or are being committed at this moment: their
 * versions go from the one list to the other, in one transaction. Returns those versions.
 */
export async function expireUploads(
  database: Database,
  graceMs: number,
  versions: string[],
): Promise<Set<string>> {
  const rows = await ask<{ version: string }>(
    database,
    sql`with stale as (
        select version from storage.uploads
        where version = any (${uuids(versions)}) and ${isStale(graceMs)} for update skip locked
      ), expired as (
        delete from storage.uploads u using stale where u.version = stale.version
        returning u.version, u.bucket_uid
      ), in_parts as (
        delete from storage.s3_multipart_uploads m using expired where m.upload = expired.version
      )
      insert into storage.removals (version, bucket_uid) select version, bucket_uid from expired
      on conflict do nothing returning version`,
  )
  return new Set(rows.map((row) => row.version))
}

export interface DueRemoval extends Location {
  /** Whether a row names them all the same, such as one copied with SQL: these bytes must stay. */
  isNamed: boolean
  createdAt: string
}

/** Removals that have waited for `graceMs`, oldest first, from after the given one. */
export function dueRemovals(
  database: Database,
  graceMs: number,
  scope: Scope,
  after: DueRemoval | undefined,
  limit: number,
) {
  const bucket = sql`(select b.uid from storage.buckets b where b.id = ${scope ?? ''})`
  return ask<DueRemoval>(
    database,
    sql`select r.version, r.bucket_uid as bucket, r.created_at::text as "createdAt",
        ${isNamed(sql`r.version`, sql`r.bucket_uid`)} as "isNamed"
      from storage.removals r
      where r.created_at <= ${longAgo(graceMs)}
        and ${scope === undefined ? sql`true` : sql`r.bucket_uid = ${bucket}`}
        and ${after ? sql`(r.created_at, r.version) > (${after.createdAt}::timestamptz, ${after.version}::uuid)` : sql`true`}
      order by r.created_at, r.version limit ${limit}`,
  )
}

/** The database's clock, which all servers share. */
export async function databaseNow(database: Database): Promise<string> {
  const [row] = await ask<{ now: string }>(database, sql`select clock_timestamp()::text as now`)
  return row?.now ?? ''
}

/**
 * A point in the order of transactions: those that have begun to write before now have a lower number.
 *
 * Takes a number itself, because `pg_snapshot_xmax` only tells the last one that has ended.
 */
export async function transactionHorizon(database: Database): Promise<string> {
  const [row] = await ask<{ horizon: string }>(database, sql`select pg_current_xact_id()::text as horizon`)
  return row?.horizon ?? '0'
}

/** Whether all transactions that had begun to write at that point have ended. */
export async function isPast(database: Database, horizon: string): Promise<boolean> {
  const [row] = await ask<{ past: boolean }>(
    database,
    sql`select pg_snapshot_xmin(pg_current_snapshot()) >= ${horizon}::xid8 as past`,
  )
  return row?.past ?? false
}

/** The number of the last sweep of unnamed bytes. */
export async function lastSweep(database: Database): Promise<string> {
  const [row] = await database.run(LAST_SWEEP, {})
  return row?.number ?? ''
}

const LAST_SWEEP = new Statement<object, { number: string }>('select storage.last_sweep()::text as number')

/**
 * Counts one more sweep, before a transaction horizon is asked for: whoever has written a file without a transaction hears of
 * it when he makes its row, unless his transaction has begun before that.
 */
export async function beginSweep(database: Database): Promise<void> {
  await ask(database, sql`select storage.begin_sweep()`)
}

/** Those of these places that no row, no upload and no removal names. */
export async function unnamed<At extends Location>(database: Database, places: At[]): Promise<At[]> {
  if (places.length === 0) return []
  const versions = uuids(places.map(({ version }) => version))
  const buckets = uuids(places.map(({ bucket }) => bucket))
  const rows = await ask<{ index: number }>(
    database,
    sql`select v.index::int - 1 as index
      from unnest(${versions}, ${buckets}) with ordinality as v (version, bucket, index)
      where not ${isNamed(sql`v.version`, sql`v.bucket`)}
        and not exists (select from storage.uploads u where u.version = v.version)
        and not exists (select from storage.removals r where r.version = v.version)`,
  )
  return rows.flatMap(({ index }) => places[index] ?? [])
}

/**
 * Whether a row names these bytes. One whose bytes are in the database names none outside, and the other way round:
 * `strongroom inline` may have been killed between the copy and the change of the row. Outside, a row keeps its version
 * wherever that is.
 */
function isNamed(version: SQL, bucket: SQL): SQL {
  return sql`exists (
    select from storage.objects o
    where o.version = ${version}::text and (o.bytes_bucket is not distinct from ${INLINE_BUCKET}) = (${bucket} = ${INLINE_BUCKET})
  )`
}

/** Which of these versions are on the list of uploads. */
export async function beingWritten(database: Database, versions: string[]): Promise<Set<string>> {
  const rows = await ask<{ version: string }>(
    database,
    sql`select version from storage.uploads where version = any (${uuids(versions)})`,
  )
  return new Set(rows.map((row) => row.version))
}

/** Which of these bucket UUIDs are, or were, buckets of this database. */
export async function knownBuckets(database: Database, uids: string[]): Promise<Set<string>> {
  const rows = await ask<{ uid: string }>(
    database,
    sql`select uid from storage.buckets where uid = any (${uuids(uids)})
      union select uid from storage.former_buckets where uid = any (${uuids(uids)})`,
  )
  return new Set(rows.map((row) => row.uid))
}

/** The UUID under which a bucket's bytes are; null when there is no such bucket. */
export async function bucketUid(database: Database, id: string): Promise<string | null> {
  const [row] = await ask<{ uid: string }>(database, sql`select uid from storage.buckets where id = ${id}`)
  return row?.uid ?? null
}

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
const SIZE = sql`case when jsonb_typeof(metadata -> 'size') = 'number' then (metadata ->> 'size')::numeric end`

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

/** Deletes an object that is still marked as missing. Returns whether it did. */
export async function deleteMissing(
  database: Database,
  object: { id: string; location: Location },
): Promise<boolean> {
  const rows = await ask(
    database,
    sql`delete from storage.objects
      where ${isStill(object)} and quarantine_reason = 'missing' returning id`,
  )
  return rows.length > 0
}

/** A row without a bytes_bucket has its bytes where its bucket's are. */
function isStill({ id, location: { bucket, version } }: { id: string; location: Location }): SQL {
  return sql`id = ${id} and version = ${version} and coalesce(bytes_bucket, ${bucket}) = ${bucket}`
}

/** UUIDs of buckets deleted at least `graceMs` ago whose folders may still be there. */
export async function bucketsWithFolders(
  database: Database,
  graceMs: number,
  limit: number,
): Promise<string[]> {
  const rows = await ask<{ uid: string }>(
    database,
    sql`select uid from storage.former_buckets
      where folders_removed_at is null and deleted_at <= ${longAgo(graceMs)} order by random() limit ${limit}`,
  )
  return rows.map((row) => row.uid)
}

/** Notes that a deleted bucket has no folder any more. */
export async function noteFoldersRemoved(database: Database, uid: string): Promise<void> {
  await ask(database, sql`update storage.former_buckets set folders_removed_at = now() where uid = ${uid}`)
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

/** Of a row of `storage.uploads`. Between the chunks of a resumable upload nobody speaks for it until it expires. */
function isStale(graceMs: number): SQL {
  return sql`heartbeat_at <= ${longAgo(graceMs)} and not exists (
    select from storage.resumable_uploads r where r.id = version and r.ended is null and r.expires_at > now())`
}

function longAgo(ms: number): SQL {
  return sql`now() - ${ms} * interval '1 millisecond'`
}

function inScope(column: SQL, scope: Scope): SQL {
  return scope === undefined ? sql`true` : sql`${column} = ${scope}`
}

function uuids(values: string[]): SQL {
  return sql`${textArray(values)}::uuid[]`
}

/** One statement in a transaction of its own, as the server itself. */
function ask<Row extends Record<string, unknown> | object = object>(
  database: Database,
  query: SQL,
): Promise<Row[]> {
  return asService(database, async (tx) => (await tx.execute(query)) as unknown as Row[])
}
