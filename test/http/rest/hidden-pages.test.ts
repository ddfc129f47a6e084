import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'

/*
 * Who sees little of a large bucket gets each page of what was there all the same: a page looks at so many rows and no more, and its
 * cursor goes on (docs/versions.md).
 */

/** More than one page looks at. */
const HIDDEN = 2100

const BUCKET = 'large'
const TRASH = 'large-trash'
const OWN = [`dir/0${HIDDEN}-own`, 'own/a', 'own/b']

let server: TestServer
let subject: string
let token: string
let at: string
beforeAll(async () => {
  server = await startTestServer()
  subject = randomUUID()
  token = await server.token(subject)
  await server.createBucket(BUCKET, { versioning_status: 'ENABLED' })
  await server.createBucket(TRASH, { trash_days: 7 })
  // By SQL, without bytes: one's own, which is deleted then, and behind all that others had in one folder, as if it had been.
  for (const bucket of [BUCKET, TRASH]) {
    await server.admin`
      insert into storage.objects (bucket_id, name, version, owner_id, metadata)
      select ${bucket}, unnest(${OWN}::text[]), gen_random_uuid(), ${subject}, '{"size": 1}'`
  }
  const [row] = await server.admin`
    select pg_sleep(0.002), to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`
  at = row?.at
  await server.admin`delete from storage.objects`
  await server.admin.begin(async (tx) => {
    await tx`set local session_replication_role = replica` // no trigger: an event of each would take a minute
    await tx`
      insert into storage.object_versions (
        kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned, size, owner_id, valid_from,
        archived_at, purge_at, object_row)
      select case when b.id = ${TRASH} then 'trash' else 'version' end, b.id, 'dir/' || lpad(i::text, 5, '0'), gen_random_uuid(),
        gen_random_uuid(), b.uid, 1, b.id <> ${TRASH}, 1, 'others', ${at}::timestamptz - interval '1 hour', now(),
        now() + interval '1 day', '{"metadata": {"size": 1}}'
      from generate_series(1, ${HIDDEN}::int) i, storage.buckets b where b.id in (${BUCKET}, ${TRASH})`
  })
  await server.admin.unsafe(`
    create policy own on storage.objects for select to authenticated using (owner_id = auth.jwt() ->> 'sub');
    create policy made on storage.objects for insert to authenticated with check (owner_id = auth.jwt() ->> 'sub')`)
})
afterAll(() => server.close())

type Page = Record<string, unknown>

async function json(method: string, path: string, body?: object): Promise<Page> {
  const answer = await server.request(method, `/storage/v1${path}`, { token, ...(body && { body }) })
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  return JSON.parse(text)
}

/** All pages, from the first one on. */
async function pages(ask: (cursor: string | undefined) => Promise<Page>, next: string): Promise<Page[]> {
  const found: Page[] = []
  for (let cursor: unknown; ; ) {
    const page = await ask(cursor === undefined ? undefined : String(cursor))
    found.push(page)
    cursor = page[next] ?? null
    if (cursor === null) return found
  }
}

const listed = (body: object) =>
  pages((cursor) => json('POST', `/object/list-v2/${BUCKET}`, { ...body, cursor }), 'nextCursor')

const names = (found: Page[], of: 'objects' | 'folders') =>
  found.flatMap((page) => (page[of] as { name: string }[]).map(({ name }) => name))

/** What a cursor says to whoever has it. */
const readable = (cursor: unknown) =>
  String(cursor)
    .split('.')
    .map((part) => Buffer.from(part, 'base64url').toString())
    .join()

describe.each([
  ['a time', () => ({ at }), OWN],
  ['all versions', () => ({ noncurrentVersions: 'include', deleteMarkers: 'exclude' }), OWN],
])('a list of %s', (_, which, own) => {
  it('comes to what is one’s own behind what is hidden, page by page', async () => {
    const found = await listed(which())
    expect(found[0]).toEqual({ hasNext: true, nextCursor: expect.any(String), folders: [], objects: [] })
    expect(names(found, 'objects')).toEqual(own)
    expect(readable(found[0]?.nextCursor)).not.toContain('dir')
  })

  it('has a folder of which only the last object is seen', async () => {
    const found = await listed({ ...which(), with_delimiter: true })
    expect(found.length).toBeGreaterThan(1)
    expect(names(found, 'folders')).toEqual(['dir/', 'own/'])
  })

  it('tells the last name of a page where it shows any', async () => {
    const [first] = await listed({ ...which(), limit: 2, prefix: 'own/' })
    expect(first).toMatchObject({ hasNext: false })
    const [page] = await listed({ ...which(), limit: 1, prefix: 'own/' })
    expect(page).toMatchObject({ hasNext: true, nextCursorKey: 'own/a' })
  })
})

it('no cursor of such a page is of one’s own making, or of another list', async () => {
  const { nextCursor } = await json('POST', `/object/list-v2/${BUCKET}`, { at })
  const { next } = await json('POST', '/versions/restore', { bucket: BUCKET, prefix: '', at, dry_run: true })
  const cursor = String(nextCursor)
  const at20 = cursor.at(20) === 'A' ? 'B' : 'A'
  for (const [path, body] of [
    [`/object/list-v2/${BUCKET}`, { at, cursor: cursor.slice(0, 20) + at20 + cursor.slice(21) }],
    [`/object/list-v2/${BUCKET}`, { at, cursor: next }],
    ['/versions/restore', { bucket: BUCKET, prefix: '', at, cursor }],
  ] as const) {
    const answer = await server.request('POST', `/storage/v1${path}`, { token, body })
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'InvalidParameter' }])
  }
})

it.each([undefined, 'was/'])('a restore to %s comes to what is one’s own, call by call', async (to) => {
  const body = { bucket: BUCKET, prefix: '', at, to, dry_run: true }
  const found = await pages((cursor) => json('POST', '/versions/restore', { ...body, cursor }), 'next')
  expect(found[0]).toMatchObject({ restored: 0, unavailable: 0, sample: [] })
  expect(readable(found[0]?.next)).not.toContain('dir')
  expect(found.map(({ restored }) => restored)).toContain(OWN.length)
  expect(found.flatMap(({ sample }) => (sample as { name: string }[]).map(({ name }) => name))).toEqual(OWN)
})

it('the trash comes to what is one’s own', async () => {
  const found = await pages(
    (cursor) => json('GET', `/trash?bucket=${TRASH}${cursor === undefined ? '' : `&cursor=${cursor}`}`),
    'next',
  )
  expect(found[0]).toMatchObject({ items: [], next: expect.any(String) })
  expect(found.flatMap(({ items }) => (items as { path: string }[]).map(({ path }) => path))).toEqual(OWN)
})

describe('where the policies are asked about each row, each of which counts as five,', () => {
  beforeAll(() =>
    server.admin.unsafe(`
      create function public.is_known(name text) returns boolean language sql stable as $$ select name <> '' $$;
      create policy known on storage.objects for select to authenticated using (public.is_known(name))`),
  )

  const asked = { prefix: 'dir/00' }

  it.each([
    ['a list of a time', () => listed({ ...asked, at })],
    ['a list of all versions', () => listed({ ...asked, noncurrentVersions: 'include' })],
  ])('%s leaves out nothing that is seen', async (_, list) => {
    const found = await list()
    expect(found.length).toBeGreaterThan(1)
    expect([names(found, 'objects').length, new Set(names(found, 'objects')).size]).toEqual([999, 999])
  })

  it('a restore leaves out nothing that is seen', async () => {
    const body = { bucket: BUCKET, at, dry_run: true, ...asked }
    const found = await pages((cursor) => json('POST', '/versions/restore', { ...body, cursor }), 'next')
    expect(found.length).toBeGreaterThan(1)
    expect(found.reduce((sum, { restored }) => sum + Number(restored), 0)).toBe(999)
  })

  it('the trash leaves out nothing that is seen', async () => {
    const query = new URLSearchParams({ bucket: TRASH, limit: '1000', ...asked })
    const found = await pages(
      (cursor) => json('GET', `/trash?${query}${cursor === undefined ? '' : `&cursor=${cursor}`}`),
      'next',
    )
    expect(found.length).toBeGreaterThan(1)
    const paths = found.flatMap(({ items }) => (items as { path: string }[]).map(({ path }) => path))
    expect([paths.length, new Set(paths).size]).toEqual([999, 999])
  })
})
