import { duration, integer } from './fields.ts'
import { setting } from './setting.ts'

const DAY_MS = 86_400_000

/** For how long what is overwritten or deleted stays, where nobody says otherwise (docs/versions.md). */
export const VERSIONS_TABLE = {
  /** The current one included. */
  maxVersions: setting('STORAGE_MAX_VERSIONS', integer(1, 1000), {
    preset: '10',
    help: 'how many [versions](versions.md) a name has in a bucket whose versions are switched on without a number of its own',
  }),
  retentionDays: setting('STORAGE_VERSION_RETENTION_DAYS', integer(1, 36_500), {
    preset: '90',
    help: 'the same of the days after which a version goes that was replaced or deleted',
  }),
  trashDays: setting(
    'STORAGE_TRASH_RETENTION',
    duration
      .refine((ms) => ms > 0 && ms % DAY_MS === 0 && ms <= 36_500 * DAY_MS, 'must be whole days, such as 30d')
      .transform((ms) => ms / DAY_MS),
    {
      preset: '30d',
      help: 'how long what is deleted with `permanent=false` stays in the [trash](versions.md#trash), in a bucket that has none of its own',
    },
  ),
}
