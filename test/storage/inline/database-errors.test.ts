import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MemoryBackend } from '../../../src/backend/memory-backend.ts'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { Scrub } from '../../../src/jobs/scrub.ts'
import { InlineBackend } from '../../../src/storage/inline/inline-backend.ts'
import { cleanUp, repairsOf } from '../../support/cleanup.ts'
import { type Mishap, openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'

/** What a database may say instead of bytes: none of it is about them. */
const MISHAPS: [what: string, mishap: Mishap][] = [
  ['is gone before it was asked', { kind: 'before' }],
  ['is gone before it answers', { kind: 'after' }],
  ['is shut down', { kind: 'error', sqlState: '57P01' }],
  ['takes too long', { kind: 'error', sqlState: '57014' }],
  ['has no memory', { kind: 'error', sqlState: '53200' }],
  ['has a full disk', { kind: 'error', sqlState: '53100' }],
  ['is locked', { kind: 'error', sqlState: '55P03' }],
  ['has a conflict', { kind: 'error', sqlState: '40001' }],
  ['has an error of its own', { kind: 'error', sqlState: 'XX000' }],
]

let proxy: PostgresProxy
let server: TestServer
/** The server's own, by which jobs lose it, too. */
let database: Database
let bucket: string
beforeAll(async () => {
  proxy = await openPostgresProxy()
  let url = ''
  server = await startTestServer(
    { STORAGE_VERIFY_READS: 'true', STORAGE_CACHE_SIZE: '0' },
    { databaseUrl: (name) => (url = proxy.url(name)) },
  )
  database = openDatabase(url, { connections: 2 })
})
afterAll(async () => {
  proxy.decide = undefined
  await database.close()
  await server.close()
  await proxy.close()
})
beforeEach(async () => {
  proxy.decide = undefined
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await server.request('PUT', `/object/${bucket}/a`, { body: 'healthy' })
})

const scrub = () => {
  const backend = new InlineBackend(new MemoryBackend(1), database)
  const job = new Scrub({ database, backend, logger: pino({ level: 'silent' }) })
  return job.run({ bucket, rate: Number.POSITIVE_INFINITY, signal: new AbortController().signal })
}
const statusOf = async (headers: Record<string, string> = {}) => {
  const response = await server.request('GET', `/object/${bucket}/a`, { headers })
  return response.arrayBuffer().then(() => response.status)
}
const copy = () =>
  server.request('POST', '/object/copy', {
    body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' },
  })

/** Has mishaps whenever the database is asked so. Returns how many. */
async function failing(asked: RegExp, mishap: Mishap, work: () => Promise<void>): Promise<number> {
  let struck = 0
  proxy.decide = (about) => {
    if (!asked.test(about)) return undefined
    struck++
    return mishap
  }
  await work().finally(() => {
    proxy.decide = undefined
  })
  return struck
}

async function expectHealthy(): Promise<void> {
  const marks =
    await server.admin`select quarantine_reason as reason from storage.objects where bucket_id = ${bucket}`
  expect(marks).toEqual([{ reason: null }])
  expect(await statusOf()).toBe(200)
  await expectNoDrift(server)
}

describe.each(MISHAPS)('a database that %s, asked for the bytes of an object,', (_what, mishap) => {
  it('has said nothing of them to the scrub, which goes on another time', async () => {
    const work = () => expect(scrub()).rejects.toThrow()
    expect(await failing(/read_inline_bytes/, mishap, work)).toBeGreaterThan(0)
    await expectHealthy()
    expect(await scrub()).toMatchObject({ checked: 1, corrupted: 0, missing: 0, isFinished: true })
  })

  it.each([/list_inline_bytes/, /has_inline_bytes/])(
    'has said nothing of them to the cleanup (%s)',
    async (asked) => {
      const work = () => expect(cleanUp({ ...server, database })).rejects.toThrow()
      expect(await failing(asked, mishap, work)).toBeGreaterThan(0)
      await expectHealthy()
      expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({})
    },
  )

  it('makes a read and a copy fail, and no more', async () => {
    const work = async () => {
      expect(await statusOf()).toBeGreaterThanOrEqual(400)
      expect(await statusOf({ range: 'bytes=1-2' })).toBeGreaterThanOrEqual(400)
      expect((await copy()).ok).toBe(false)
    }
    expect(await failing(/inline|read_row/, mishap, work)).toBeGreaterThan(2)
    await expectHealthy()
  })
})

it('bytes that have come with their row are not asked for again, however many', async () => {
  const bytes = 'x'.repeat(300_000)
  const [row] = await server.admin`
    update storage.objects set metadata = metadata || '{"size": 300000}',
      checksum = encode(sha256(${Buffer.from(bytes)}), 'hex')
    where bucket_id = ${bucket} returning version`
  await server.admin`update storage.inline_bytes set bytes = ${Buffer.from(bytes)} where version = ${row?.version}`
  proxy.arm(0)
  const whole = await server.request('GET', `/object/${bucket}/a`)
  expect(await whole.text()).toBe(bytes)
  const part = await server.request('GET', `/object/${bucket}/a`, { headers: { range: 'bytes=299999-' } })
  expect([part.status, await part.text()]).toEqual([206, 'x'])
  expect(proxy.roundTrips.filter((about) => /read_inline_bytes/.test(about))).toEqual([])
})

it('bytes that the database itself calls damaged are so, and the scrub goes on behind them', async () => {
  await server.request('PUT', `/object/${bucket}/b`, { body: 'healthy too' })
  let struck = 0
  proxy.decide = (about) =>
    /read_inline_bytes/.test(about) && ++struck === 1 ? { kind: 'error', sqlState: 'XX001' } : undefined
  expect(await scrub()).toMatchObject({ checked: 2, corrupted: 1, missing: 0 })
  proxy.decide = undefined
  expect(await scrub()).toMatchObject({ checked: 2, corrupted: 0, missing: 0 })
})
