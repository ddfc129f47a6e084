import { text } from 'node:stream/consumers'
import type { GiveSegment } from '../../database/embedded/asked-segments.ts'
import {
  historyOf,
  parseHistory,
  parsePosition,
  SEGMENT,
  timelineOf,
} from '../../database/embedded/log-segments.ts'
import type { RecoveryTarget } from '../../database/embedded/recovery.ts'
import { BackupError } from './backup-error.ts'
import { listBackups } from './backups.ts'
import { type BytesEntry, mergeByVersion, readBytesEntries } from './entries.ts'
import { type LogStatus, readLogStatus, readSegment, readVersions } from './log-folder.ts'
import type { Manifest } from './manifest.ts'
import { sortedByVersion } from './sorted-entries.ts'
import type { BackupTarget } from './target.ts'

/** From what the database of some second is made. */
export interface PointInTime {
  time: Date
  /** The newest backup from before. Its copy of the database is what the log goes on from. */
  backup: Manifest
  /** For `recoverCluster`. */
  target: RecoveryTarget
  segment: GiveSegment
  /**
   * Where the bytes are of all versions that may be named then: those of the backup, and of the log. Sorted by version.
   *
   * @param scratchDir where there is room for lists that are too long for memory
   */
  entries(scratchDir: string): AsyncIterable<BytesEntry>
}

/** Clocks of the servers that write to one target may be apart so far, in milliseconds. */
const CLOCKS_APART_MS = 3_600_000

/**
 * Finds what brings back the state of a second.
 *
 * @throws NoSuchBackup when the target has no log, or no backup from before; DamagedBackup, TargetUnavailable
 */
export async function findPointInTime(target: BackupTarget, time: Date): Promise<PointInTime> {
  const status = await readLogStatus(target)
  if (status === null) {
    throw new BackupError(
      'NoSuchBackup',
      `${target.name} has no log, without which only the moments of backups can be restored: STORAGE_BACKUP_LOG was not on`,
    )
  }
  const backup = await newestBefore(target, time, status)
  const { id, database } = backup
  const hasNoGap = parsePosition(status.since) <= parsePosition(database.start_lsn ?? '0/0')
  const isComplete = hasNoGap && status.until !== null && time.getTime() <= Date.parse(status.until)
  const copied = copiedSegments(target, id)
  return {
    time,
    backup,
    target: { time, isComplete },
    segment: async (name) => (await readSegment(target, name)) ?? copied(name),
    entries: (scratchDir) => entriesOf(target, backup, scratchDir),
  }
}

/** The log that a backup has itself. @param id of the backup */
export function copiedSegments(target: BackupTarget, id: string): GiveSegment {
  return async (name) => {
    const path = `${id}/wal/${name}`
    return (await target.exists(path)) === null ? null : target.read(path)
  }
}

async function newestBefore(target: BackupTarget, time: Date, log: LogStatus): Promise<Manifest> {
  const forks = await readForks(target, log.timeline)
  let oldest: string | undefined
  for await (const backup of listBackups(target)) {
    const { database, moment } = backup
    if (database.restore_point === undefined || database.system_identifier !== log.system_identifier) continue
    if (forks && !(await isBehind(target, backup, log.timeline, forks))) continue
    if (Date.parse(moment) <= time.getTime()) return backup
    oldest = moment
  }
  const reach = oldest === undefined ? 'there is none with a database' : `the oldest is of ${oldest}`
  throw new BackupError(
    'NoSuchBackup',
    `${target.name} has no backup from before ${time.toISOString()} that the log could go on from: ${reach}`,
  )
}

/** Up to where the timelines before one belong to its history, by their numbers; null while the log has nothing of it. */
async function readForks(target: BackupTarget, timeline: number): Promise<Map<number, bigint> | null> {
  const history = await readSegment(target, historyOf(timeline))
  return history && parseHistory(await text(history))
}

/** Whether the log goes on from a backup, and it is none of what a restore, or a rollback, has left behind. */
async function isBehind(
  target: BackupTarget,
  { id, database }: Manifest,
  timeline: number,
  forks: Map<number, bigint>,
): Promise<boolean> {
  for await (const { path } of target.list(`${id}/wal/`)) {
    const name = path.slice(path.lastIndexOf('/') + 1)
    if (!SEGMENT.test(name)) continue
    const own = timelineOf(name)
    const fork = forks.get(own)
    return own === timeline || (fork !== undefined && parsePosition(database.end_lsn ?? '0/0') <= fork)
  }
  return true
}

async function* entriesOf(
  target: BackupTarget,
  backup: Manifest,
  scratchDir: string,
): AsyncGenerator<BytesEntry> {
  const after = new Date(Date.parse(backup.created_at) - CLOCKS_APART_MS)
  const logged = sortedByVersion(readVersions(target, after), scratchDir)
  for await (const { a, b } of mergeByVersion(readBytesEntries(target, backup.id), logged)) {
    const entry = a ?? b
    if (entry) yield entry
  }
}
