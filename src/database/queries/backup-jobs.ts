import { type SQL, sql } from 'drizzle-orm'
import { StorageError } from '../../model/errors.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { fromPostgres, sqlState } from '../connection/postgres-error.ts'
import { dateOr1970, dateOrNull, textArray } from '../connection/row-values.ts'
import { ask } from './drift.ts'

/**
 * Backups and restores, as rows that a server picks up (decision 0058). At most one of them is to be done, or under way, at a
 * time. Whoever does one has the turn of backups: while nobody has it, none is under way, whatever the rows say. A drill has a
 * row, too, once it has ended.
 */

/** `completed`, `failed` and `restored` are ends; a backup that was completed may be `expired` later. */
export type BackupStatus =
  | 'pending'
  | 'running'
  | 'completed'
  | 'failed'
  | 'expired'
  | 'restoring'
  | 'restored'

export type BackupType = 'full' | 'incremental'

/** One row of `storage.backup_jobs`. */
export interface BackupJob extends Omit<NewBackupJob, 'scheduledFor'> {
  status: BackupStatus
  /** From 0 to 1. */
  progress: number
  objectCount: number
  totalBytes: number
  /** Objects whose bytes were missing, or not those that were uploaded. */
  damaged: number
  startedAt: Date | null
  completedAt: Date | null
  /** Null is never. */
  expiresAt: Date | null
  error: string | null
  /** What whoever asked for it should know besides; null when there is nothing. */
  note: string | null
  createdAt: Date
}

export interface NewBackupJob {
  /** A UUID of version 7; of a backup, also its name in the target. */
  id: string
  kind: 'backup' | 'restore' | 'drill'
  /** Of a backup, else null. */
  type: BackupType | null
  /** The folder or s3:// URL where the backup lies. */
  target: string
  /** Of an incremental backup, the one that it builds on; of a restore or a drill, the one that it brings back. */
  parent: string | null
  description: string
  /** Ids; null is all. */
  buckets: string[] | null
  includeVersions: boolean
  includeTrash: boolean
  /** What else was asked for. */
  request: Record<string, unknown>
  /** Null is as the server that does it is set. */
  retentionDays: number | null
  /** Whose token it was, or who else has asked. */
  createdBy: string
  /** The time of a schedule that it was due at. */
  scheduledFor?: Date
}

export interface BackupCounts {
  objectCount: number
  totalBytes: number
  damaged: number
}

/** Notes that a backup or a restore is to be done. @throws BackupRunning */
export async function insertJob(tx: Transaction, job: NewBackupJob): Promise<BackupJob> {
  const scheduled = job.scheduledFor && { scheduled_for: job.scheduledFor.toISOString() }
  const request = JSON.stringify({ ...job.request, ...scheduled })
  try {
    const [row] = await tx.execute<Row>(sql`
      insert into storage.backup_jobs (
        id, kind, type, target, parent, description, buckets, include_versions, include_trash, request, retention_days,
        created_by
      ) values (
        ${job.id}, ${job.kind}, ${job.type}, ${job.target}, ${job.parent}, ${job.description},
        ${job.buckets === null ? sql`null` : textArray(job.buckets)}, ${job.includeVersions}, ${job.includeTrash},
        ${request}::jsonb, ${job.retentionDays}, ${job.createdBy}
      ) returning ${COLUMNS}`)
    if (!row) throw new Error('an insert returned no row')
    return fromRow(row)
  } catch (error) {
    const ours = fromPostgres(error)
    throw sqlState(ours) === '23505' ? new StorageError('BackupRunning', { cause: error }) : ours
  }
}

/** Lets nobody else ask for one until the end of the transaction. */
export async function lockJobs(tx: Transaction): Promise<void> {
  await tx.execute(sql`lock table storage.backup_jobs in share row exclusive mode`)
}

/** Whether a full backup of all buckets was completed in that target within so many days, and is there still. */
export async function hasFullSince(tx: Transaction, target: string, days: number): Promise<boolean> {
  const rows = await tx.execute(sql`
    select id from storage.backup_jobs
    where kind = 'backup' and type = 'full' and status = 'completed' and deleted_at is null and buckets is null
      and target = ${target} and created_at > now() - ${days} * interval '1 day' limit 1`)
  return rows.length > 0
}

/** When a schedule was last heeded, by this server or another; null when it never was. */
export async function lastScheduled(tx: Transaction): Promise<Date | null> {
  const [row] = await tx.execute<{ last: string | null }>(
    sql`select max((request ->> 'scheduled_for')::timestamptz) as last from storage.backup_jobs`,
  )
  return dateOrNull(row?.last ?? null)
}

/** The newest first; at most `limit`, those before the given id. */
export async function listJobs(
  tx: Transaction,
  { before, limit, kind }: { before: string | null; limit: number; kind: BackupJob['kind'] | null },
): Promise<BackupJob[]> {
  const rows = await tx.execute<Row>(sql`
    select ${COLUMNS} from storage.backup_jobs
    where deleted_at is null and ${before === null ? sql`true` : sql`id < ${before}`}
      and ${kind === null ? sql`true` : sql`kind = ${kind}`}
    order by id desc limit ${limit}`)
  return rows.map(fromRow)
}

/** @param lock keeps it as it is until the end of the transaction */
export async function findJob(tx: Transaction, id: string, { lock = false } = {}): Promise<BackupJob | null> {
  const [row] = await tx.execute<Row>(sql`
    select ${COLUMNS} from storage.backup_jobs where id = ${id} and deleted_at is null ${lock ? sql`for update` : sql``}`)
  return row ? fromRow(row) : null
}

/** Whether a backup is needed by another one, or by a restore that is to be done or under way. */
export async function isInUse(tx: Transaction, id: string): Promise<boolean> {
  const rows = await tx.execute(
    sql`select id from storage.backup_jobs where ${isLivingChildOf(sql`${id}::uuid`)} limit 1`,
  )
  return rows.length > 0
}

/** From now on it is there for nobody, and a server removes what lies in the target. One that is to be done will not be. */
export async function deleteJob(tx: Transaction, id: string): Promise<void> {
  await tx.execute(sql`update storage.backup_jobs
    set deleted_at = now(), status = case status when 'pending' then 'failed' else status end where id = ${id}`)
}

/** What there is to do for whoever has, or could have, the turn of backups. */
export interface BackupWork {
  isPending: boolean
  /** That some process does it, or has died over it. */
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
        coalesce(bool_or(status in ('running', 'restoring')), false) as under_way,
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
  const [row] = await ask<Row>(
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
  const rows = await ask<Row>(database, sql`select ${COLUMNS} from storage.backup_jobs where ${IS_UNDER_WAY}`)
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
  const rows = await ask<Row>(
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

/** Whether a row is of a job that needs the backup of that id. */
function isLivingChildOf(id: SQL): SQL {
  return sql`parent = ${id} and deleted_at is null and (
    status in ('pending', 'running', 'restoring') or (kind = 'backup' and status = 'completed'))`
}

/** Of a row that is called `p`. A failed backup may have left something in its target, too. */
const IS_REMOVABLE = sql`(
  p.status not in ('pending', 'running', 'restoring')
  and (p.deleted_at is not null or (p.status = 'completed' and p.expires_at <= now()))
  and not exists (select from storage.backup_jobs where ${isLivingChildOf(sql`p.id`)})
)`

const COLUMNS =
  sql.raw(`id, kind, type, status, target, parent, description, buckets, include_versions, include_trash, request,
  retention_days, progress, object_count, total_bytes, damaged, started_at, completed_at, expires_at, error, note,
  created_at, created_by`)

interface Row extends Record<string, unknown> {
  id: string
  kind: BackupJob['kind']
  type: BackupType | null
  status: BackupStatus
  target: string
  parent: string | null
  description: string
  buckets: string[] | null
  include_versions: boolean
  include_trash: boolean
  request: Record<string, unknown>
  retention_days: number | null
  progress: number
  object_count: string
  total_bytes: string
  damaged: string
  started_at: string | null
  completed_at: string | null
  expires_at: string | null
  error: string | null
  note: string | null
  created_at: string
  created_by: string
}

function fromRow(row: Row): BackupJob {
  return {
    id: row.id,
    kind: row.kind,
    type: row.type,
    status: row.status,
    target: row.target,
    parent: row.parent,
    description: row.description,
    buckets: row.buckets,
    includeVersions: row.include_versions,
    includeTrash: row.include_trash,
    request: row.request,
    retentionDays: row.retention_days,
    progress: row.progress,
    objectCount: Number(row.object_count),
    totalBytes: Number(row.total_bytes),
    damaged: Number(row.damaged),
    startedAt: dateOrNull(row.started_at),
    completedAt: dateOrNull(row.completed_at),
    expiresAt: dateOrNull(row.expires_at),
    error: row.error,
    note: row.note,
    createdAt: dateOr1970(row.created_at),
    createdBy: row.created_by,
  }
}
