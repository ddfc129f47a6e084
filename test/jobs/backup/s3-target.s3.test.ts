import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import {
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { readConfig } from '../../../src/config/config.ts'
import { removeAbandoned } from '../../../src/jobs/backup/backups.ts'
import { openTarget } from '../../../src/jobs/backup/open-target.ts'
import { S3Target } from '../../../src/jobs/backup/s3-target.ts'
import type { BackupTarget } from '../../../src/jobs/backup/target.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { describeWithS3, newStoreBucket, s3Client } from '../../support/s3.ts'
import { openS3Proxy } from '../../support/s3-proxy.ts'
import { describeTarget, pathsOf, textOf } from './target-contract.ts'

describeWithS3('an s3:// target', (s3) => {
  let folder: string
  let bucket: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'strongroom-backup-s3-'))
    bucket = await newStoreBucket(s3)
  })
  afterAll(() => rm(folder, { recursive: true }))

  const configWith = (more: Record<string, string> = {}) =>
    readConfig({
      STORAGE_DATA_DIR: folder,
      STORAGE_S3_ENDPOINT: s3.endpoint,
      STORAGE_S3_REGION: s3.region,
      STORAGE_S3_ACCESS_KEY: s3.accessKey,
      STORAGE_S3_SECRET_KEY: s3.secretKey,
      ...more,
    })
  const open = (prefix: string, more?: Record<string, string>): Promise<BackupTarget> =>
    openTarget(`s3://${bucket}/${prefix}`, configWith(more), { forWriting: true })

  describeTarget(() => open('contract'))

  it('takes files of many parts, as often as they come', async () => {
    const target = await open('parts')
    const bytes = randomBytes(17_000_000)
    const body = () =>
      Readable.from([bytes.subarray(0, 9_000_000), bytes.subarray(9_000_000)], { objectMode: false })
    await target.write('id/large', body())
    await target.write('id/large', body())
    expect(bytes.equals(await buffer(await target.read('id/large')))).toBe(true)
    expect(await target.exists('id/large')).toBe(bytes.length)
    expect(await readdir(join(folder, 'spool'))).toEqual([])
    await target.close()
  })

  it('gets through to a store that cuts connections, loses answers and says that it is busy', async () => {
    const proxy = await openS3Proxy(s3)
    onTestFinished(() => proxy.close())
    const settings = { STORAGE_S3_ENDPOINT: proxy.endpoint, STORAGE_S3_PART_SIZE: '5.3MB' }
    const target = await open('faults', settings)
    const bytes = randomBytes(12_000_000)
    const faults = [
      proxy.fail(
        { at: 'before', what: 'cut' },
        { times: 1, when: ({ query }) => query.get('partNumber') === '2' },
      ),
      proxy.fail(
        { at: 'after', what: 'cut' },
        { times: 1, when: ({ query }) => query.has('uploadId') && !query.has('partNumber') },
      ),
      proxy.fail(
        { at: { responseBytes: 3_000_000 }, what: 'cut' },
        { times: 2, when: ({ method }) => method === 'GET' },
      ),
      proxy.fail(
        { at: 'after', what: { status: 503, code: 'SlowDown' } },
        { times: 1, when: ({ method, query }) => method === 'PUT' && query.size <= 1 },
      ),
      proxy.fail(
        { at: 'before', what: { status: 503, code: 'SlowDown' } },
        { times: 1, when: ({ method }) => method === 'DELETE' },
      ),
    ]
    await target.write('id/large', Readable.from([bytes], { objectMode: false }))
    await target.write('id/small', Buffer.from('few'))
    expect(bytes.equals(await buffer(await target.read('id/large')))).toBe(true)
    expect(await pathsOf(target, 'id/')).toEqual(['id/large', 'id/small'])
    await target.removeAll('id/')
    expect(await pathsOf(target, 'id/')).toEqual([])
    expect(faults.map(({ count }) => count)).toEqual([1, 1, 2, 1, 1])
    proxy.fail({ at: 'before', what: 'cut' })
    await expect(target.check()).rejects.toMatchObject({ fault: 'TargetUnavailable' })
    await target.close()
  })

  it('ends the uploads that killed backups have left, and no others', async () => {
    const target = await open('killed')
    const client = s3Client(s3)
    for (const key of ['killed/id/bytes/aa/x', 'killed/other/x', 'elsewhere/x']) {
      await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: key }))
    }
    await target.removeAll('id/')
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
    expect(Uploads.map(({ Key }) => Key).sort()).toEqual(['elsewhere/x', 'killed/other/x'])
    client.destroy()
    await target.close()
  })

  it('loses what a backup has left that was killed in its first file, which nobody sees in a list', async () => {
    const target = await open('first')
    const client = s3Client(s3)
    const [killed, underWay] = [uuidV7(), uuidV7()]
    for (const id of [killed, underWay]) {
      const Key = `first/${id}/database/base/1/1`
      await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }))
    }
    const fateOf = async (id: string) => (id === killed ? 'ended' : 'under way')
    expect(await removeAbandoned(target, fateOf)).toEqual([killed])
    const { Uploads = [] } = await client.send(
      new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: 'first/' }),
    )
    expect(Uploads.map(({ Key }) => Key)).toEqual([`first/${underWay}/database/base/1/1`])
    client.destroy()
    await target.close()
  })

  it('loses what one has left who was killed while he tried it', async () => {
    const target = await open('tried')
    const client = s3Client(s3)
    const Key = 'tried/check.new-0123456789abcdef'
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'check' }))
    client.destroy()
    await target.check()
    expect(await pathsOf(target, '')).toEqual(['strongroom-backups.json'])
    await target.close()
  })

  it('is listed and removed over more than a page', async () => {
    const name = `s3://${bucket}/pages`
    const settings = { ...configWith().s3Access, bucket, prefix: 'pages/' }
    const target = new S3Target({ name, settings, spoolDir: join(folder, 'spool'), keysPerPage: 10 })
    const paths = Array.from({ length: 25 }, (_, index) => `id/${index}`)
    await Promise.all(paths.map((path) => target.write(path, Buffer.from('x'))))
    expect(await pathsOf(target, 'id/')).toEqual(paths.toSorted())
    await target.removeAll('id/')
    expect(await pathsOf(target, '')).toEqual([])
    await target.close()
  })

  it('is opened again, and is none where others have files', async () => {
    const made = await open('again')
    await made.write('id/file', Buffer.from('x'))
    await made.close()
    const again = await openTarget(`s3://${bucket}/again/`, configWith())
    expect(await textOf(again, 'id/file')).toBe('x')
    await again.close()

    const client = s3Client(s3)
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'others/photo.jpg', Body: 'x' }))
    client.destroy()
    await expect(open('others')).rejects.toMatchObject({
      fault: 'UnusableTarget',
      message: expect.stringContaining(`s3://${bucket}/others has other files than backups in it`),
    })
  })

  it('is not where the objects are', async () => {
    const objects = { STORAGE_S3_BUCKET: bucket, STORAGE_S3_PREFIX: 'objects/' }
    for (const prefix of ['', 'objects', 'objects/tails', 'objects/00000000-0000-4000-8000-000000000000/x']) {
      await expect(open(prefix, objects)).rejects.toMatchObject({ fault: 'UnusableTarget' })
    }
    await (await open('beside-objects', objects)).close()
  })

  it('says by its name what is wrong with the store', async () => {
    await expect(openTarget('s3://no-such-bucket-here/x', configWith())).rejects.toMatchObject({
      fault: 'TargetUnavailable',
      message: 's3://no-such-bucket-here/x cannot be used: the store has no such bucket: make it first',
    })
    const stranger = configWith({ STORAGE_S3_SECRET_KEY: 'not-the-secret-of-this-key' })
    await expect(openTarget(`s3://${bucket}/x`, stranger)).rejects.toMatchObject({
      fault: 'TargetUnavailable',
    })
  })
})
