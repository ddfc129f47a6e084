import { randomBytes, randomUUID } from 'node:crypto'
import { readFile, rm, truncate, writeFile } from 'node:fs/promises'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import type { ScrubState } from '../../src/database/queries/scrubs.ts'
import { Scrub, type ScrubRequest } from '../../src/jobs/scrub.ts'
import { StorageError } from '../../src/model/errors.ts'
import { fileOf } from '../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})

const NEVER = new AbortController().signal

function newScrub(backend: Backend = newBackend()): Scrub {
  return new Scrub({ database: server.database, backend, logger: pino({ level: 'silent' }) })
}

function newBackend(): LocalBackend {
  return new LocalBackend({ root: server.dataDir, fsync: false })
}

async function scrub(request: Partial<ScrubRequest> = {}, backend?: Backend): Promise<ScrubState> {
  const state = await newScrub(backend).run({
    bucket,
    rate: Number.POSITIVE_INFINITY,
    signal: NEVER,
    ...request,
  })
  if (state === null) throw new Error('somebody else is scrubbing')
  return state
}

const upload = async (name: string, body: string | object = `the bytes of ${name}`) =>
  expect((await server.request('PUT', `/object/${bucket}/${name}`, { body })).ok).toBe(true)
const get = async (name: string) => {
  const response = await server.request('GET', `/object/${bucket}/${name}`)
  return [
    response.status,
    response.ok ? await response.text() : ((await response.json()) as { code: string }).code,
  ]
}
/** Changes one byte and keeps the length, as a failing disk does. */
async function damage(name: string): Promise<() => Promise<void>> {
  const file = await fileOf(server, bucket, name)
  const whole = await readFile(file)
  const damaged = Buffer.from(whole)
  damaged[0] = (damaged[0] ?? 0) ^ 1
  await writeFile(file, damaged)
  return () => writeFile(file, whole)
}

describe('the scrub', () => {
  it('finds every object whole, and says how much it has read', async () => {
    await upload('small.txt', 'x'.repeat(1000))
    await upload('large.bin', randomBytes(1_000_000))
    expect(await scrub()).toMatchObject({
      checked: 2,
      total: 2,
      bytes: 1_001_000,
      corrupted: 0,
      missing: 0,
      isFinished: true,
    })
    expect(await get('small.txt')).toEqual([200, 'x'.repeat(1000)])
  })

  it('finds damaged bytes, and from then on nobody is sent them', async () => {
    await upload('good.txt')
    await upload('bad.txt')
    await damage('bad.txt')
    expect((await get('bad.txt'))[0]).toBe(200) // nobody knows yet
    expect(await scrub()).toMatchObject({ checked: 2, corrupted: 1, missing: 0 })
    expect(await get('bad.txt')).toEqual([500, 'InternalError'])
    const part = await server.request('GET', `/object/${bucket}/bad.txt`, { headers: { range: 'bytes=1-3' } })
    expect(part.status).toBe(500)
    const copied = await server.request('POST', '/object/copy', {
      body: { bucketId: bucket, sourceKey: 'bad.txt', destinationKey: 'copy.txt' },
    })
    expect(copied.status).toBe(500)
    expect(await get('good.txt')).toEqual([200, 'the bytes of good.txt'])
    expect((await get('copy.txt'))[0]).toBe(404)
  })

  it('takes a file that is cut short for damaged, and one that is gone for missing', async () => {
    await upload('cut.txt')
    await upload('gone.txt')
    await truncate(await fileOf(server, bucket, 'cut.txt'), 5)
    await rm(await fileOf(server, bucket, 'gone.txt'))
    expect(await scrub()).toMatchObject({ checked: 2, corrupted: 1, missing: 1 })
    expect((await get('cut.txt'))[0]).toBe(500)
    expect((await get('gone.txt'))[0]).toBe(404)
  })

  it.each([
    ['does not take a failure that passes for damage', 1, 0],
    ['takes what cannot be read again and again for damaged, while the store is well', 2, 1],
  ])('%s', async (_what, failures, corrupted) => {
    await upload('a.txt')
    const backend = newBackend()
    const read = backend.read.bind(backend)
    let left = failures
    backend.read = async (...at) => {
      if (left-- > 0) throw new StorageError('BackendUnavailable')
      return read(...at)
    }
    expect(await scrub({}, backend)).toMatchObject({ checked: 1, corrupted, missing: 0 })
    expect((await get('a.txt'))[0]).toBe(corrupted ? 500 : 200)
  })

  it('serves an object again whose bytes were restored, or that was uploaded anew', async () => {
    await upload('restored.txt')
    await upload('anew.txt')
    const restore = await damage('restored.txt')
    await damage('anew.txt')
    expect(await scrub()).toMatchObject({ corrupted: 2 })
    await restore()
    await upload('anew.txt')
    expect((await get('anew.txt'))[0]).toBe(200)
    expect(await scrub()).toMatchObject({ corrupted: 0 })
    expect((await get('restored.txt'))[0]).toBe(200)
  })

  it('goes on where it was interrupted, and checks nothing twice', async () => {
    for (let i = 0; i < 5; i++) await upload(`${i}.txt`)
    const stop = new AbortController()
    const interrupted = await scrub({
      signal: stop.signal,
      onProgress: ({ checked }) => {
        if (checked === 2) stop.abort()
      },
    })
    expect(interrupted).toMatchObject({ checked: 2, isFinished: false })
    const seen: number[] = []
    const finished = await scrub({ onProgress: ({ checked }) => seen.push(checked) })
    expect(finished).toMatchObject({ checked: 5, isFinished: true })
    expect(seen).toEqual([3, 4, 5])
  })

  it('reads everything by hand, wherever the scrub by itself is', async () => {
    for (let i = 0; i < 3; i++) await upload(`${i}.txt`)
    const [row] =
      await server.admin`select count(*)::int as total, max(id::text) as last from storage.objects`
    await server.admin`
      insert into storage.scrubs as s (scope, position, total, checked) values ('', ${row?.last}, 3, 3)
      on conflict (scope) do update set position = excluded.position, total = 3, checked = 3, finished_at = null`
    const resumed: boolean[] = []
    const onResume = () => resumed.push(true)
    const total = row?.total
    expect(await scrub({ bucket: undefined, onResume })).toMatchObject({
      checked: total,
      total,
      isFinished: true,
    })
    expect(resumed).toEqual([])
    const background = await server.admin`
      select checked::int, finished_at is not null as finished from storage.scrubs where scope = ''`
    expect(background).toEqual([{ checked: 3, finished: false }])
    await server.admin`delete from storage.scrubs where scope = ''`
  })

  it('never tells of more objects checked than there are', async () => {
    // In the order of their ids: a later one is not passed by.
    const id = (n: number) => `00000000-0000-4000-8000-00000000000${n}`
    const uploadAs = async (n: number) => {
      await upload(`${n}.txt`)
      await server.admin`
        update storage.objects set id = ${id(n)} where bucket_id = ${bucket} and name = ${`${n}.txt`}`
    }
    for (let n = 1; n < 3; n++) await uploadAs(n)
    const stop = new AbortController()
    await scrub({ signal: stop.signal, onProgress: () => stop.abort() })
    for (let n = 3; n < 5; n++) await uploadAs(n)
    const seen: number[] = []
    const onProgress = ({ checked, total }: ScrubState) => seen.push(total - checked)
    let isResumed = false
    const onResume = () => {
      isResumed = true
    }
    expect(await scrub({ onProgress, onResume })).toMatchObject({ checked: 4, total: 4 })
    expect([isResumed, seen]).toEqual([true, [0, 0, 0]])
  })

  it('begins anew when told so', async () => {
    for (let i = 0; i < 3; i++) await upload(`${i}.txt`)
    const stop = new AbortController()
    await scrub({ signal: stop.signal, onProgress: () => stop.abort() })
    expect(await scrub({ restart: true })).toMatchObject({ checked: 3, total: 3 })
  })

  it('checks rows without a hash by their length alone', async () => {
    await upload('plain.txt')
    await server.admin`update storage.objects set checksum = null where bucket_id = ${bucket}`
    await damage('plain.txt')
    expect(await scrub()).toMatchObject({ checked: 1, corrupted: 0 })
  })

  it('says that there is no such bucket', async () => {
    await expect(scrub({ bucket: 'nowhere' })).rejects.toMatchObject({ code: 'NoSuchBucket' })
  })
})

describe('the scrub by itself', () => {
  it('does its share of the objects, spread over the interval, and all of them in the end', async () => {
    for (let i = 0; i < 10; i++) await upload(`${i}.txt`)
    await damage('7.txt')
    const scrub = newScrub()
    const hour = 3_600_000
    const state = async () => {
      const [row] = await server.admin`
        select total::int, checked::int, finished_at is not null as finished from storage.scrubs where scope = ''`
      return row as { total: number; checked: number; finished: boolean }
    }
    await scrub.step(hour, NEVER)
    const { total, checked } = await state()
    expect(total).toBeGreaterThanOrEqual(10)
    expect(checked).toBeLessThanOrEqual(1)
    // Half of the interval later.
    await server.admin`update storage.scrubs set started_at = now() - interval '30 minutes' where scope = ''`
    await scrub.step(hour, NEVER)
    const half = await state()
    expect(half.checked / total).toBeGreaterThanOrEqual(0.5)
    expect(half.checked).toBeLessThan(total)
    await server.admin`update storage.scrubs set started_at = now() - interval '2 hours' where scope = ''`
    await scrub.step(hour, NEVER)
    expect(await state()).toEqual({ total, checked: total, finished: true })
    expect((await get('7.txt'))[0]).toBe(500)
  })

  it('rests until the interval is over', async () => {
    await upload('a.txt')
    await server.admin`update storage.scrubs set started_at = now(), finished_at = now() where scope = ''`
    const before = await server.admin`select * from storage.scrubs where scope = ''`
    await newScrub().step(3_600_000, NEVER)
    expect(await server.admin`select * from storage.scrubs where scope = ''`).toEqual(before)
  })
})

describe('a read that is verified', () => {
  it('marks what it finds damaged, so that later reads are refused at once', async () => {
    const verifying = await startTestServer({ ...IN_FILES, STORAGE_VERIFY_READS: 'true' })
    try {
      await verifying.createBucket('b')
      await verifying.request('POST', '/object/b/a.txt', { body: 'to be damaged' })
      const file = await fileOf(verifying, 'b', 'a.txt')
      await writeFile(file, 'to be damageD')
      expect((await verifying.request('GET', '/object/b/a.txt')).status).toBe(500)
      const marked = async () =>
        (await verifying.admin`select quarantine_reason as reason from storage.objects`)[0]?.reason
      await expect.poll(marked).toBe('corrupted')
      const part = await verifying.request('GET', '/object/b/a.txt', { headers: { range: 'bytes=0-1' } })
      expect(part.status).toBe(500)
    } finally {
      await verifying.close()
    }
  })
})
