import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { AutoDelete } from '../../src/jobs/auto-delete.ts'
import { CLEANUP_TURN } from '../../src/jobs/turns.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { field, file, form, MULTIPART } from '../support/multipart.ts'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { TusRequests } from '../support/tus-requests.ts'

/** Objects that go by themselves (docs/versions.md): how it is said, and what becomes of them. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})

const NEVER = new AbortController().signal
const HEADER = 'x-strongroom-auto-delete-after-days'

type Init = Parameters<TestServer['request']>[2]

const ask = (method: string, name: string, init?: Init) =>
  server.request(method, `/storage/v1/object/${bucket}/${name}`, init)

async function put(name: string, days: number | null, body = name): Promise<void> {
  const headers: Record<string, string> = days === null ? {} : { [HEADER]: String(days) }
  const answer = await ask('PUT', name, { body, headers })
  expect(answer.ok, await answer.clone().text()).toBe(true)
}

const change = (name: string, days: unknown, init: Init = {}) =>
  ask('PATCH', name, { ...init, body: { auto_delete_after_days: days } })

/** The days of an object, and how many days are left of them. */
async function due(name: string): Promise<[number | null, number | null]> {
  const [row] = await server.admin<{ days: number | null; left: number | null }[]>`
    select auto_delete_after_days as days, round(extract(epoch from auto_delete_at - now()) / 86400)::int as left
    from storage.objects where bucket_id = ${bucket} and name = ${name}`
  return [row?.days ?? null, row?.left ?? null]
}

/** As if an object had been written so many days ago. */
const age = (name: string, days: number) => server.admin`
  update storage.objects set auto_delete_at = auto_delete_at - ${days} * interval '1 day'
  where bucket_id = ${bucket} and name = ${name}`

const names = async () =>
  (await server.admin`select name from storage.objects where bucket_id = ${bucket} order by name`).map(
    ({ name }) => name,
  )

const kinds = async () =>
  (
    await server.admin`select kind from storage.object_versions where bucket_id = ${bucket} order by sequence`
  ).map(({ kind }) => kind)

function newJob(batch?: number): AutoDelete {
  const backend = new InlineBackend(new LocalBackend({ root: server.dataDir, fsync: false }), server.database)
  const logger = pino({ level: 'silent' })
  return new AutoDelete({ database: server.database, backend, logger, ...(batch && { batch }) })
}

describe('auto_delete_after_days', () => {
  const large = 'x'.repeat(400_000)

  it.each([
    ['of few bytes', 'small'],
    ['of a file', 'x'.repeat(50_000)],
    ['of a stream', large],
  ])('is said by a header, %s', async (_, body) => {
    await put('a', 7, body)
    expect(await due('a')).toEqual([7, 7])
    expect(await (await ask('GET', 'a')).text()).toBe(body)
  })

  it.each([
    ['before the file', (days: Buffer, bytes: Buffer) => form(days, bytes)],
    ['behind it', (days: Buffer, bytes: Buffer) => form(bytes, days)],
  ])('is said by a field of a form, %s', async (_, make) => {
    for (const [name, body] of Object.entries({ small: 'hello', large })) {
      const sent = make(field('auto_delete_after_days', '3'), file(body))
      const [, type = ''] = MULTIPART.split(': ')
      const answer = await fetch(`${server.url}/storage/v1/object/${bucket}/${name}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${server.keys.serviceKey}`, 'content-type': type },
        body: new Uint8Array(sent),
      })
      expect(answer.ok).toBe(true)
      expect(await due(name)).toEqual([3, 3])
    }
  })

  it('is said in the metadata of a resumable upload', async () => {
    const tus = new TusRequests(server)
    const created = await tus.create({ bucket, name: 'a' }, 5, {
      metadata: { auto_delete_after_days: '9' },
      body: 'hello',
    })
    expect(created.status).toBe(201)
    expect(await due('a')).toEqual([9, 9])
    const refused = await tus.create({ bucket, name: 'b' }, 5, { metadata: { auto_delete_after_days: '0' } })
    expect(refused.status).toBe(400)
  })

  it.each(['0', '36501', '-1', '1.5', 'x', '', '1 ', '١'])('is not %j', async (days) => {
    const answer = await server.request('PUT', `/storage/v1/object/${bucket}/a`, {
      body: form(field('auto_delete_after_days', days), file('hello')).toString(),
      headers: { 'content-type': MULTIPART.split(': ')[1] ?? '' },
    })
    expect([answer.status, Object(await answer.json()).code]).toEqual([400, 'InvalidRequest'])
    expect(await names()).toEqual([])
  })

  it('begins anew when the bytes are replaced, and is as before unless that says otherwise', async () => {
    await put('a', 7)
    await age('a', 5)
    expect(await due('a')).toEqual([7, 2])
    await put('a', null, 'again')
    expect(await due('a')).toEqual([7, 7])
    await put('a', 3)
    expect(await due('a')).toEqual([3, 3])
  })

  it('goes on under another name, and is not copied', async () => {
    await put('a', 7)
    await age('a', 5)
    const to = (destinationKey: string) => ({ bucketId: bucket, sourceKey: 'a', destinationKey })
    await server.request('POST', '/storage/v1/object/copy', { body: to('copy') })
    await server.request('POST', '/storage/v1/object/move', { body: to('moved') })
    expect([await due('copy'), await due('moved')]).toEqual([
      [null, null],
      [7, 2],
    ])
  })

  it('is changed and cleared by PATCH, from when the bytes were written', async () => {
    await put('a', null)
    const before = await (await ask('GET', 'a')).text()
    const changed = await change('a', '30')
    expect(changed.status).toBe(200)
    expect(await changed.json()).toMatchObject({
      id: expect.any(String),
      bucket,
      path: 'a',
      auto_delete_after_days: 30,
      auto_delete_at: expect.any(String),
    })
    expect(await due('a')).toEqual([30, 30])
    expect(await (await change('a', null)).json()).toMatchObject({
      auto_delete_after_days: null,
      auto_delete_at: null,
    })
    expect(await (await ask('GET', 'a')).text()).toBe(before)
    const events = await server.admin`
      select type, operation from storage.events where bucket_id = ${bucket} and name = 'a' order by id`
    expect(events.map(({ type, operation }) => [type, operation]).slice(1)).toEqual([
      ['storage.object.updated', 'storage.object.update'],
      ['storage.object.updated', 'storage.object.update'],
    ])
  })

  it('is told by info and lists, of what goes, and not of what stays', async () => {
    await put('goes', 7)
    await put('stays', null)
    const json = async (method: string, path: string, body?: object) =>
      (await server.request(method, `/storage/v1${path}`, body && { body })).json()
    const told = { auto_delete_after_days: 7, auto_delete_at: expect.any(String) }
    expect(await json('GET', `/object/info/${bucket}/goes`)).toMatchObject(told)
    expect(await json('GET', `/object/info/${bucket}/stays`)).not.toHaveProperty('auto_delete_at')
    for (const column of ['name', 'created_at']) {
      for (const order of ['asc', 'desc']) {
        const sortBy = { column, order }
        const list = (await json('POST', `/object/list/${bucket}`, { prefix: '', sortBy })) as object[]
        const { objects } = (await json('POST', `/object/list-v2/${bucket}`, { sortBy })) as {
          objects: object[]
        }
        for (const found of [list, objects]) {
          expect(found.find((entry) => 'auto_delete_at' in entry)).toMatchObject({ name: 'goes', ...told })
          expect(found.filter((entry) => 'auto_delete_at' in entry)).toHaveLength(1)
        }
      }
    }
    expect(
      await json('POST', `/object/list-v2/${bucket}`, { exactMatch: true, prefix: 'goes' }),
    ).toMatchObject({
      objects: [{ name: 'goes', ...told }],
    })
  })

  it('is judged by policies, with whatever way it is said', async () => {
    const policy = `create policy p on storage.objects for insert to authenticated with check (auto_delete_after_days <= 30)`
    await withPolicies(server.admin, policy, async () => {
      const token = await server.token(randomUUID())
      const large = 'x'.repeat(200_000)
      const upload = async (name: string, body: string, days?: string) =>
        (await ask('POST', name, { token, body, ...(days && { headers: { [HEADER]: days } }) })).status
      const tus = new TusRequests(server, { token })
      const resume = async (name: string, days?: string) =>
        (
          await tus.create({ bucket, name }, 5, {
            metadata: days ? { auto_delete_after_days: days } : {},
            body: 'hello',
          })
        ).status
      expect([
        await upload('a', 'small', '30'),
        await upload('b', large, '30'),
        await resume('c', '30'),
      ]).toEqual([201, 201, 201])
      for (const days of ['31', undefined]) {
        expect([
          await upload('d', 'small', days),
          await upload('e', large, days),
          await resume('f', days),
        ]).toEqual([403, 403, 403])
      }
    })
    expect(await names()).toEqual(['a', 'b', 'c'])
  })

  it('is changed only by who may, and where a condition holds', async () => {
    await put('a', 7)
    const token = await server.token(randomUUID())
    expect((await change('a', 1, { token })).status).toBe(404)
    expect((await change('b', 1)).status).toBe(404)
    expect((await change('a', 1, { headers: { 'if-match': '"another"' } })).status).toBe(412)
    for (const days of [0, 36_501, 'x', undefined, 1.5]) expect((await change('a', days)).status).toBe(400)
    expect(await due('a')).toEqual([7, 7])
  })
})

describe('an object whose days are over', () => {
  it('is gone, and others are not', async () => {
    await put('over', 7, 'x'.repeat(50_000))
    await put('not', 7)
    await put('never', null)
    await age('over', 8)
    await age('not', 6)
    const stored = (await server.storedFiles()).length
    const job = newJob()
    await job.round(NEVER)
    expect([job.deleted, await names()]).toEqual([1, ['never', 'not']])
    expect(await server.storedFiles()).toHaveLength(stored - 1)
    const [event] = await server.admin`
      select type, operation, data from storage.events where bucket_id = ${bucket} order by id desc limit 1`
    expect(event).toEqual({
      type: 'storage.object.deleted',
      operation: 'storage.object.auto_delete',
      data: { permanent: true },
    })
  })

  it.each([
    [{ trash_days: 3 }, ['trash']],
    [{ versioning_status: 'ENABLED' }, ['version', 'delete_marker']],
  ])('in a bucket with %j leaves %j', async (settings, left) => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket, settings)
    await put('a', 1)
    await age('a', 2)
    await newJob().round(NEVER)
    expect([await names(), await kinds()]).toEqual([[], left])
  })

  it('stays when it is brought back from the trash', async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket, { trash_days: 3 })
    await put('a', 1)
    await age('a', 2)
    await newJob().round(NEVER)
    const body = { bucket, path: 'a' }
    expect((await server.request('POST', '/storage/v1/trash/restore', { body })).status).toBe(200)
    await newJob().round(NEVER)
    expect(await names()).toEqual(['a'])
    expect(await due('a')).toEqual([null, null])
  })

  it('goes with all the others, in batches', async () => {
    for (let i = 0; i < 5; i++) {
      await put(`a${i}`, 1)
      await age(`a${i}`, 2 + i)
    }
    const job = newJob(2)
    await job.round(NEVER)
    expect([job.deleted, await names()]).toEqual([5, []])
  })

  it('keeps no other from going though a trigger keeps it', async () => {
    for (const name of ['a', 'kept', 'z']) {
      await put(name, 1)
      await age(name, 2)
    }
    await server.admin.unsafe(`
      create function public.keep() returns trigger language plpgsql as $$
      begin if old.name = 'kept' then raise exception 'it stays'; end if; return old; end $$;
      create trigger keep before delete on storage.objects for each row execute function public.keep()`)
    try {
      await newJob().round(NEVER)
      expect(await names()).toEqual(['kept'])
    } finally {
      await server.admin.unsafe('drop trigger keep on storage.objects; drop function public.keep()')
    }
  })

  it('is saved by a change at that moment', async () => {
    await put('a', 1)
    await age('a', 2)
    const changing = await server.admin.reserve()
    try {
      await changing`begin`
      await changing`update storage.objects set auto_delete_after_days = null where bucket_id = ${bucket}`
      await newJob().round(NEVER) // passes over what somebody has in hand
      await changing`commit`
    } finally {
      changing.release()
    }
    await newJob().round(NEVER)
    expect(await names()).toEqual(['a'])
  })

  it('waits while somebody cleans up', async () => {
    await put('a', 1)
    await age('a', 2)
    const waitMs = await server.database.exclusively(CLEANUP_TURN, () => newJob().round(NEVER))
    expect(waitMs).toBeLessThan(await newJob().round(NEVER))
    expect(await names()).toEqual([])
  })
})
