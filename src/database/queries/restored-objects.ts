import { type SQL, sql } from 'drizzle-orm'
import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { sayDeletion } from './deletion.ts'
import { ask } from './drift.ts'
import { writeInlineBytes } from './inline-bytes.ts'
import { finishUpload, ownRemovals } from './listed-versions.ts'

/** What a restore puts back into a database that is at work: rows as they were, with bytes of their own. */

export interface RestoredObject {
  /** The row as a backup has it, as JSON. */
  row: string
  bucketId: string
  name: string
  /** Where its bytes are now, or will be. */
  at: Location
  /** SHA-256, 64 lower-case hexadecimal digits. */
  checksum: string
  /** Those that go into the database with the row; null when they are at their place already. */
  bytes: Uint8Array | null
  /** Which object of that name is replaced: none, the same one if its bytes are lost or damaged, or any. */
  replaces: 'none' | 'damaged' | 'any'
}

/** What has a name now. */
export interface CurrentObject {
  name: string
  /** Whether it is the one that the backup has: of the very version, or put back before and not written since. */
  isSame: boolean
  /** Whether its bytes were found to be missing or damaged. */
  isDamaged: boolean
}

/** What the names of these have now. @param rows of a backup, as JSON */
export async function currentObjects(
  database: Database,
  bucketId: string,
  rows: string[],
): Promise<Map<string, CurrentObject>> {
  const found = await ask<CurrentObject>(
    database,
    sql`select name, ${isOf(sql`line`)} as "isSame", quarantine_reason is not null as "isDamaged"
      from jsonb_array_elements(${`[${rows.join(',')}]`}::jsonb) as line
      join storage.objects on bucket_id = ${bucketId} and name = line ->> 'name'`,
  )
  return new Map(found.map((object) => [object.name, object]))
}

/** Whether an object is that of a backup's row. One that was put back has its times, which every write changes. */
function isOf(row: SQL): SQL {
  return sql`(
    version = ${row} ->> 'version' or (
      created_at = (${row} ->> 'created_at')::timestamptz and updated_at = (${row} ->> 'updated_at')::timestamptz
      and checksum = coalesce(${row} ->> 'checksum', checksum)
    )
  )`
}

/**
 * Makes the row, with its id, owner and times, unless its name is taken and may not be replaced. An id that another object
 * has by now, as one that was moved, is not taken from that.
 *
 * @returns what it has made superfluous; null when the name is taken
 * @throws UploadExpired; BucketReference when there is no such bucket
 */
export function restoreObject(database: Database, object: RestoredObject): Promise<Location[] | null> {
  const { row, bucketId, name, at, checksum, bytes, replaces } = object
  return asService(database, async (tx) => {
    if (replaces !== 'none') {
      await sayDeletion(tx, 'replace')
      const which =
        replaces === 'any' ? sql`true` : sql`quarantine_reason is not null and ${isOf(sql`${row}::jsonb`)}`
      await tx.execute(
        sql`delete from storage.objects where bucket_id = ${bucketId} and name = ${name} and ${which}`,
      )
    }
    const made = await tx.execute(sql`
      insert into storage.objects (
        id, bucket_id, name, owner, owner_id, created_at, updated_at, last_accessed_at, metadata, user_metadata, tags,
        version, bytes_bucket, checksum, version_comment, file_name, organization_id, access_level, asset_type,
        enable_indexing
      )
      select case when exists (select from storage.objects o where o.id = r.id) then gen_random_uuid() else r.id end,
        ${bucketId}, ${name}, r.owner, r.owner_id, r.created_at, r.updated_at, r.last_accessed_at, r.metadata,
        r.user_metadata, coalesce(r.tags, '{}'), ${at.version}, ${at.bucket}, ${checksum}, r.version_comment,
        r.file_name, r.organization_id, coalesce(r.access_level, 'private'), r.asset_type, coalesce(r.enable_indexing, true)
      from jsonb_populate_record(null::storage.objects, ${row}::jsonb) r
      on conflict (bucket_id, name) do nothing returning id`)
    if (made.length === 0) return null
    if (bytes === null) return finishUpload(tx, at.version)
    await writeInlineBytes(tx, at.version, bytes)
    return ownRemovals(tx)
  })
}

/** What was there before and is still that of a backup's row, and whose bytes were found missing or damaged. */
interface DamagedVersion {
  /** Of its object. */
  id: string
  bucketId: string
  name: string
  location: Location
}

/** Those of these rows, in the order of their versions. @param rows of a backup, as JSON */
export async function damagedVersions(database: Database, rows: string[]): Promise<DamagedVersion[]> {
  const found = await ask<Omit<DamagedVersion, 'location'> & { version: string; bytesBucket: string }>(
    database,
    sql`select distinct on (v.version collate "C") v.object_id as id, v.bucket_id as "bucketId", v.name, v.version,
        v.bytes_bucket as "bytesBucket"
      from jsonb_array_elements(${`[${rows.join(',')}]`}::jsonb) as line
      join storage.object_versions v
        on v.version = line ->> 'version' and v.bucket_id = line ->> 'bucket_id' and v.name = line ->> 'name'
      where v.quarantine_reason is not null and not v.is_delete_marker
      order by v.version collate "C"`,
  )
  return found.map(({ version, bytesBucket, ...row }) => ({
    ...row,
    location: { bucket: bytesBucket, version },
  }))
}

/** The buckets' uids, of those that are there. */
export async function bucketUids(database: Database, ids: string[]): Promise<Map<string, string>> {
  const rows = await ask<{ id: string; uid: string }>(
    database,
    sql`select id, uid from storage.buckets where id in (select jsonb_array_elements_text(${JSON.stringify(ids)}::jsonb))`,
  )
  return new Map(rows.map(({ id, uid }) => [id, uid]))
}

/** Makes a bucket as it was, or, under another id, one with its settings. One that is there stays as it is. */
export async function restoreBucket(database: Database, row: string, id: string): Promise<void> {
  await ask(
    database,
    sql`insert into storage.buckets (
        id, name, owner, owner_id, public, policy, file_size_limit, allowed_mime_types, avif_autodetection, type,
        versioning_status, trash_days, max_versions, version_retention_days, object_lock, retention_days, path_template,
        created_at, updated_at, uid
      )
      select ${id}, case when r.id = ${id} then r.name else ${id} end, r.owner, r.owner_id, r.public, r.policy,
        r.file_size_limit, r.allowed_mime_types, r.avif_autodetection, r.type, r.versioning_status,
        coalesce(r.trash_days, 0), r.max_versions, r.version_retention_days, coalesce(r.object_lock, false), r.retention_days,
        r.path_template, r.created_at, r.updated_at,
        case when r.id <> ${id} or exists (select from storage.buckets b where b.uid = r.uid) then gen_random_uuid()
          else r.uid end
      from jsonb_populate_record(null::storage.buckets, ${row}::jsonb) r
      on conflict do nothing`,
  )
}
