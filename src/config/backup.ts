import { join, resolve } from 'node:path'
import { Cron } from 'croner'
import { z } from 'zod'
import { LEAST_SHARE, PRESET_SHARE, SHARE_VARIABLE } from './backup-share.ts'
import { flag, integer, share } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** Backups that servers make. */
export interface BackupSettings extends Omit<Values, 'target'> {
  /** An absolute path, which means the same wherever a command is run; or an s3:// URL. */
  target: string
}

/** Five fields, of UTC: servers in different zones mean the same moments. */
const CRON_OPTIONS = { mode: '5-part', timezone: 'UTC' } as const

const cron = z.string().refine((text) => {
  try {
    return nextTime(text, new Date()) !== null
  } catch {
    return false
  }
}, 'must be a cron expression that comes true, such as 0 3 * * *')

/** An age public key, in bech32. */
const recipient = z.string().regex(/^age1[02-9ac-hj-np-z]+$/, 'must be a public key of age: age1…')

/** A few characters are guessed by trying. */
const passphrase = z.string().min(12, 'must have at least 12 characters')

export const BACKUP_TABLE = {
  enabled: setting('STORAGE_BACKUP_ENABLED', flag, {
    preset: 'true',
    help: 'backups and restores can be asked for by REST, and this server makes them',
  }),
  target: setting('STORAGE_BACKUP_TARGET', z.string(), {
    shown: '`backups/` of the data folder',
    help: 'where backups lie: a folder, better on another disk, or `s3://bucket/prefix`; the same for all servers of a database',
    example: '/mnt/backups',
  }),
  /** Null is for ever. */
  retentionDays: setting(
    'STORAGE_BACKUP_RETENTION_DAYS',
    integer(0, 36_500).transform((days) => (days === 0 ? null : days)),
    { preset: '30', help: 'after so many days a backup expires, unless another one builds on it; `0` never' },
  ),
  schedule: setting('STORAGE_BACKUP_SCHEDULE', cron, {
    help: 'when servers make one by themselves, as a cron expression of UTC: a full one each week, else what has changed; one of several servers does it',
    example: '0 3 * * *',
  }),
  log: setting('STORAGE_BACKUP_LOG', flag, {
    preset: 'false',
    help: 'archive the log of the built-in PostgreSQL too, so that any second can be restored',
  }),
  share: setting(
    SHARE_VARIABLE,
    share.refine((part) => part >= LEAST_SHARE, `must be a number from ${LEAST_SHARE} to 1`),
    {
      preset: String(PRESET_SHARE),
      help: 'how much of one processor a backup takes while others want them all; `1` gives way to nobody',
    },
  ),
  passphrase: setting('STORAGE_BACKUP_PASSPHRASE', passphrase, {
    help: 'encrypts backups; at least 12 characters',
  }),
  recipient: setting('STORAGE_BACKUP_RECIPIENT', recipient, {
    help: 'encrypts backups to a public key of [age](https://age-encryption.org), whose owner alone can restore them',
  }),
  identity: setting('STORAGE_BACKUP_IDENTITY', z.string().min(1, 'must be the path of a file'), {
    help: 'a file with the secret key of that, such as `age-keygen` makes; with it servers can read such backups: to make incremental ones, and to restore',
    example: '/etc/strongroom/backup.key',
  }),
}

type Values = ValuesOf<typeof BACKUP_TABLE>

/** What is wrong with settings that are each right by themselves. */
export function backupContradictions(values: Values, databaseUrl: string | undefined): string[] {
  const problems: string[] = []
  if (values.log && databaseUrl !== undefined) {
    problems.push(
      'STORAGE_BACKUP_LOG archives the log of the built-in PostgreSQL: there is none with DATABASE_URL',
    )
  }
  if (values.passphrase !== undefined && values.recipient !== undefined) {
    problems.push('STORAGE_BACKUP_PASSPHRASE and STORAGE_BACKUP_RECIPIENT: only one can be')
  }
  if (values.passphrase !== undefined && values.identity !== undefined) {
    problems.push('STORAGE_BACKUP_IDENTITY is of a recipient: it does not go with STORAGE_BACKUP_PASSPHRASE')
  }
  return problems
}

export function backupSettings(values: Values, dataDir: string): BackupSettings {
  const { target = join(dataDir, 'backups') } = values
  return { ...values, target: /^s3:/i.test(target) ? target : resolve(target) }
}

/** The first time of a cron expression after another one; null when there is none any more. */
export function nextTime(expression: string, after: Date): Date | null {
  return new Cron(expression, CRON_OPTIONS).nextRun(after)
}
