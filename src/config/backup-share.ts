/*
 * Apart from the other settings of backups: a process that makes one heeds it before it loads what reads settings, as to load
 * that is as much work as a small backup.
 */

export const SHARE_VARIABLE = 'STORAGE_BACKUP_SHARE'

export const PRESET_SHARE = 0.1

/** With less a backup beside a busy server would hardly ever end. */
export const LEAST_SHARE = 0.05

/** Of one processor, while others want them all. Of a text that is no share, whoever reads the settings tells. */
export function shareIn(env: Record<string, string | undefined>): number {
  const share = Number(env[SHARE_VARIABLE])
  return share >= LEAST_SHARE && share <= 1 ? share : PRESET_SHARE
}
