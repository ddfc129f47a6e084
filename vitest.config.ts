import { configDefaults, defineConfig } from 'vitest/config'
import { hasDebianPostgres } from './test/support/debian-postgres.ts'

const ON_S3 = 'test/**/*.s3.test.ts'

/** What rests on RLS and roles, once more where no superuser has made them. */
const BY_AN_OWNER = [
  'test/database/bucket-policies.test.ts',
  'test/database/queries/events.test.ts',
  'test/database/connection/pipelined-reads.test.ts',
  'test/database/queries/listing.test.ts',
  'test/database/plain-sql-rows.test.ts',
  'test/database/policies.test.ts',
  'test/database/policy-needs.test.ts',
  'test/database/privileges.test.ts',
  'test/database/request-settings.test.ts',
  'test/database/sql-changes.test.ts',
  'test/database/sql-contract.test.ts',
  'test/database/connection/turns.test.ts',
  'test/events/subscribers/visibility.test.ts',
  'test/jobs/cleanup/listed-versions.test.ts',
]

export default defineConfig({
  test: {
    globalSetup: 'test/support/global-setup.ts',
    // Two cores, and one file more for the time that others wait for something.
    maxWorkers: 3,
    projects: [
      {
        test: {
          name: 'local',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ON_S3],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 's3',
          // The clients' tests once more, against a server with an S3 store.
          include: [ON_S3, 'test/clients/*.test.ts'],
          globalSetup: 'test/support/s3-setup.ts',
          // From 2027 on the SDK's new versions refuse Node 20, and today's say so.
          env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      ...['owner-15', 'owner-18']
        .filter((name) => name !== 'owner-15' || hasDebianPostgres)
        .map((name) => ({
          test: {
            name,
            include: BY_AN_OWNER,
            globalSetup: 'test/support/owner-setup.ts',
            testTimeout: 30_000,
            hookTimeout: 60_000,
          },
        })),
    ],
  },
})
