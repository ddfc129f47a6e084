import type { Database } from '../../database/connection/client.ts'
import { findWork } from '../../database/queries/backup-work.ts'
import { BACKUP_TURN } from '../turns.ts'

/** How long a command waits for a server that has the turn, and may be looking only. In milliseconds. */
const WAIT_MS = 10_000

export interface BackupTurnWaiting {
  signal: AbortSignal
  /** For the turn, in milliseconds: then it is asked whether a backup or a restore has it. */
  waitMs?: number
}

/**
 * Does `work` in the turn of backups, for a command. A backup or a restore that is under way is not waited for; a server that
 * removes what nobody wants any more is, as long as that takes.
 *
 * @returns null when a backup or a restore is under way
 * @throws DatabaseUnavailable, the signal's reason
 */
export async function inBackupTurn<T>(
  database: Database,
  work: (lost: AbortSignal) => Promise<T>,
  { signal, waitMs = WAIT_MS }: BackupTurnWaiting,
): Promise<T | null> {
  for (;;) {
    const done = await database.exclusively(BACKUP_TURN, work, { limitMs: waitMs, signal })
    if (done !== null) return done
    const { isPending, isUnderWay } = await findWork(database)
    if (isPending || isUnderWay) return null
  }
}
