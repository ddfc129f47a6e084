import type { TestProject } from 'vitest/node'
import { missingPackages, type S3Access, startRadosgw } from './radosgw.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The S3 server of this test run, for the tests that need one. Null where it cannot be started. */
    s3: S3Access | null
  }
}

/** One S3 server for all tests that need one; it is not started for others. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (missingPackages.length > 0) {
    console.warn(`Tests with an S3 store are skipped. They need Debian's ${missingPackages.join(', ')}.`)
    project.provide('s3', null)
    return async () => {}
  }
  const { endpoint, accessKey, secretKey, region, stop } = await startRadosgw()
  project.provide('s3', { endpoint, accessKey, secretKey, region })
  return stop
}
