import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { newSeed, Random } from './random.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'

const MiB = 1024 * 1024
const ROUNDS = isFull ? 40 : 2

/** Within so much time of a round's begin its server is killed: that is about as long as a round takes. */
const STRUCK_WITHIN_MS = 1200

const KEYS = { accessKeyId: 'strongroom-test', secretAccessKey: 'the-secret-of-the-service-role-in-tests' }

let servers: ServerProcesses
let s3: S3Client
beforeAll(async () => {
  servers = await ServerProcesses.open({
    STORAGE_S3_PROTOCOL_ACCESS_KEY_ID: KEYS.accessKeyId,
    STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET: KEYS.secretAccessKey,
    STORAGE_S3_PROTOCOL_PORT: '0',
    // What is under way must not be cleaned up, however eager the cleanup is.
    STORAGE_CLEANUP_INTERVAL: '200ms',
    STORAGE_CLEANUP_GRACE: '500ms',
  })
  await servers.start()
  const made = await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
  expect(made.status).toBe(201)
  s3 = new S3Client({
    endpoint: `${servers.url}/storage/v1/s3`,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: KEYS,
  })
})
afterAll(async () => {
  s3?.destroy()
  await servers?.remove()
})

/** Asks until the server says something. @returns undefined when it says that there is no such upload */
async function persist<T>(ask: () => Promise<T>): Promise<T | undefined> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      const status = error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? 500) : 500
      if (error instanceof S3ServiceException && error.name === 'NoSuchUpload') return undefined
      if (status < 500) throw error
      await delay(50)
    }
  }
}

/** Kills the server at some moment, and starts another. */
async function strike(afterMs: number): Promise<void> {
  const victim = servers.last
  await delay(afterMs)
  victim.signal('SIGKILL')
  await victim.ended
  await servers.start()
}

const seed = newSeed()
it(`loses no part and no object in ${ROUNDS} rounds of kill -9, and nothing is left of what was aborted (FAULTS_SEED=${seed})`, async () => {
  const random = new Random(seed)
  for (let round = 0; round < ROUNDS; round++) {
    const at = { Bucket: 'box', Key: `round-${round}` }
    const isAborted = random.below(4) === 0
    // A few become one file, and more stay several (decision 0051).
    const large = Array.from({ length: 1 + random.below(3) }, () => 5 * MiB + random.below(MiB))
    const bodies = [...large, 1 + random.below(100_000)].map((size) => randomBytes(size))
    const struck = strike(random.below(STRUCK_WITHIN_MS))
    const begun = await persist(() => s3.send(new CreateMultipartUploadCommand(at)))
    const place = { ...at, UploadId: begun?.UploadId }
    const Parts = await Promise.all(
      bodies.map(async (Body, i) => {
        const PartNumber = i + 1
        const sent = await persist(() => s3.send(new UploadPartCommand({ ...place, PartNumber, Body })))
        return { PartNumber, ETag: sent?.ETag }
      }),
    )
    if (isAborted) await persist(() => s3.send(new AbortMultipartUploadCommand(place)))
    else {
      const complete = new CompleteMultipartUploadCommand({ ...place, MultipartUpload: { Parts } })
      const made = await persist(() => s3.send(complete))
      expect(made?.ETag).toMatch(new RegExp(`-${bodies.length}"$`))
    }
    await struck
    const found = await persist(() =>
      s3.send(new GetObjectCommand(at)).then(
        async ({ Body }) => Buffer.from((await Body?.transformToByteArray()) ?? []),
        (error: unknown) => {
          if (error instanceof S3ServiceException && error.name === 'NoSuchKey') return null
          throw error
        },
      ),
    )
    expect(found?.equals(Buffer.concat(bodies)) ?? null).toBe(isAborted ? null : true)
  }

  // Creations whose answer was lost are uploads that nobody knows: they expire.
  await servers.database.admin`update storage.resumable_uploads set expires_at = now() where ended is null`
  const leftovers = async () => {
    const [rows] = await servers.database.admin`
      select (select count(*)::int from storage.uploads) as uploads,
        (select count(*)::int from storage.removals) as removals,
        (select count(*)::int from storage.s3_multipart_uploads) as multipart`
    const parts = join(servers.folder, 'storage-data', 'objects', 'parts')
    const entries = await readdir(parts, { recursive: true, withFileTypes: true }).catch(() => [])
    return { ...rows, files: entries.filter((entry) => entry.isFile()).length }
  }
  const none = { uploads: 0, removals: 0, multipart: 0, files: 0 }
  await until(async () => JSON.stringify(await leftovers()) === JSON.stringify(none), 'nothing is left over')
})
