import { configDefaults, defineConfig } from 'vitest/config'

const ON_S3 = 'test/**/*.s3.test.ts'

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
    ],
  },
})
