import { randomUUID } from 'node:crypto'
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectRetentionCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  PutObjectLegalHoldCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { sumOf } from '../../support/exposition.ts'
import { dropPolicies } from '../../support/policies.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { scrape } from '../../support/scrape.ts'

/** Object lock (docs/s3.md, "Locks"), as far as no client's tests show it: test/clients/s3/boto3-locks.py walks through all of it. */

let server: S3TestServer
let bucket: string
beforeAll(async () => {
  server = await startS3Server()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { object_lock: true })
})
afterAll(() => server.close())

const inDays = (days: number) => new Date(Date.now() + days * 86_400_000)

async function refusal(sending: Promise<unknown>): Promise<[number | undefined, string]> {
  const error = await sending.then(
    () => ({ name: 'done', $metadata: { httpStatusCode: 200 } }),
    (thrown: { name: string; $metadata: { httpStatusCode?: number } }) => thrown,
  )
  return [error.$metadata.httpStatusCode, error.name]
}

const LOCK: Partial<PutObjectCommandInput> = { ObjectLockMode: 'COMPLIANCE', ObjectLockLegalHoldStatus: 'ON' }

/** Around what is kept in the database, what is read first, and what comes as a stream. */
const SIZES = [10, 100_000, 600_000]

describe('an upload that brings its lock', () => {
  it.each(SIZES)('of %i bytes is locked when it is there, however often', async (size) => {
    for (const _ of ['made', 'replaced']) {
      const sent = {
        Bucket: bucket,
        Key: 'a',
        Body: Buffer.alloc(size),
        ObjectLockRetainUntilDate: inDays(2),
        ...LOCK,
      }
      const { VersionId } = await server.s3.send(new PutObjectCommand(sent))
      const head = await server.s3.send(new HeadObjectCommand({ Bucket: bucket, Key: 'a' }))
      expect([head.ObjectLockMode, head.ObjectLockLegalHoldStatus, head.VersionId]).toEqual([
        'COMPLIANCE',
        'ON',
        VersionId,
      ])
      const removal = server.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'a', VersionId }))
      expect(await refusal(removal)).toEqual([403, 'AccessDenied'])
    }
  })

  it.each(SIZES)(
    'of %i bytes by who may not change what he has made is refused, and leaves nothing',
    async (size) => {
      await server.admin.unsafe(
        'create policy "may make" on storage.objects for insert to authenticated with check (true)',
      )
      try {
        const s3 = server.client(await server.session('maker'))
        const sent = { Bucket: bucket, Key: 'a', Body: Buffer.alloc(size), IfNoneMatch: '*' }
        const locked = { ...sent, ...LOCK, ObjectLockRetainUntilDate: inDays(2) }
        expect(await refusal(s3.send(new PutObjectCommand(locked)))).toEqual([403, 'AccessDenied'])
        expect(await server.admin`select from storage.objects where bucket_id = ${bucket}`).toEqual([])
        expect(await server.admin`select from storage.object_locks`).toHaveLength(await locksOfOthers())
        expect(await refusal(s3.send(new PutObjectCommand(sent)))).toEqual([200, 'done'])
      } finally {
        await dropPolicies(server.admin)
      }
    },
  )

  it.each([
    [{ ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate: inDays(1) }, 501, 'NotImplemented'],
    [{ ObjectLockMode: 'COMPLIANCE' }, 400, 'InvalidArgument'],
    [{ ObjectLockRetainUntilDate: inDays(1) }, 400, 'InvalidArgument'],
    [{ ObjectLockMode: 'COMPLIANCE', ObjectLockRetainUntilDate: inDays(-1) }, 400, 'InvalidArgument'],
    [{ ObjectLockLegalHoldStatus: 'MAYBE' }, 400, 'InvalidArgument'],
  ])('is refused with %j', async (lock, status, code) => {
    const sent = { Bucket: bucket, Key: 'a', Body: 'a', ...lock } as PutObjectCommandInput
    expect(await refusal(server.s3.send(new PutObjectCommand(sent)))).toEqual([status, code])
    expect(await server.admin`select from storage.objects where bucket_id = ${bucket}`).toEqual([])
  })

  it('is refused in a bucket that has no locks', async () => {
    await server.createBucket(`${bucket}-plain`)
    const sent = {
      Bucket: `${bucket}-plain`,
      Key: 'a',
      Body: 'a',
      ...LOCK,
      ObjectLockRetainUntilDate: inDays(1),
    }
    expect(await refusal(server.s3.send(new PutObjectCommand(sent)))).toEqual([400, 'InvalidArgument'])
  })
})

/** Locks of versions that are there. */
async function locksOfOthers(): Promise<number> {
  const rows = await server.admin`
    select from storage.object_locks l where exists (select from storage.objects o where o.version = l.version::text)
      or exists (select from storage.object_versions v where v.version = l.version::text)`
  return rows.length
}

describe('a lock', () => {
  it('is not lifted by a privilege', async () => {
    const { VersionId } = await server.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'a', Body: 'a' }))
    const at = { Bucket: bucket, Key: 'a', VersionId }
    const retention = { Mode: 'COMPLIANCE', RetainUntilDate: inDays(2) } as const
    await server.s3.send(new PutObjectRetentionCommand({ ...at, Retention: retention }))
    const shorter = {
      ...at,
      Retention: { ...retention, RetainUntilDate: inDays(1) },
      BypassGovernanceRetention: true,
    }
    expect(await refusal(server.s3.send(new PutObjectRetentionCommand(shorter)))).toEqual([
      403,
      'AccessDenied',
    ])
    const removal = new DeleteObjectCommand({ ...at, BypassGovernanceRetention: true })
    expect(await refusal(server.s3.send(removal))).toEqual([403, 'AccessDenied'])
    const { Retention } = await server.s3.send(new GetObjectRetentionCommand(at))
    expect(Retention).toEqual(retention)
  })

  it('refuses each version that it is on, and counts that', async () => {
    const put = (Body: string) => server.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'b', Body }))
    const [{ VersionId: held }, { VersionId: free }] = [await put('one'), await put('two')]
    const at = { Bucket: bucket, Key: 'b', VersionId: held }
    await server.s3.send(new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'ON' } }))
    const refusals = async () =>
      sumOf((await scrape(server)).families, 'storage_lock_refusals_total', { by: 'request' })
    const before = await refusals()
    const Objects = [held, free].map((VersionId) => ({ Key: 'b', VersionId }))
    const done = await server.s3.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }))
    expect(done.Deleted).toMatchObject([{ VersionId: free }])
    expect(done.Errors).toMatchObject([{ VersionId: held, Code: 'AccessDenied' }])
    expect(await refusal(server.s3.send(new DeleteObjectCommand(at)))).toEqual([403, 'AccessDenied'])
    expect((await refusals()) - before).toBe(2)
  })

  it.each([
    ['retention', '<Retention><Mode>COMPLIANCE</Mode></Retention>', 'InvalidArgument'],
    ['retention', '<Retention/>', 'InvalidArgument'],
    ['retention', '<Other/>', 'MalformedXML'],
    ['legal-hold', '<LegalHold><Status>on</Status></LegalHold>', 'InvalidArgument'],
  ])('is not said by %s: %s', async (parameter, body, code) => {
    await server.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'a', Body: 'a' }))
    const answer = await server.send('PUT', `/${bucket}/a?${parameter}`, { body })
    expect([answer.status, await answer.text()]).toEqual([
      400,
      expect.stringContaining(`<Code>${code}</Code>`),
    ])
  })

  it.each([
    '<ObjectLockConfiguration/>',
    '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/></ObjectLockConfiguration>',
    ...['<Days>0</Days>', '<Days>1</Days><Years>1</Years>', '<Years>101</Years>', ''].map(
      (days) =>
        '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>' +
        `<Mode>COMPLIANCE</Mode>${days}</DefaultRetention></Rule></ObjectLockConfiguration>`,
    ),
  ])('of a bucket is not %s', async (body) => {
    const answer = await server.send('PUT', `/${bucket}?object-lock`, { body })
    expect([answer.status, await answer.text()]).toEqual([
      400,
      expect.stringContaining('<Code>MalformedXML</Code>'),
    ])
  })
})
