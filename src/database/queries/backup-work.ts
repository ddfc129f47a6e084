import { sql } from 'drizzle-orm'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import {
  type BackupCounts,
  type BackupJob,
  COLUMNS,
  fromRow,
  isLivingChildOf,
  type JobRow,
} from './backup-jobs.ts'
import { ask } from './drift.ts'

/**
 * What a runner does about the rows of backup-jobs.ts: it takes them, says how far they are, and sees to what they have left. All but
 * `findWork` is for who has the turn of backups.
 */

/** What there is to do for whoever has, or could have, the turn of backups. */
export interface BackupWork {
  isPending: boolean
  /** That some process does it, or has died over it, or has left something held, as when the database was away when it failed. */
  isUnderWay: boolean
  /** That backups are deleted or expired, and still lie in their target. */
  isRemovable: boolean
  /** That backups lie in a target. */
  isKept: boolean
}

/** A look at one small table. */
export async function findWork(database: Database): Promise<BackupWork> {
  const [row] = await ask<{ pending: boolean; under_way: boolean; removable: boolean; kept: boolean }>(
    database,
    sql`select coalesce(bool_or(status = 'pending'), false) as pending,
        coalesce(bool_or(status in ('running', 'restoring')), false)
          or exists (select from storage.backup_holds where job is not null) as under_way,
        coalesce(bool_or(${IS_REMOVABLE}), false) as removable,
        coalesce(bool_or(${IS_THERE}), false) as kept
      from storage.backup_jobs p`,
  )
  return {
    isPending: row?.pending === true,
    isUnderWay: row?.under_way === true,
    isRemovable: row?.removable === true,
    isKept: row?.kept === true,
  }
}

/** Takes the one that is to be done; null when there is none. Only for who has the turn of backups. */
export async function takePendingJob(database: Database): Promise<BackupJob | null> {
  const [row] = await ask<JobRow>(
    database,
    sql`update storage.backup_jobs
      set status = case kind when 'backup' then 'running' else 'restoring' end, started_at = now()
      where status = 'pending' returning ${COLUMNS}`,
  )
  return row ? fromRow(row) : null
}

/**
 * Chooses the backup that an incremental one builds on: the newest whole one of the target, of the same buckets.
 *
 * @returns null when there is none
 */
export async function chooseParent(database: Database, id: string): Promise<string | null> {
  const [row] = await ask<{ parent: string | null }>(
    database,
    sql`with chosen as (
        select p.id from storage.backup_jobs p, storage.backup_jobs j
        where j.id = ${id} and p.id < j.id and p.kind = 'backup' and p.status = 'completed' and p.deleted_at is null
          and p.target = j.target and p.buckets is not distinct from j.buckets
        order by p.id desc limit 1 for update of p
      )
      update storage.backup_jobs set parent = (select id from chosen) where id = ${id} returning parent`,
  )
  return row?.parent ?? null
}

/** Notes that an incremental backup is made as a full one. @param note why, for whoever asked for it */
export async function noteFull(database: Database, id: string, note: string): Promise<void> {
  await ask(
    database,
    sql`update storage.backup_jobs set type = 'full', parent = null, note = ${note} where id = ${id} and ${IS_UNDER_WAY}`,
  )
}

/** Notes how far a job is that is under way. */
export async function noteProgress(
  database: Database,
  id: string,
  { progress, objectCount, totalBytes, damaged }: { progress: number } & BackupCounts,
): Promise<void> {
  await ask(
    database,
    sql`update storage.backup_jobs set progress = ${Math.min(1, Math.max(0, progress))}, object_count = ${objectCount},
        total_bytes = ${totalBytes}, damaged = ${damaged}
      where id = ${id} and ${IS_UNDER_WAY}`,
  )
}

/**
 * Notes that a job has come to its end.
 *
 * @param retentionDays of a backup that says nothing itself; null is for ever
 * @returns false when it was taken for dead meanwhile: it is failed then
 */
export async function completeJob(
  database: Database,
  id: string,
  { objectCount, totalBytes, damaged }: BackupCounts,
  retentionDays: number | null,
): Promise<boolean> {
  const rows = await ask(
    database,
    sql`update storage.backup_jobs
      set status = case kind when 'backup' then 'completed' else 'restored' end, progress = 1, completed_at = now(),
        object_count = ${objectCount}, total_bytes = ${totalBytes}, damaged = ${damaged},
        expires_at = case kind when 'backup' then now() + coalesce(retention_days, ${retentionDays}::int) * interval '1 day' end
      where id = ${id} and ${IS_UNDER_WAY} returning id`,
  )
  return rows.length > 0
}

/** Notes that a job has failed, with a sentence for whoever asks. */
export async function failJob(database: Database, id: string, error: string): Promise<void> {
  await ask(
    database,
    sql`update storage.backup_jobs set status = 'failed', error = ${error}, completed_at = now()
      where id = ${id} and ${IS_UNDER_WAY}`,
  )
}

/** What is said to be under way: for who has the turn of backups, it has died. */
export async function jobsUnderWay(database: Database): Promise<BackupJob[]> {
  const rows = await ask<JobRow>(
    database,
    sql`select ${COLUMNS} from storage.backup_jobs where ${IS_UNDER_WAY}`,
  )
  return rows.map(fromRow)
}

/** Only for who has the turn of backups: what is said to be under way has died. @returns their ids */
export async function failDeadJobs(database: Database): Promise<string[]> {
  const rows = await ask<{ id: string }>(
    database,
    sql`update storage.backup_jobs
      set status = 'failed', error = 'The process that did it has ended, or has lost the database', completed_at = now()
      where ${IS_UNDER_WAY} returning id`,
  )
  return rows.map(({ id }) => id)
}

/** Backups that are deleted or expired, and which nobody needs; at most `limit`, the newest first, as one may need those before it. */
export async function removableBackups(database: Database, limit: number): Promise<BackupJob[]> {
  const rows = await ask<JobRow>(
    database,
    sql`select ${COLUMNS} from storage.backup_jobs p where ${IS_REMOVABLE} order by id desc limit ${limit}`,
  )
  return rows.map(fromRow)
}

/** The targets in which completed backups lie. */
export async function usedTargets(database: Database): Promise<string[]> {
  const rows = await ask<{ target: string }>(
    database,
    sql`select distinct target from storage.backup_jobs where ${IS_THERE}`,
  )
  return rows.map(({ target }) => target)
}

/**
 * Only for who has the turn of backups: notes that backups are not in their target any more.
 *
 * @param found all that are
 * @returns the ids of those that are not
 */
export async function noteLost(database: Database, target: string, found: string[]): Promise<string[]> {
  const rows = await ask<{ id: string }>(
    database,
    sql`update storage.backup_jobs set status = 'expired', note = 'It is not in its target any more'
      where ${IS_THERE} and target = ${target} and id <> all (${textArray(found)}::uuid[]) returning id`,
  )
  return rows.map(({ id }) => id)
}

/** Only for who has the turn of backups: one whose bytes are gone from its target is forgotten. */
export async function forgetBackup(database: Database, id: string): Promise<void> {
  await ask(database, sql`delete from storage.backup_jobs where id = ${id} and kind = 'backup'`)
}

/** What lay in the target is gone: a deleted one is forgotten, the others are known as expired. */
export async function noteRemoved(database: Database, id: string): Promise<void> {
  await ask(
    database,
    sql`with forgotten as (delete from storage.backup_jobs where id = ${id} and deleted_at is not null)
      update storage.backup_jobs set status = 'expired' where id = ${id} and deleted_at is null`,
  )
}

/** Forgets what has ended so many days ago and has left nothing in a target, but the last of a kind that went well. */
export async function trimJobs(database: Database, days: number): Promise<void> {
  await ask(
    database,
    sql`delete from storage.backup_jobs p
      where (status in ('failed', 'expired', 'restored') or (kind = 'drill' and status = 'completed'))
        and created_at < now() - ${days} * interval '1 day'
        and (status = 'failed' or exists (
          select from storage.backup_jobs n
          where n.kind = p.kind and n.id > p.id and n.status in ('completed', 'expired', 'restored')
        ))`,
  )
}

const IS_UNDER_WAY = sql`status in ('running', 'restoring')`

/** Of a backup that lies in its target. */
const IS_THERE = sql`kind = 'backup' and status = 'completed' and deleted_at is null`

/** Of a row that is called `p`. A failed backup may have left something in its target, too. */
const IS_REMOVABLE = sql`(
  p.status not in ('pending', 'running', 'restoring')
  and (p.deleted_at is not null or (p.status = 'completed' and p.expires_at <= now()))
  and not exists (select from storage.backup_jobs where ${isLivingChildOf(sql`p.id`)})
)`
