import { buffer } from 'node:stream/consumers'
import {
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import type { S3Settings } from '../../config/s3.ts'
import type { CheckResult } from '../../model/check-result.ts'
import { StorageError } from '../../model/errors.ts'
import { newCheckName } from '../check-name.ts'
import { ObjectKeys } from './object-keys.ts'
import { Store } from './store.ts'
import { credentialsSource, refusal, storeCode, storeWords } from './store-errors.ts'
import { abortUpload, createUpload } from './writing/multipart-upload.ts'

/** Somebody waits for the answer, so one that takes longer is none. In milliseconds. */
const PATIENCE_MS = 10_000

/**
 * Whether the store does all that a server asks of it. Each request is tried once. Leaves nothing in the bucket; if it is
 * killed, the cleanup finds it (`S3Backend.unfinished`).
 */
export async function* checkStore(settings: S3Settings): AsyncGenerator<CheckResult> {
  const store = new Store({
    ...settings,
    attempts: 1,
    timeoutMs: Math.min(settings.timeoutMs, PATIENCE_MS),
    connectTimeoutMs: Math.min(settings.connectTimeoutMs, PATIENCE_MS),
  })
  try {
    let isReached = false
    for (const step of steps(store)) {
      const problem = await step.run().then(() => undefined, inWords(step.right, settings))
      if (!isReached && problem?.isDenial === false) {
        yield { about: 'store', state: 'failed', says: problem.says }
        return
      }
      if (!isReached) yield { about: 'store', state: 'ok', says: `reached: ${description(settings)}` }
      isReached = true
      const about = `store: ${step.name}`
      if (!problem) yield { about, state: 'ok', says: `allowed (${step.right})` }
      else yield { about, state: 'failed', says: problem.says }
      if (problem && step.isNeededByNext) return
    }
  } finally {
    store.close()
  }
}

interface Step {
  name: string
  /** As the policies of S3 call it. */
  right: string
  isNeededByNext?: boolean
  run(): Promise<unknown>
}

/** Each answer but the last has a body, in which the store can say what is wrong. */
function steps(store: Store): Step[] {
  const { bucket: Bucket, settings } = store
  const { prefix: Prefix } = settings
  const Body = newCheckName()
  const Key = new ObjectKeys(Prefix).ofCheck(Body)
  return [
    { name: 'list', right: 's3:ListBucket', run: () => list(store, Prefix) },
    {
      name: 'uploads',
      right: 's3:ListBucketMultipartUploads',
      run: () => store.send(new ListMultipartUploadsCommand({ Bucket, Prefix, MaxUploads: 1 })),
    },
    {
      name: 'write',
      right: 's3:PutObject',
      isNeededByNext: true,
      run: () => store.send(new PutObjectCommand({ Bucket, Key, Body })),
    },
    {
      name: 'parts',
      right: 's3:ListMultipartUploadParts, s3:AbortMultipartUpload',
      run: () => listParts(store, Key),
    },
    {
      name: 'read',
      right: 's3:GetObject',
      run: async () => {
        const { body } = await store.download(Key)
        if ((await buffer(body)).toString() === Body) return
        throw refusal(
          'The store gave something else back than was written: is STORAGE_S3_ENDPOINT an S3 store?',
        )
      },
    },
    {
      name: 'delete',
      right: 's3:DeleteObject',
      run: () => store.send(new DeleteObjectCommand({ Bucket, Key })),
    },
  ]
}

async function list(store: Store, Prefix: string): Promise<void> {
  try {
    await store.send(new ListObjectsV2Command({ Bucket: store.bucket, Prefix, MaxKeys: 1 }))
  } catch (error) {
    if (storeCode(error) !== 'NoSuchKey') throw error
    throw refusal('The store takes the bucket for an object: is the bucket in STORAGE_S3_ENDPOINT too?')
  }
}

/** Of an upload that is begun and given up for that: one that is not there may be told from a right that is not. */
async function listParts(store: Store, Key: string): Promise<void> {
  const { bucket: Bucket } = store
  const UploadId = await createUpload(store, Key)
  try {
    await store.send(new ListPartsCommand({ Bucket, Key, UploadId, MaxParts: 1 }))
  } finally {
    await abortUpload(store, Key, UploadId)
  }
}

/** @returns what makes a problem of an error of a step */
function inWords(right: string, settings: S3Settings): (error: unknown) => Problem {
  return (error) => {
    if (!(error instanceof StorageError)) throw error
    if (storeCode(error) !== 'AccessDenied') {
      return { says: error.reason, isDenial: false }
    }
    const who = `the credentials from ${credentialsSource(settings)}`
    const where = `in the bucket "${settings.bucket}" (STORAGE_S3_BUCKET)`
    return { says: `Denied: ${who} need the right ${right} ${where}${storeWords(error)}`, isDenial: true }
  }
}

interface Problem {
  says: string
  isDenial: boolean
}

function description(settings: S3Settings): string {
  const { bucket, region, endpoint = 'Amazon S3', prefix } = settings
  const under = prefix === '' ? '' : `, keys under ${prefix}`
  return `bucket "${bucket}" at ${endpoint}, region ${region}${under}, credentials from ${credentialsSource(settings)}`
}
