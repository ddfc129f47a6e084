import { type SQL, sql } from 'drizzle-orm'
import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { isNamed } from './naming-rows.ts'

/**
 * The questions of the cleanup and the scrub (design §6), but for those about single objects (objects-to-check.ts). The
 * server itself asks them, past RLS; none of them holds a lock for longer than its own statement.
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
 * versions go from the one list to the other, in one transaction. Returns those versions; none that a row names, which may have
 * come onto the list by SQL alone.
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
      where not exists (select from storage.objects o where o.version = expired.version::text)
        and not exists (select from storage.object_versions o where o.version = expired.version::text)
      on conflict do nothing returning version`,
  )
  return new Set(rows.map((row) => row.version))
}

export interface DueRemoval extends Location {
  /** Whether a row names them all the same, such as one copied with SQL: these bytes must stay. */
  isNamed: boolean
  createdAt: string
}

/**
 * Removals that have waited for `graceMs`, oldest first, from after the given one; none while a backup holds them.
 *
 * @param holder by the name of his hold, which does not keep them from himself
 */
export function dueRemovals(
  database: Database,
  graceMs: number,
  scope: Scope,
  after: DueRemoval | undefined,
  limit: number,
  holder = '',
) {
  const bucket = sql`(select b.uid from storage.buckets b where b.id = ${scope ?? ''})`
  return ask<DueRemoval>(
    database,
    sql`select r.version, r.bucket_uid as bucket, r.created_at::text as "createdAt",
        ${isNamed(sql`r.version`, sql`r.bucket_uid`)} as "isNamed"
      from storage.removals r
      where r.created_at <= ${longAgo(graceMs)} and not exists (select from storage.backup_holds h where h.name <> ${holder})
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
  await ask(database, sql`select storage.next_sweep()`)
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

/** Of a row of `storage.uploads`. Between the chunks of a resumable upload nobody speaks for it until it expires. */
function isStale(graceMs: number): SQL {
  return sql`heartbeat_at <= ${longAgo(graceMs)} and not exists (
    select from storage.resumable_uploads r where r.id = version and r.ended is null and r.expires_at > now())`
}

export function longAgo(ms: number): SQL {
  return sql`now() - ${ms} * interval '1 millisecond'`
}

export function inScope(column: SQL, scope: Scope): SQL {
  return scope === undefined ? sql`true` : sql`${column} = ${scope}`
}

function uuids(values: string[]): SQL {
  return sql`${textArray(values)}::uuid[]`
}

/** One statement in a transaction of its own, as the server itself. */
export function ask<Row extends Record<string, unknown> | object = object>(
  database: Pick<Database, 'transaction'>,
  query: SQL,
): Promise<Row[]> {
  return asService(database, async (tx) => (await tx.execute(query)) as unknown as Row[])
}
