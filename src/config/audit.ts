import { z } from 'zod'
import { integer } from './fields.ts'
import { setting } from './setting.ts'

const LEVELS = ['off', 'writes', 'all'] as const

/** The audit log (docs/audit.md). */
export const AUDIT_TABLE = {
  level: setting('STORAGE_AUDIT', z.enum(LEVELS, 'must be off, writes or all'), {
    preset: 'writes',
    help: 'what the [audit log](audit.md) has: `writes`, with those that were refused; `all`: every download and issued URL, too; `off`',
  }),
  /** Null is for ever. */
  retentionDays: setting(
    'STORAGE_AUDIT_RETENTION_DAYS',
    integer(0, 36_500).transform((days) => (days === 0 ? null : days)),
    { preset: '365', help: 'months of the audit log that ended so many days ago are dropped; `0` never' },
  ),
}
