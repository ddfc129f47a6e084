import { randomUUID } from 'node:crypto'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { openBackend } from '../../../src/backend/open.ts'
import { AutoDelete } from '../../../src/jobs/auto-delete.ts'
import { VersionRetention } from '../../../src/jobs/version-retention.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import { refusal } from '../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { expectNoDrift } from '../../support/traces.ts'

describeWithS3('the trash above an S3 store', (s3) => {
  let server: S3TestServer
  let bucket: string
  beforeAll(async () => {
    server = await startS3Server({ ...(await s3Env(s3)), STORAGE_INLINE_SIZE: '100' })
  })
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket, { trash_days: 7 })
  })
  afterAll(async () => {
    await expectNoDrift(server)
    await server.close()
  })

  type Init = Parameters<S3TestServer['request']>[2]

  async function json(method: string, path: string, init?: Init): Promise<Record<string, unknown>> {
    const answer = await server.request(method, `/storage/v1${path}`, init)
    const text = await answer.text()
    expect(answer.ok, `${method} ${path}: ${text}`).toBe(true)
    return text === '' ? {} : JSON.parse(text)
  }

  const trash = async () => {
    const { items } = (await json('GET', `/trash?bucket=${bucket}`)) as {
      items: { id: string; path: string }[]
    }
    return items
  }
  const paths = async () => (await trash()).map(({ path }) => path)
  const restore = (path: string, more: object = {}) =>
    json('POST', '/trash/restore', { body: { bucket, path, ...more } })

  const put = (Key: string, Body: Buffer) =>
    server.s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body }))
  const statusOf = async (name: string) =>
    (await server.request('GET', `/storage/v1/object/${bucket}/${name}`)).status

  async function expectBytes(name: string, bytes: Buffer): Promise<void> {
    const whole = await server.s3.send(new GetObjectCommand({ Bucket: bucket, Key: name }))
    expect(bytes.equals(Buffer.from((await whole.Body?.transformToByteArray()) ?? []))).toBe(true)
    const part = await server.request('GET', `/storage/v1/object/${bucket}/${name}`, {
      headers: { range: 'bytes=-3' },
    })
    expect(bytes.subarray(-3).equals(Buffer.from(await part.arrayBuffer()))).toBe(true)
  }

  /** Of versions in the store itself, besides what is in the database. */
  async function inStore(): Promise<number> {
    const [row] = await server.admin`select uid from storage.buckets where id = ${bucket}`
    return (await server.storedFiles()).filter((path) => path.startsWith(`${row?.uid}/`)).length
  }

  /** In the database, an object of the store, and one in parts. */
  const SIZES = [50, 20_000, 6_000_000]

  async function upload(name: string, size: number): Promise<Buffer> {
    const bytes = seededBytes(`${bucket}/${name}`, size)
    const half = 5_300_000
    if (size < half) {
      await put(name, bytes)
      return bytes
    }
    const place = { Bucket: bucket, Key: name }
    const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(place))
    const Parts = []
    for (const [i, Body] of [bytes.subarray(0, half), bytes.subarray(half)].entries()) {
      const PartNumber = i + 1
      const { ETag } = await server.s3.send(new UploadPartCommand({ ...place, UploadId, PartNumber, Body }))
      Parts.push({ PartNumber, ETag })
    }
    await server.s3.send(
      new CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload: { Parts } }),
    )
    return bytes
  }

  const WAYS: [how: string, remove: (names: string[]) => Promise<unknown>][] = [
    ['REST', (names) => Promise.all(names.map((name) => json('DELETE', `/object/${bucket}/${name}`)))],
    ['a bulk deletion', (prefixes) => json('DELETE', `/object/${bucket}`, { body: { prefixes } })],
    [
      'S3',
      (names) =>
        Promise.all(names.map((Key) => server.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key })))),
    ],
    [
      'S3’s DeleteObjects',
      (names) => {
        const Objects = names.map((Key) => ({ Key }))
        return server.s3.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }))
      },
    ],
  ]

  it.each(WAYS)('has what is deleted by %s, and gives it back with its bytes', async (_, remove) => {
    const names = SIZES.map((size) => `of-${size}`)
    const bytes = new Map<string, Buffer>()
    for (const size of SIZES) bytes.set(`of-${size}`, await upload(`of-${size}`, size))
    await remove(names)
    expect(await paths()).toEqual([...names].sort())
    for (const name of names) {
      expect(await statusOf(name)).toBe(404)
      const get = server.s3.send(new GetObjectCommand({ Bucket: bucket, Key: name }))
      expect(await refusal(get)).toEqual([404, 'NoSuchKey'])
    }
    for (const name of names) {
      await restore(name)
      await expectBytes(name, bytes.get(name) as Buffer)
    }
    // Out of the way of what has the name by now, under another one.
    await remove(names)
    await put('of-20000', Buffer.from('another'))
    await restore('of-20000', { to: 'back' })
    await expectBytes('of-20000', Buffer.from('another'))
    await expectBytes('back', bytes.get('of-20000') as Buffer)
  })

  it('has no bytes in the store any more of what is gone for good', async () => {
    const all = ['purged', 'emptied', 'old', 'overwritten', 'stays']
    for (const name of all) await upload(name, 20_000)
    await upload('parts', 6_000_000)
    for (const name of [...all.slice(0, 4), 'parts']) await json('DELETE', `/object/${bucket}/${name}`)
    const before = await inStore()
    const goes = async (by: () => Promise<unknown>, versions: number) => {
      const had = await inStore()
      await by()
      expect(had - (await inStore())).toBe(versions)
    }
    expect(before).toBeGreaterThanOrEqual(6)

    const id = async (name: string) => (await trash()).find(({ path }) => path === name)?.id
    await goes(async () => json('DELETE', `/trash/${await id('purged')}`), 1)
    await goes(async () => json('DELETE', `/trash/${await id('parts')}`), 1)
    await server.admin`
      update storage.object_versions set purge_at = now() where bucket_id = ${bucket} and name = 'old'`
    await goes(retire, 1)
    // What gives way to what comes back is gone, too.
    await put('overwritten', seededBytes('another', 20_000))
    await goes(() => restore('overwritten', { overwrite: true }), 1)
    await goes(() => json('POST', '/trash/empty', { body: { bucket } }), 1)
    expect(await paths()).toEqual([])
    await goes(() => json('DELETE', `/object/${bucket}/stays?permanent=true`), 1)
    await expectBytes('overwritten', seededBytes(`${bucket}/overwritten`, 20_000))
  })

  it('has what was deleted since its days were over, and gives that back for good', async () => {
    const bytes = seededBytes('soon', 20_000)
    await json('PUT', `/object/${bucket}/soon`, {
      body: bytes as unknown as string,
      headers: { 'x-strongroom-auto-delete-after-days': '1' },
    })
    await server.admin.begin(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx`update storage.objects set auto_delete_at = now() where bucket_id = ${bucket}`
    })
    const autoDelete = await withBackend((parts) => new AutoDelete(parts))
    expect([autoDelete.deleted, await statusOf('soon'), await paths()]).toEqual([1, 404, ['soon']])
    await restore('soon')
    await expectBytes('soon', bytes)
    await withBackend((parts) => new AutoDelete(parts))
    expect(await statusOf('soon')).toBe(200)
  })

  const retire = () => withBackend((parts) => new VersionRetention(parts))

  /** One round of a job above the same store. */
  async function withBackend<Job extends { round(signal: AbortSignal): Promise<number> }>(
    make: (parts: ConstructorParameters<typeof AutoDelete>[0]) => Job,
  ): Promise<Job> {
    const backend = await openBackend('s3', server.config)
    const job = make({ database: server.database, backend, logger: pino({ level: 'silent' }) })
    await job.round(new AbortController().signal).finally(() => backend.close())
    return job
  }
})
