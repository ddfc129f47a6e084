import { randomUUID } from 'node:crypto'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { describe, inject } from 'vitest'
import type { S3Access } from './radosgw.ts'

/**
 * Runs `suite` with the run's S3 server; skips it, by its name, where there is none. `concurrent` lets several of its tests
 * run at once: they share nothing.
 */
export const describeWithS3 = Object.assign(suiteWithS3(describe), {
  concurrent: suiteWithS3(describe.concurrent),
})

function suiteWithS3(define: typeof describe | typeof describe.concurrent) {
  return (name: string, suite: (s3: S3Access) => void): void => {
    const s3 = inject('s3')
    if (s3) define(name, () => suite(s3))
    else define.skip(`${name} (needs radosgw)`, () => suite(NOWHERE))
  }
}

const NOWHERE: S3Access = { endpoint: 'http://127.0.0.1:9', accessKey: '', secretKey: '', region: '' }

/** A client as a test itself uses it: without second attempts. */
export function s3Client({ endpoint, region, accessKey, secretKey }: S3Access): S3Client {
  return new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  })
}

/** Makes a bucket in the store that is nobody else's. Returns its name. */
export async function newStoreBucket(s3: S3Access): Promise<string> {
  const Bucket = `test-${randomUUID()}`
  const client = s3Client(s3)
  await client.send(new CreateBucketCommand({ Bucket }))
  client.destroy()
  return Bucket
}

/** What a server's environment needs, to keep its bytes in a new bucket of this store. */
export async function s3Env(s3: S3Access): Promise<Record<string, string>> {
  return {
    STORAGE_BACKEND: 's3',
    STORAGE_S3_ENDPOINT: s3.endpoint,
    STORAGE_S3_REGION: s3.region,
    STORAGE_S3_ACCESS_KEY: s3.accessKey,
    STORAGE_S3_SECRET_KEY: s3.secretKey,
    STORAGE_S3_BUCKET: await newStoreBucket(s3),
  }
}
