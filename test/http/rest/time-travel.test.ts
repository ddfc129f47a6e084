import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** Going back in time (docs/versions.md, decision 0070): `at` of reads, lists and restores. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { versioning_status: 'ENABLED' })
})
afterAll(() => server.close())

type Init = Parameters<TestServer['request']>[2]

const ask = (method: string, path: string, init?: Init) => server.request(method, `/storage/v1${path}`, init)

async function json<T extends object = Record<string, unknown>>(
  method: string,
  path: string,
  init?: Init,
): Promise<T> {
  const answer = await ask(method, path, init)
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return JSON.parse(text || '{}')
}

const put = (name: string, body: string, init: Init = {}) =>
  json('PUT', `/object/${bucket}/${name}`, { ...init, body })
const remove = (name: string) => json('DELETE', `/object/${bucket}/${name}`)

/** A moment of whole milliseconds, behind all that was done and before all that will be. */
async function moment(): Promise<string> {
  const [row] = await server.admin`
    select to_char(date_trunc('milliseconds', clock_timestamp()) + interval '1 ms', 'YYYY-MM-DD"T"HH24:MI:SS.MSOF:00') as at,
      pg_sleep(0.003)`
  return String(row?.at)
}

interface Report {
  restored: number
  deleted: number
  unchanged: number
  unavailable: number
  sample: { name: string; outcome: string; reason: string | null }[]
  next: string | null
}

const restore = (at: string, more: Record<string, unknown> = {}, init?: Init) =>
  json<Report>('POST', '/versions/restore', { ...init, body: { bucket, prefix: '', at, ...more } })

const refused = async (body: Record<string, unknown>) => {
  const answer = await ask('POST', '/versions/restore', { body: { bucket, prefix: '', ...body } })
  const { code, message } = (await answer.json()) as { code: string; message: string }
  return { status: answer.status, code, message }
}

/** What there is, by name. */
async function contents(prefix = ''): Promise<Record<string, string>> {
  const { objects } = await json<{ objects: { name: string }[] }>('POST', `/object/list-v2/${bucket}`, {
    body: { prefix },
  })
  const texts = objects.map(async ({ name }) => [
    name.slice(prefix.length),
    await (await ask('GET', `/object/${bucket}/${name}`)).text(),
  ])
  return Object.fromEntries(await Promise.all(texts))
}

/** The same of a moment, by `at` of a list and of reads. */
async function contentsAt(at: string): Promise<Record<string, string | number>> {
  const { objects } = await json<{ objects: { name: string }[] }>('POST', `/object/list-v2/${bucket}`, {
    body: { at },
  })
  const texts = objects.map(async ({ name }) => {
    const answer = await ask('GET', `/object/${bucket}/${name}?at=${encodeURIComponent(at)}`)
    return [name, answer.ok ? await answer.text() : answer.status]
  })
  return Object.fromEntries(await Promise.all(texts))
}

describe('a folder', () => {
  it('becomes what it was: overwritten and deleted ones come back, later ones go, and all of that can be undone', async () => {
    await put('a', 'one')
    await put('b', 'one')
    await put('c', 'one')
    const before = await moment()
    await put('a', 'two')
    await remove('b')
    await put('d', 'two')
    const after = await moment()
    expect(await contentsAt(before)).toEqual({ a: 'one', b: 'one', c: 'one' })
    expect(await contentsAt(after)).toEqual({ a: 'two', c: 'one', d: 'two' })

    const dry = await restore(before, { dry_run: true })
    expect(dry).toMatchObject({ restored: 2, deleted: 1, unchanged: 1, unavailable: 0, next: null })
    expect(dry.sample).toEqual([
      { name: 'a', outcome: 'restored', reason: null },
      { name: 'b', outcome: 'restored', reason: null },
      { name: 'd', outcome: 'deleted', reason: null },
    ])
    expect(await contents()).toEqual({ a: 'two', c: 'one', d: 'two' })

    expect(await restore(before)).toMatchObject({ restored: 2, deleted: 1, unchanged: 1, unavailable: 0 })
    expect(await contents()).toEqual({ a: 'one', b: 'one', c: 'one' })
    expect(await restore(before)).toMatchObject({ restored: 0, deleted: 0, unchanged: 3 })

    expect(await restore(after)).toMatchObject({ restored: 2, deleted: 1, unchanged: 1, unavailable: 0 })
    expect(await contents()).toEqual({ a: 'two', c: 'one', d: 'two' })
  })

  it('comes back elsewhere, where nothing is deleted', async () => {
    await put('in/a', 'one')
    await put('in/b', 'x'.repeat(200_000)) // a file
    const before = await moment()
    await put('in/a', 'two')
    await remove('in/b')
    await put('in/c', 'two')
    await put('out/z', 'mine')
    const done = await restore(before, { prefix: 'in/', to: 'out/' })
    expect(done).toMatchObject({ restored: 2, deleted: 0, unchanged: 0, unavailable: 0 })
    expect(await contents('out/')).toEqual({ a: 'one', b: 'x'.repeat(200_000), z: 'mine' })
    expect(await contents('in/')).toEqual({ a: 'two', c: 'two' })
    expect(await restore(before, { prefix: 'in/', to: 'out/' })).toMatchObject({ restored: 0, unchanged: 2 })
  })

  it('has its metadata again, and its owner, whoever restores it', async () => {
    const token = await server.token('8a35b7f8-5fbb-4d3c-8d55-2d1d4f4a0c11')
    await withPolicies(
      server.admin,
      'create policy all_of_it on storage.objects for all to authenticated using (true) with check (true)',
      () => put('a', 'one', { token, headers: { 'content-type': 'text/x-one' } }),
    )
    const before = await moment()
    await remove('a')
    await restore(before)
    const [row] = await server.admin`
      select owner_id, metadata ->> 'mimetype' as type from storage.objects where bucket_id = ${bucket} and name = 'a'`
    expect(row).toEqual({ owner_id: '8a35b7f8-5fbb-4d3c-8d55-2d1d4f4a0c11', type: 'text/x-one' })
  })

  it('is gone through in pages, and what is changed after the first stays as it is', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await put(name, 'one')
    const before = await moment()
    for (const name of ['a', 'b', 'c', 'd']) await put(name, 'two')
    const first = await restore(before, { limit: 2 })
    expect(first).toMatchObject({ restored: 2, next: expect.any(String) })
    await put('d', 'three')
    const second = await restore(before, { limit: 2, cursor: first.next })
    expect(second).toMatchObject({ restored: 1, unavailable: 1, next: null })
    expect(second.sample).toContainEqual({ name: 'd', outcome: 'unavailable', reason: 'changed' })
    expect(await contents()).toEqual({ a: 'one', b: 'one', c: 'one', d: 'three' })
  })

  it('is what it was by names in order of their bytes, with folders', async () => {
    for (const name of ['x/1', 'x/2', 'y/1', 'z']) await put(name, 'one')
    const before = await moment()
    for (const name of ['x/1', 'x/2', 'z']) await remove(name)
    const list = await json<{ name: string; id: string | null }[]>('POST', `/object/list/${bucket}`, {
      body: { prefix: '', at: before },
    })
    expect(list.map(({ name, id }) => [name, id === null])).toEqual([
      ['x', true],
      ['y', true],
      ['z', false],
    ])
    const page = { at: before, with_delimiter: true, limit: 1 }
    const first = await json('POST', `/object/list-v2/${bucket}`, { body: page })
    expect(first).toMatchObject({ hasNext: true, folders: [{ name: 'x/', key: 'x' }] })
    const second = await json('POST', `/object/list-v2/${bucket}`, {
      body: { ...page, cursor: first.nextCursor },
    })
    expect(second).toMatchObject({ folders: [{ name: 'y/' }] })
  })
})

describe('what is not known', () => {
  it('is said, and stays as it is: versions that are gone by number', async () => {
    await server.admin`update storage.buckets set max_versions = 2 where id = ${bucket}`
    await put('a', 'one')
    const before = await moment()
    for (const text of ['two', 'three', 'four']) await put('a', text)
    expect(await contentsAt(before)).toEqual({})
    const done = await restore(before)
    expect(done).toMatchObject({ restored: 0, deleted: 0, unavailable: 1 })
    expect(done.sample).toEqual([{ name: 'a', outcome: 'unavailable', reason: 'not_kept' }])
    expect(await contents()).toEqual({ a: 'four' })
    await remove('a')
    expect((await restore(before)).sample).toEqual([
      { name: 'a', outcome: 'unavailable', reason: 'not_kept' },
    ])
  })

  it('is what was before versions were switched on', async () => {
    const old = `b-${randomUUID()}`
    await server.createBucket(old)
    bucket = old
    const before = await moment()
    await put('a', 'one')
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'ENABLED' } })
    await put('b', 'one')
    const done = await restore(before)
    expect(done).toMatchObject({ restored: 0, deleted: 0, unavailable: 2 })
    expect(done.sample.map(({ reason }) => reason)).toEqual(['before_history', 'before_history'])
    const on = await moment()
    await put('c', 'one')
    expect(await restore(on)).toMatchObject({ deleted: 1, unchanged: 2, unavailable: 0 })
  })
})

describe('a bucket with a trash', () => {
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    await server.admin`update storage.buckets set trash_days = 7 where id = ${bucket}`
  })

  it('gives back what was deleted, and says what was overwritten', async () => {
    await put('a', 'one')
    await put('b', 'one')
    await put('c', 'one')
    const before = await moment()
    await remove('a')
    await put('b', 'two')
    await remove('c')
    await put('c', 'two')
    await put('d', 'two')
    expect(await contentsAt(before)).toEqual({ a: 'one', c: 'one' })
    const after = await moment()
    const done = await restore(before)
    expect(done).toMatchObject({ restored: 2, deleted: 1, unavailable: 1 })
    expect(done.sample[0]).toEqual({ name: 'b', outcome: 'unavailable', reason: 'not_kept' })
    expect(await contents()).toEqual({ a: 'one', b: 'two', c: 'one' })
    // What had its place is in the trash.
    expect(await restore(after)).toMatchObject({ restored: 2, deleted: 1, unavailable: 0 })
    expect(await contents()).toEqual({ b: 'two', c: 'two', d: 'two' })
  })

  it('keeps what is there where that is not to be replaced', async () => {
    await put('a', 'one')
    await put('large', 'x'.repeat(300_000))
    const before = await moment()
    for (const name of ['a', 'large']) {
      await remove(name)
      await put(name, 'two')
    }
    await json('PUT', `/bucket/${bucket}`, { body: { allowed_mime_types: ['image/*'] } })
    const done = await restore(before)
    expect(done.sample).toEqual(
      ['a', 'large'].map((name) => ({ name, outcome: 'unavailable', reason: 'InvalidMimeType' })),
    )
    expect(await contents()).toEqual({ a: 'two', large: 'two' })
    await json('PUT', `/bucket/${bucket}`, { body: { allowed_mime_types: null } })
    expect(await restore(before)).toMatchObject({ restored: 2, unavailable: 0 })
    expect(await contents()).toEqual({ a: 'one', large: 'x'.repeat(300_000) })
  })

  it('does not show to anybody what was deleted from a public one', async () => {
    await json('PUT', `/bucket/${bucket}`, { body: { public: true } })
    await put('a', 'one')
    const before = await moment()
    await remove('a')
    const at = `at=${encodeURIComponent(before)}`
    expect((await ask('GET', `/object/public/${bucket}/a?${at}`, { token: null })).status).toBe(404)
    expect(await (await ask('GET', `/object/authenticated/${bucket}/a?${at}`)).text()).toBe('one')
  })

  it('does not tell of what was in the trash at that moment, though it has come out since', async () => {
    await put('a', 'one')
    await remove('a')
    const between = await moment()
    await put('a', 'two')
    const later = await moment()
    await remove('a')
    const { items } = await json<{ items: { version: string }[] }>('GET', `/trash?bucket=${bucket}`)
    await json('POST', '/trash/restore', { body: { ids: [items[0]?.version] } }) // the first of the two
    expect(await contents()).toEqual({ a: 'one' })
    expect((await ask('GET', `/object/${bucket}/a?at=${encodeURIComponent(between)}`)).status).toBe(404)
    expect(await (await ask('GET', `/object/${bucket}/a?at=${encodeURIComponent(later)}`)).text()).toBe('two')
  })

  it('leaves alone what was moved there, which the trash does not know', async () => {
    await put('a', 'one')
    const before = await moment()
    await json('POST', '/object/move', {
      body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' },
    })
    expect(await restore(before)).toMatchObject({ deleted: 0, restored: 0, unavailable: 1 })
    expect(await contents()).toEqual({ b: 'one' })
  })
})

describe('a caller, in a bucket with a trash', () => {
  it('replaces nothing that he may not delete', async () => {
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'SUSPENDED', trash_days: 7 } })
    for (const name of ['mine/a', 'kept/a']) await put(name, 'one')
    const before = await moment()
    for (const name of ['mine/a', 'kept/a']) {
      await remove(name)
      await put(name, 'two')
    }
    const token = await server.token(randomUUID())
    await withPolicies(
      server.admin,
      `create policy sees on storage.objects for select to authenticated using (true);
       create policy writes on storage.objects for insert to authenticated with check (true);
       create policy changes on storage.objects for update to authenticated using (true);
       create policy deletes on storage.objects for delete to authenticated using (name like 'mine/%')`,
      async () => {
        expect((await restore(before, {}, { token })).sample).toEqual([
          { name: 'kept/a', outcome: 'unavailable', reason: 'KeptByRule' },
          { name: 'mine/a', outcome: 'restored', reason: null },
        ])
      },
    )
    expect(await contents()).toEqual({ 'kept/a': 'two', 'mine/a': 'one' })
  })
})

describe('a bucket with suspended versions', () => {
  it('loses nothing by it: what nothing would keep stays', async () => {
    await put('a', 'one')
    const before = await moment()
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'SUSPENDED' } })
    await put('a', 'null version')
    const done = await restore(before)
    expect(done.sample).toEqual([{ name: 'a', outcome: 'unavailable', reason: 'would_be_lost' }])
    await server.admin`update storage.buckets set trash_days = 7 where id = ${bucket}`
    const after = await moment()
    expect(await restore(before)).toMatchObject({ restored: 1 })
    expect(await contents()).toEqual({ a: 'one' })
    expect(await contentsAt(after)).toEqual({ a: 'null version' })
  })
})

describe('a caller', () => {
  it('touches what he sees, and hears what he may not write', async () => {
    const me = randomUUID()
    const token = await server.token(me)
    for (const name of ['mine/a', 'read/a', 'hidden/a']) await put(name, 'one')
    const before = await moment()
    for (const name of ['mine/a', 'read/a', 'hidden/a']) await put(name, 'two')
    await remove('read/a')
    await withPolicies(
      server.admin,
      `create policy sees on storage.objects for select to authenticated using (name not like 'hidden/%');
       create policy writes on storage.objects for insert to authenticated with check (name like 'mine/%');
       create policy changes on storage.objects for update to authenticated using (name like 'mine/%')`,
      async () => {
        const done = await restore(before, {}, { token })
        expect(done).toMatchObject({ restored: 1, deleted: 0, unchanged: 0, unavailable: 1 })
        expect(done.sample).toEqual([
          { name: 'read/a', outcome: 'unavailable', reason: 'AccessDenied' },
          { name: 'mine/a', outcome: 'restored', reason: null },
        ])
        const list = await json<{ objects: { name: string }[] }>('POST', `/object/list-v2/${bucket}`, {
          token,
          body: { at: before },
        })
        expect(list.objects.map(({ name }) => name)).toEqual(['mine/a', 'read/a'])
      },
    )
    expect(await contents()).toEqual({ 'mine/a': 'one', 'hidden/a': 'two' })
  })
})

describe('a request', () => {
  it.each([
    [{ at: 'yesterday' }, 'must be a time'],
    [{ at: '2999-01-01T00:00Z' }, 'must not be in the future'],
    [{ at: '0000-01-01T00:00:00Z' }, 'must be after 1970'],
    [{ at: '+275760-09-13T00:00Z' }, 'must be a time'],
    [{ at: '2026-02-30T10:00Z' }, 'must be a time'],
    [{ at: '2026-11-20T10:00+24:00' }, 'must be a time'],
    [{ at: '2026-11-20' }, 'must be a time'],
    [{ at: `2026-11-20T10:00:00.${'0'.repeat(5000)}x` }, 'must be a time'],
    [{ at: 1_700_000_000_000 }, 'must be a string'],
    [{ at: null }, 'at'],
    [{ at: '2026-11-20T10:00Z', prefix: 'x'.repeat(4097) }, 'is too long'],
    [{ at: '2026-11-20T10:00Z', to: '\u{10ffff}'.repeat(4097) }, 'is too long'],
    [{}, 'at'],
    [{ at: '2026-11-20T10:00Z', limit: 1001 }, 'limit'],
    [{ at: '2026-11-20T10:00Z', path: 'a' }, 'must not have the field path'],
    [{ at: '2026-11-20T10:00Z', cursor: 'bm9uc2Vuc2U' }, 'The cursor is not valid'],
  ])('is refused that has %j', async (body, said) => {
    expect(await refused(body)).toMatchObject({ status: 400, message: expect.stringContaining(said) })
  })

  it('is refused with a cursor of a list', async () => {
    await put('a', 'one')
    await put('b', 'one')
    const list = await json('POST', `/object/list-v2/${bucket}`, { body: { limit: 1 } })
    expect(await refused({ at: await moment(), cursor: list.nextCursor })).toMatchObject({
      status: 400,
      code: 'InvalidParameter',
    })
  })

  it('is refused for a bucket that is not there, and for one that keeps nothing', async () => {
    const at = await moment()
    expect(await refused({ at, bucket: 'nowhere' })).toMatchObject({ code: 'NoSuchBucket' })
    const plain = `b-${randomUUID()}`
    await server.createBucket(plain)
    expect(await refused({ at, bucket: plain })).toMatchObject({ status: 409, code: 'FeatureNotEnabled' })
  })

  it('takes a time without seconds, in any zone', async () => {
    expect(await restore('2026-01-20T10:00Z')).toMatchObject({ restored: 0, next: null })
    expect(await restore('2026-01-20T12:00:00.5+02:00')).toMatchObject({ restored: 0 })
  })
})

describe('a read', () => {
  it('tells of what was there, by HEAD and info, too', async () => {
    await put('a', 'one')
    const before = await moment()
    await put('a', 'longer')
    const query = `at=${encodeURIComponent(before)}`
    const head = await ask('HEAD', `/object/authenticated/${bucket}/a?${query}`)
    expect(head.headers.get('content-length')).toBe('3')
    expect(await json('GET', `/object/info/${bucket}/a?${query}`)).toMatchObject({ size: 3 })
    expect((await ask('GET', `/object/${bucket}/a?at=2026-01-01T00:00Z`)).status).toBe(404)
    for (const at of ['nonsense', '', '2999-01-01T00:00Z', '0001-01-01T00:00Z', '2026-13-01T00:00Z', '%00']) {
      const answer = await ask('GET', `/object/${bucket}/a?at=${at}`)
      expect([at, answer.status, await answer.json()]).toMatchObject([at, 400, { code: 'InvalidRequest' }])
    }
  })

  it('has nothing of before its bucket was there', async () => {
    await put('a', 'one')
    const at = '1970-01-01T00:00Z'
    expect(await json('POST', `/object/list-v2/${bucket}`, { body: { at } })).toMatchObject({ objects: [] })
    const answer = await ask('GET', `/object/${bucket}/a?at=${at}`)
    expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'NoSuchVersion' }])
    expect(await restore(at, { dry_run: true })).toMatchObject({ restored: 0, unavailable: 1 })
  })

  it('knows no time under STORAGE_COMPAT=supabase', async () => {
    const supabase = await server.beside({ STORAGE_COMPAT: 'supabase' })
    try {
      await put('a', 'one')
      const answer = await supabase.request('GET', `/storage/v1/object/${bucket}/a?at=nonsense`)
      expect(await answer.text()).toBe('one')
    } finally {
      await supabase.close()
    }
  })
})
