import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { LocalBackend } from '../../../../src/backend/local/local-backend.ts'
import { MemoryBackend } from '../../../../src/backend/memory-backend.ts'
import { objectsAfter } from '../../../../src/database/queries/objects-to-check.ts'
import { ObjectMove } from '../../../../src/jobs/object-move.ts'
import { Scrub } from '../../../../src/jobs/scrub.ts'
import { fileOf } from '../../../support/cleanup.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'

/** What is known of bytes whose whole nobody has hashed when they came (decision 0051). */

const PART = 5 * 1024 * 1024
const logger = pino({ level: 'silent' })
const signal = new AbortController().signal

let server: S3TestServer
let bucket: string
let backend: LocalBackend
beforeAll(async () => {
  server = await startS3Server({ STORAGE_VERIFY_READS: 'true' })
  backend = new LocalBackend({ root: server.dataDir, fsync: false })
})
afterAll(async () => {
  await backend.close()
  await server.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})

/** Several files on the disk: of three parts nothing is copied. */
async function upload(Key: string): Promise<Buffer> {
  const bytes = [randomBytes(PART), randomBytes(PART), randomBytes(PART)]
  const at = { Bucket: bucket, Key }
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(at))
  const Parts = []
  for (const [i, Body] of bytes.entries()) {
    const PartNumber = i + 1
    const { ETag } = await server.s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber, Body }))
    Parts.push({ PartNumber, ETag })
  }
  await server.s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }))
  return Buffer.concat(bytes)
}

/** Changes a byte of the second part. */
async function damage(name: string): Promise<void> {
  const folder = await fileOf(server, bucket, name)
  const part = (await readdir(folder)).find((file) => file.startsWith('2-')) ?? ''
  const bytes = await readFile(join(folder, part))
  bytes[1000] = (bytes[1000] ?? 0) ^ 1
  await writeFile(join(folder, part), bytes)
}

const scrub = () =>
  new Scrub({ database: server.database, backend, logger }).run({
    bucket,
    rate: Number.POSITIVE_INFINITY,
    signal,
  })
const rows = () => server.admin`
  select name, checksum, updated_at, quarantine_reason as reason from storage.objects
  where bucket_id = ${bucket} order by name`
const keptParts = async () =>
  (
    await server.admin`select from storage.version_parts v join storage.objects o on o.version = v.version::text
      where o.bucket_id = ${bucket}`
  ).length

it('is the hashes of its parts until the scrub has read the whole, of a copy as well', async () => {
  const bytes = await upload('a')
  await server.s3.send(new CopyObjectCommand({ Bucket: bucket, Key: 'b', CopySource: `${bucket}/a` }))
  const before = await rows()
  expect([before.map(({ checksum }) => checksum), await keptParts()]).toEqual([[null, null], 2])
  expect(await scrub()).toMatchObject({ checked: 2, corrupted: 0, isFinished: true })
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const after = await rows()
  expect([after.map(({ checksum }) => checksum), await keptParts()]).toEqual([[sha256, sha256], 0])
  expect(after.map(({ updated_at }) => updated_at)).toEqual(before.map(({ updated_at }) => updated_at))
})

it('finds damage by the scrub', async () => {
  await upload('a')
  await damage('a')
  expect(await scrub()).toMatchObject({ corrupted: 1 })
  expect(await rows()).toMatchObject([{ checksum: null, reason: 'corrupted' }])
})

it('finds damage when they are read', async () => {
  const bytes = await upload('a')
  const read = () => server.request('GET', `/object/${bucket}/a`).then((response) => response.arrayBuffer())
  expect(bytes.equals(Buffer.from(await read()))).toBe(true)
  await damage('a')
  await expect(read()).rejects.toThrow()
})

it('finds damage when they move to another backend, and moves what is whole', async () => {
  const bytes = await upload('a')
  const target = new MemoryBackend(4 * PART)
  const [object] = await objectsAfter(server.database, bucket, null, 1)
  if (!object) throw new Error('there is one')
  const move = () =>
    new ObjectMove({ database: server.database, source: backend, target, logger }).move(
      object,
      signal,
      () => {},
    )
  await damage('a')
  expect((await move()).outcome).toEqual({ why: 'its bytes are damaged' })
  expect(await target.exists(object.location)).toBe(false)
  await damage('a') // once more, and the byte is what it was
  expect((await move()).outcome).toBe('copied')
  expect(bytes.equals(Buffer.from(await target.readWhole(object.location, bytes.length)))).toBe(true)
})

it('goes with its version', async () => {
  await upload('a')
  await server.request('DELETE', `/object/${bucket}/a`)
  const parts = await server.admin`
    select from storage.version_parts v where not exists (select from storage.objects o where o.version = v.version::text)`
  expect(parts.length).toBe(0)
})
