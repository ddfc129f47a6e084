import { sql } from 'drizzle-orm'
import type { Database } from '../connection/client.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import type { BackupCounts, BackupJob, BackupStatus } from './backup-jobs.ts'
import { ask } from './drift.ts'

/** Notes that a backup was tried out. @param error null when all that it restored was right */
export async function noteDrill(
  database: Database,
  drill: { id: string; backup: string; target: string; startedAt: Date; error: string | null } & BackupCounts,
): Promise<void> {
  const { id, backup, target, startedAt, error, objectCount, totalBytes, damaged } = drill
  const status: BackupStatus = error === null ? 'completed' : 'failed'
  await ask(
    database,
    sql`insert into storage.backup_jobs (
        id, kind, status, target, parent, progress, object_count, total_bytes, damaged, started_at, completed_at, error,
        created_by
      ) values (
        ${id}, 'drill', ${status}, ${target}, ${backup}, 1, ${objectCount}, ${totalBytes}, ${damaged},
        ${startedAt.toISOString()}, now(), ${error}, 'command'
      )`,
  )
}

/** How a backup or a drill went, the last that has come to its end without failing. */
export interface LastSuccess {
  completedAt: Date
  durationSeconds: number
  objectCount: number
  totalBytes: number
}

/**
 * The last backup of all buckets that was completed, whether it is there still or has expired, and the last drill in which all
 * was right; null where there has been none. A look at one small table, for whoever watches how old they are.
 *
 * @throws DatabaseUnavailable
 */
export async function lastBackups(
  database: Pick<Database, 'transaction'>,
): Promise<{ backup: LastSuccess | null; drill: LastSuccess | null }> {
  const rows = await ask<{
    kind: BackupJob['kind']
    object_count: string
    total_bytes: string
    at: string
    seconds: number
  }>(
    database,
    sql`select distinct on (kind) kind, completed_at as at, object_count, total_bytes,
        extract(epoch from completed_at - started_at)::float8 as seconds
      from storage.backup_jobs
      where kind in ('backup', 'drill') and status in ('completed', 'expired') and buckets is null
      order by kind, completed_at desc`,
  )
  const last = (kind: BackupJob['kind']): LastSuccess | null => {
    const row = rows.find((one) => one.kind === kind)
    if (row === undefined) return null
    return {
      completedAt: dateOr1970(row.at),
      durationSeconds: row.seconds,
      objectCount: Number(row.object_count),
      totalBytes: Number(row.total_bytes),
    }
  }
  return { backup: last('backup'), drill: last('drill') }
}
