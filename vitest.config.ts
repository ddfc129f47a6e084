import { configDefaults, defineConfig } from 'vitest/config'
import { MAJORS } from './test/support/postgres-majors.ts'

const ON_S3 = 'test/**/*.s3.test.ts'

/** What rests on RLS and roles, once more on each PostgreSQL. */
const ON_EACH = [
  'test/database/bucket-policies.test.ts',
  'test/database/events.test.ts',
  'test/database/hot-reads.test.ts',
  'test/database/listing.test.ts',
  'test/database/plain-sql-rows.test.ts',
  'test/database/policies.test.ts',
  'test/database/policy-needs.test.ts',
  'test/database/privileges.test.ts',
  'test/database/request-settings.test.ts',
  'test/database/sql-changes.test.ts',
  'test/database/sql-contract.test.ts',
  'test/database/turns.test.ts',
  'test/events/visibility.test.ts',
  'test/workers/listed-versions.test.ts',
]

/** Who migrates and serves there (test/support/ways-setup.ts): one way each, or all on all. */
const WAYS = ['superuser', 'owner', 'grant']
const WAY_OF: Record<number, string> = { 15: 'grant', 17: 'owner', 18: 'superuser' }
const isFull = process.env.DATABASES === 'full'

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
      ...MAJORS.filter(({ isHere }) => isHere)
        .flatMap(({ major }) =>
          WAYS.filter((way) => isFull || way === WAY_OF[major]).map((way) => `postgres-${major}-${way}`),
        )
        .map((name) => ({
          test: {
            name,
            include: ON_EACH,
            globalSetup: 'test/support/ways-setup.ts',
            testTimeout: 30_000,
            hookTimeout: 60_000,
          },
        })),
    ],
  },
})
