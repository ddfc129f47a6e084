import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { type Database, openDatabase } from '../../src/database/connection/client.ts'
import {
  InlineMove,
  type InlineMoveReport,
  type InlineMoveRequest,
  type Way,
} from '../../src/jobs/inline-move.ts'
import { CLEANUP_TURN, MOVE_TURN } from '../../src/jobs/turns.ts'
import { INLINE_BUCKET } from '../../src/model/location.ts'
import { cleanUp, fileOf, repairsOf } from '../support/cleanup.ts'
import { intercepted } from '../support/intercepted.ts'
import { type Mishap, openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { type Served, startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'

const INLINE_SIZE = 16_384

let proxy: PostgresProxy
let server: TestServer
/** Keeps small objects in files. */
let other: Served
/** The server's, by which a move can lose it. */
let losable: Database
let bucket: string
beforeAll(async () => {
  proxy = await openPostgresProxy()
  let url = ''
  server = await startTestServer(
    {},
    {
      databaseUrl: (name) => {
        url = proxy.url(name)
        return url
      },
    },
  )
  other = await server.beside({ STORAGE_INLINE_SIZE: '0' })
  losable = openDatabase(url, { connections: 2 })
})
afterAll(async () => {
  await losable.close()
  await other.close()
  await server.close()
  await proxy.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})

const newBackend = () => new LocalBackend({ root: server.dataDir, fsync: false })

async function move(
  way: Way,
  request: Partial<InlineMoveRequest> = {},
  parts: { backend?: Backend; database?: Database } = {},
): Promise<InlineMoveReport | null> {
  const { database } = server
  const logger = pino({ level: 'silent' })
  const job = new InlineMove({ database, backend: newBackend(), inlineSize: INLINE_SIZE, logger, ...parts })
  const rate = Number.POSITIVE_INFINITY
  return job.run(way, { bucket, rate, signal: new AbortController().signal, waitMs: 20_000, ...request })
}

const put = async (name: string, body: string | Buffer = `the bytes of ${name}`, by: Served = server) =>
  expect((await by.request('PUT', `/object/${bucket}/${name}`, { body: body as string })).ok).toBe(true)
const get = async (name: string, by: Served = server) => {
  const response = await by.request('GET', `/object/${bucket}/${name}`)
  return [response.status, await response.text()]
}

/** What clients can learn of the bucket's objects, and what has happened to them. */
async function visible(): Promise<unknown> {
  const rows = await server.admin`
    select name, version, metadata, user_metadata, checksum, created_at, updated_at, owner_id, quarantine_reason, tags
    from storage.objects where bucket_id = ${bucket} order by name`
  const [events] = await server.admin`select count(*)::int from storage.events where bucket_id = ${bucket}`
  return { rows, events }
}

/** How many objects are in the database, and how many are not. */
async function places(): Promise<[inside: number, outside: number]> {
  const [row] = await server.admin`
    select count(*) filter (where bytes_bucket = ${INLINE_BUCKET})::int as inside,
      count(*) filter (where bytes_bucket <> ${INLINE_BUCKET})::int as outside
    from storage.objects where bucket_id = ${bucket}`
  return [row?.inside, row?.outside]
}

const WAYS: [way: Way, first: () => Served, before: [number, number], after: [number, number]][] = [
  ['out', () => server, [3, 0], [0, 3]],
  ['in', () => other, [0, 3], [3, 0]],
]

describe.each(WAYS)('the move %s', (way, first, before, after) => {
  const bodies = { small: 'x'.repeat(1000), empty: '', full: 'y'.repeat(INLINE_SIZE) }
  beforeEach(async () => {
    for (const [name, body] of Object.entries(bodies)) await put(name, body, first())
    expect(await places()).toEqual(before)
  })

  it('brings the bytes to the other place, and nothing changes for clients', async () => {
    for (const name of ['small', 'small', 'small']) await get(name) // in the memory for hot objects, too
    const was = await visible()
    expect(await move(way)).toMatchObject({
      total: 3,
      moved: 3,
      movedBytes: 1000 + INLINE_SIZE,
      left: 0,
      failures: { count: 0 },
      ending: 'complete',
    })
    expect(await places()).toEqual(after)
    expect(await visible()).toEqual(was)
    for (const by of [server, other]) {
      for (const [name, body] of Object.entries(bodies)) expect(await get(name, by)).toEqual([200, body])
    }
    await expectNoDrift(server)
    expect(await move(way)).toMatchObject({ total: 0, moved: 0, left: 0 })
  })

  it('only says how much it would be', async () => {
    const report = await move(way, { dryRun: true })
    expect(report).toMatchObject({ total: 3, totalBytes: 1000 + INLINE_SIZE, moved: 0, left: 3 })
    expect(await places()).toEqual(before)
  })

  it('moves what is in one bucket, or in all', async () => {
    const here = bucket
    bucket = `${here}-2`
    await server.createBucket(bucket)
    await put('elsewhere', 'elsewhere', first())
    expect(await move(way, { bucket: here })).toMatchObject({ moved: 3 })
    expect(await places()).toEqual(way === 'out' ? [1, 0] : [0, 1])
    expect(await move(way, { bucket: undefined })).toMatchObject({ left: 0 })
    expect(await places()).toEqual(way === 'out' ? [0, 1] : [1, 0])
    await expect(move(way, { bucket: 'nowhere' })).rejects.toMatchObject({ code: 'NoSuchBucket' })
    await expectNoDrift(server)
  })

  it('goes on where it was interrupted', async () => {
    for (let i = 0; i < 20; i++) await put(`${i}.txt`, undefined, first())
    const stop = new AbortController()
    const onProgress = () => stop.abort()
    const report = await move(way, { signal: stop.signal, onProgress })
    expect(report?.ending).toBe('interrupted')
    expect(report?.left).toBe(23 - (report?.moved ?? 0))
    expect(await move(way)).toMatchObject({ moved: report?.left, left: 0, ending: 'complete' })
    await expectNoDrift(server)
  })

  it('leaves the last word to whoever replaces, deletes or renames an object meanwhile', async () => {
    const meanwhile: Record<string, () => Promise<unknown>> = {
      small: () => put('small', 'replaced'),
      empty: () => server.request('DELETE', `/object/${bucket}/empty`),
      full: () =>
        server.request('POST', '/object/move', {
          body: { bucketId: bucket, sourceKey: 'full', destinationKey: 'renamed' },
        }),
    }
    const left = Object.values(meanwhile)
    // After the row was read, before the bytes are in the other place.
    const backend = intercepted(newBackend(), async (method) => {
      if (method === 'write' || method === 'readWhole') for (const change of left.splice(0)) await change()
    })
    expect(await move(way, {}, { backend })).toMatchObject({ failures: { count: 0 } })
    expect(await get('small')).toEqual([200, 'replaced'])
    expect((await get('empty'))[0]).toBe(404)
    expect(await get('renamed')).toEqual([200, bodies.full])
    await expectNoDrift(server)
  })

  it('does not move damaged bytes, and says which are missing', async () => {
    const [row] = await server.admin`
      select version, bytes_bucket from storage.objects where bucket_id = ${bucket} and name = 'small'`
    if (way === 'out') {
      await server.admin`
        update storage.inline_bytes set bytes = ${Buffer.from('z'.repeat(1000))} where version = ${row?.version}`
    } else await writeFile(await fileOf(server, bucket, 'small'), 'z'.repeat(1000))
    expect(await move(way)).toMatchObject({
      moved: 2,
      left: 1,
      failures: { count: 1, named: [{ bucketId: bucket, name: 'small', why: 'its bytes are damaged' }] },
    })
    expect((await get('small'))[0]).toBe(500)
    const named = await server.admin`
      select version, bytes_bucket from storage.objects where bucket_id = ${bucket} and name = 'small'`
    expect(named).toEqual([row])
    await newBackend().remove({ bucket: row?.bytes_bucket, version: row?.version })
    await server.admin`delete from storage.inline_bytes where version = ${row?.version}`
    expect(await move(way)).toMatchObject({ failures: { named: [{ why: 'there are no bytes of it' }] } })
    await server.request('DELETE', `/object/${bucket}/small`)
    await expectNoDrift(server)
  })

  it("leaves alone what a user's trigger keeps as it is", async () => {
    await server.admin.unsafe(`
      create function public.keeps() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger keeps before update on storage.objects for each row execute function public.keeps()`)
    const report = await move(way).finally(() => server.admin.unsafe('drop function public.keeps() cascade'))
    expect(report).toMatchObject({ moved: 0, left: 3, failures: { count: 3 } })
    expect(await places()).toEqual(before)
    for (const [name, body] of Object.entries(bodies)) expect(await get(name)).toEqual([200, body])
    await expectNoDrift(server)
  })

  it('takes copies of a row along that name the same bytes', async () => {
    await server.admin`
      insert into storage.objects (bucket_id, name, version, bytes_bucket, metadata, checksum)
      select bucket_id, 'second', version, bytes_bucket, metadata, checksum from storage.objects
      where bucket_id = ${bucket} and name = 'small'`
    expect(await move(way)).toMatchObject({ left: 0, failures: { count: 0 } })
    expect(await get('second')).toEqual([200, bodies.small])
    await server.request('DELETE', `/object/${bucket}/small`)
    expect(await get('second')).toEqual([200, bodies.small])
    await server.request('DELETE', `/object/${bucket}/second`)
    await expectNoDrift(server)
  })

  it('waits for a cleanup, and ends when that does not', async () => {
    await server.database.exclusively(CLEANUP_TURN, async () => {
      expect(await move(way, { waitMs: 100 })).toMatchObject({ ending: 'cleaning', moved: 0, left: 3 })
    })
    await server.database.exclusively(MOVE_TURN, async () => expect(await move(way)).toBeNull())
    expect(await places()).toEqual(before)
  })

  const MISHAPS: [what: string, first: number, mishap: Mishap][] = [
    ['before it was asked', way === 'out' ? 1 : 2, { kind: 'before' }],
    ['before it answers', way === 'out' ? 2 : 1, { kind: 'after' }],
  ]
  it.each(MISHAPS)(
    'loses the database at any statement, %s, and never bytes',
    { timeout: 240_000 },
    async (_what, firstStep, mishap) => {
      for (const name of ['empty', 'full']) await server.request('DELETE', `/object/${bucket}/${name}`)
      let moved = 0
      let step = firstStep
      for (let isOver = false; !isOver; step += 2) {
        const body = `of step ${step}`
        await put('small', body, first())
        proxy.arm(step, mishap)
        await move(way, {}, { database: losable }).catch(() => {})
        isOver = !proxy.hasStruck
        proxy.arm(0)
        expect(await get('small')).toEqual([200, body])
        // Half of the time a cleanup comes before it goes on.
        if (step % 4 > 1) await cleanUp(server, { bucket })
        expect(await get('small')).toEqual([200, body])
        moved += (await move(way))?.moved ?? 0
        expect(await get('small')).toEqual([200, body])
      }
      expect([step > 10, moved > 5]).toEqual([true, true])
      await cleanUp(server)
      expect(await places()).toEqual(way === 'out' ? [0, 1] : [1, 0])
      await expectNoDrift(server)
    },
  )
})

it('does not bring what is larger into the database', async () => {
  await put('large', randomBytes(INLINE_SIZE + 1))
  expect(await move('in')).toMatchObject({ total: 0, moved: 0, left: 0 })
  expect(await places()).toEqual([0, 1])
})

describe('bytes that a killed run has left in both places', () => {
  it('are those of the row where it says, and the others go', async () => {
    await put('a', 'both')
    const backend = newBackend()
    const [row] = await server.admin`
      select o.version, b.uid from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where b.id = ${bucket}`
    const outside = { bucket: row?.uid, version: row?.version }
    await backend.write(outside, Buffer.from('both'), { maxBytes: 4, isNamed: true })
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 3_600_000 } }))).toEqual({})
    expect(repairsOf(await cleanUp(server))).toEqual({ unnamedBytes: 1 })
    expect(await get('a')).toEqual([200, 'both'])
    await expectNoDrift(server)
    // Of a way in: the file is on the list of removals.
    await move('out')
    const stuck = intercepted(backend, async (method) => {
      if (method === 'remove') throw new Error('killed')
    })
    expect(await move('in', {}, { backend: stuck })).toMatchObject({ moved: 1, left: 0 })
    expect(await backend.exists(outside)).toBe(true)
    expect(repairsOf(await cleanUp(server))).toEqual({ removal: 1 })
    expect(await backend.exists(outside)).toBe(false)
    expect(await get('a')).toEqual([200, 'both'])
    await expectNoDrift(server)
  })

  it('are taken over by the way back, and not removed any more', async () => {
    await put('a', 'there and back')
    await move('out')
    const stuck = intercepted(newBackend(), async (method) => {
      if (method === 'remove') throw new Error('killed')
    })
    await move('in', {}, { backend: stuck })
    expect(await move('out')).toMatchObject({ moved: 1 })
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect(await get('a')).toEqual([200, 'there and back'])
    await expectNoDrift(server)
  })

  // What a power failure brings back is on no list.
  it.each(['unnamedBytes', 'removal'])(
    'go from a bucket that their object has left, by %s',
    async (repair) => {
      await put('a', 'both', other)
      const [row] =
        await server.admin`select version, bytes_bucket from storage.objects where bucket_id = ${bucket}`
      const left = { bucket: row?.bytes_bucket, version: row?.version }
      const destinationBucket = `${bucket}-2`
      await server.createBucket(destinationBucket)
      const body = { bucketId: bucket, sourceKey: 'a', destinationBucket, destinationKey: 'a' }
      expect((await server.request('POST', '/object/move', { body })).ok).toBe(true)
      bucket = destinationBucket
      const backend = newBackend()
      const stuck = intercepted(backend, async (method) => {
        if (method === 'remove') throw new Error('killed')
      })
      expect(await move('in', {}, { backend: stuck })).toMatchObject({ moved: 1 })
      if (repair === 'unnamedBytes') await server.admin`delete from storage.removals`
      expect(await move('out')).toMatchObject({ moved: 1 })
      expect(await backend.exists(left)).toBe(true)
      expect(repairsOf(await cleanUp(server))).toEqual({ [repair]: 1 })
      expect(await backend.exists(left)).toBe(false)
      expect(await get('a')).toEqual([200, 'both'])
      await expectNoDrift(server)
    },
  )

  it('are written anew when they are others', async () => {
    await put('a', 'whole')
    const [row] = await server.admin`
      select o.version, b.uid from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where b.id = ${bucket}`
    await newBackend().write({ bucket: row?.uid, version: row?.version }, Buffer.from('torn'), {
      maxBytes: 4,
    })
    expect(await move('out')).toMatchObject({ moved: 1 })
    expect(await get('a')).toEqual([200, 'whole'])
    await expectNoDrift(server)
  })
})

it('readers and copies find every object while it goes to and fro', { timeout: 120_000 }, async () => {
  const bodies = new Map(Array.from({ length: 10 }, (_, n) => [`${n}`, randomBytes(3000).toString('hex')]))
  for (const [name, body] of bodies) await put(name, body)
  await server.createBucket(`${bucket}-copies`)
  let isOver = false
  const wrong: unknown[] = []
  let reads = 0
  const digest = (text: string) => createHash('sha256').update(text).digest('hex')
  const read = async (by: Served) => {
    while (!isOver) {
      for (const [name, body] of bodies) {
        const [status, text] = await get(name, by)
        if (status !== 200 || digest(String(text)) !== digest(body)) wrong.push([name, status])
        const range = { headers: { range: 'bytes=10-19' } }
        const part = await by.request('GET', `/object/${bucket}/${name}`, range)
        if (part.status !== 206 || (await part.text()) !== body.slice(10, 20)) wrong.push([name, part.status])
        reads++
      }
    }
  }
  const copy = async () => {
    while (!isOver) {
      for (const name of bodies.keys()) {
        const body = {
          bucketId: bucket,
          sourceKey: name,
          destinationBucket: `${bucket}-copies`,
          destinationKey: name,
        }
        const copied = await server.request('POST', '/object/copy', { body, headers: { 'x-upsert': 'true' } })
        if (!copied.ok) wrong.push(['copy', name, copied.status])
      }
    }
  }
  const clients = [read(server), read(other), copy()]
  try {
    for (let round = 0; round < 4 || reads < 100; round++) {
      for (const way of ['out', 'in'] as const) {
        expect(await move(way)).toMatchObject({ failures: { count: 0 } })
      }
    }
  } finally {
    isOver = true
    await Promise.all(clients)
  }
  expect(wrong).toEqual([])
  await expectNoDrift(server)
})
