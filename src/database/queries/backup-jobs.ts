import { type SQL, sql } from 'drizzle-orm'
import { StorageError } from '../../model/errors.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { fromPostgres, sqlState } from '../connection/postgres-error.ts'
import { dateOr1970, dateOrNull, textArray } from '../connection/row-values.ts'

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
    const [row] = await tx.execute<JobRow>(sql`
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
  const rows = await tx.execute<JobRow>(sql`
    select ${COLUMNS} from storage.backup_jobs
    where deleted_at is null and ${before === null ? sql`true` : sql`id < ${before}`}
      and ${kind === null ? sql`true` : sql`kind = ${kind}`}
    order by id desc limit ${limit}`)
  return rows.map(fromRow)
}

/** @param lock keeps it as it is until the end of the transaction */
export async function findJob(tx: Transaction, id: string, { lock = false } = {}): Promise<BackupJob | null> {
  const [row] = await tx.execute<JobRow>(sql`
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

/** Whether a row is of a job that needs the backup of that id. */
export function isLivingChildOf(id: SQL): SQL {
  return sql`parent = ${id} and deleted_at is null and (
    status in ('pending', 'running', 'restoring') or (kind = 'backup' and status = 'completed'))`
}

export const COLUMNS =
  sql.raw(`id, kind, type, status, target, parent, description, buckets, include_versions, include_trash, request,
  retention_days, progress, object_count, total_bytes, damaged, started_at, completed_at, expires_at, error, note,
  created_at, created_by`)

export interface JobRow extends Record<string, unknown> {
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

export function fromRow(row: JobRow): BackupJob {
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
