import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'

/** Lists of what is so and so (docs/filters.md): what they are asked, and what they tell. */

const BOX = 'box'
const OTHER = 'other'

let server: TestServer
let compat: Served
let ann: string
let annsToken: string
beforeAll(async () => {
  server = await startTestServer()
  compat = await server.beside({ STORAGE_COMPAT: 'supabase' })
  ann = randomUUID()
  annsToken = await server.token(ann)
  await server.createBucket(BOX)
  await server.createBucket(OTHER)
  await server.admin.unsafe(`
    create policy own on storage.objects for all to authenticated using (owner_id = auth.jwt() ->> 'sub')`)
  const put = async (token: string | undefined, path: string, headers: Record<string, string>) => {
    const answer = await server.request('POST', `/storage/v1/object/${path}`, {
      ...(token !== undefined && { token }),
      headers: { 'content-type': 'text/plain', ...headers },
      body: 'hello',
    })
    expect(answer.ok, await answer.text()).toBe(true)
  }
  const metadata = Buffer.from('{"case": 7}').toString('base64')
  await put(annsToken, `${BOX}/b.txt`, { 'x-tags': 'red, blue', 'x-metadata': metadata })
  await put(annsToken, `${BOX}/a.png`, { 'x-tags': 'red', 'content-type': 'image/png' })
  await put(annsToken, `${OTHER}/c%25_.txt`, { 'x-tags': 'blue' })
  await put(undefined, `${BOX}/hidden.txt`, { 'x-tags': 'red', 'x-metadata': metadata })
})
afterAll(async () => {
  await compat.close()
  await server.close()
})

/** @param token null is the service's */
async function ask(path: string, body: object, of: Served = server, token: string | null = annsToken) {
  const answer = await of.request('POST', `/storage/v1/object/list-v2${path}`, {
    ...(token !== null && { token }),
    body,
  })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

const namesOf = (body: Record<string, unknown>) =>
  (body.objects as { name: string }[]).map(({ name }) => name)

describe.each([
  ['as here', () => server],
  ['under STORAGE_COMPAT=supabase', () => compat],
])('%s', (_, of) => {
  it.each([
    [{ tags: ['red'] }, ['a.png', 'b.txt']],
    [{ tags: 'blue' }, ['b.txt']],
    [{ any_tags: ['blue', 'green'] }, ['b.txt']],
    [{ metadata: { case: 7 } }, ['b.txt']],
    [{ content_type: 'image/*' }, ['a.png']],
    [{ mime_type: 'text/plain' }, ['b.txt']],
    [{ asset_type: 'document' }, ['b.txt']],
    [{ search: '.PNG' }, ['a.png']],
    [{ search: '_' }, []],
    [{ status: 'available', min_size: '5', max_size: 5 }, ['a.png', 'b.txt']],
    [{ status: 'archived' }, []],
    [{ storage_class: 'GLACIER' }, []],
    [{ storage_class: 'STANDARD', access_level: 'private' }, ['a.png', 'b.txt']],
    [
      { created_after: '2020-01-01T00:00:00Z', created_before: '2999-01-01T00:00:00+01:00' },
      ['a.png', 'b.txt'],
    ],
    [{ created_after: '2999-01-01T00:00:00Z' }, []],
    [{}, ['a.png', 'b.txt']],
  ])('%j shows what is so, and of that what one sees', async (filter, names) => {
    const { body } = await ask(`/${BOX}`, { filter }, of())
    expect([namesOf(body), body.hasNext, body.folders]).toEqual([names, false, []])
  })

  it('without what is new, the answer is as ever', async () => {
    const plain = await ask(`/${BOX}`, {}, of())
    const filtered = await ask(`/${BOX}`, { filter: {} }, of())
    expect(filtered).toEqual(plain)
  })
})

it('all buckets are one list, by bucket and name', async () => {
  const { body } = await ask('', { filter: { owner_id: ann } })
  expect(body.objects).toMatchObject([
    { bucket: BOX, bucket_id: BOX, name: 'a.png' },
    { bucket: BOX, name: 'b.txt' },
    { bucket: OTHER, name: 'c%_.txt' },
  ])
  expect(namesOf((await ask('', { filter: { search: '%_' } })).body)).toEqual(['c%_.txt'])
  expect(namesOf((await ask('', {}, server, null)).body)).toContain('hidden.txt')
})

it('the newest of one’s own come first, page by page', async () => {
  const shown: string[] = []
  const sortBy = { column: 'created_at', order: 'desc' }
  for (let cursor: unknown; ; ) {
    const { body } = await ask('', { filter: { user_id: ann }, sortBy, limit: 1, cursor })
    shown.push(...namesOf(body))
    cursor = body.nextCursor
    if (!body.hasNext) break
  }
  expect(shown).toEqual(['c%_.txt', 'a.png', 'b.txt'])
})

it('an offset passes over what one would see, on the first page alone', async () => {
  const first = await ask(`/${BOX}`, { offset: 1, limit: 1 })
  expect([namesOf(first.body), first.body.hasNext]).toEqual([['b.txt'], false])
  const page = await ask('', { offset: 1, limit: 1, filter: { owner_id: ann } })
  expect(page.body).toMatchObject({ hasNext: true, nextCursorKey: 'b.txt' })
  const next = await ask('', { offset: 1, cursor: page.body.nextCursor, filter: { owner_id: ann } })
  expect(namesOf(next.body)).toEqual(['c%_.txt'])
})

it('tells what is asked for besides, and links that work', async () => {
  const include = ['tags', 'metadata', 'status']
  const { body } = await ask(`/${BOX}`, { filter: { search: 'b.t' }, include, download_urls: 60 })
  expect(body.objects).toMatchObject([
    { tags: ['red', 'blue'], user_metadata: { case: 7 }, status: 'available', metadata: { size: 5 } },
  ])
  const [{ download_url: url, download_url_expires_at: until } = {}] = body.objects as Record<
    string,
    string
  >[]
  expect(Date.parse(String(until))).toBeGreaterThan(Date.now())
  const { pathname, search } = new URL(String(url))
  const answer = await server.request('GET', pathname + search, { token: null })
  expect([answer.status, await answer.text()]).toEqual([200, 'hello'])
})

it('a cursor says no name, and only one of ours is one', async () => {
  const { body } = await ask(`/${BOX}`, { filter: { tags: ['red'] }, limit: 1 })
  const cursor = String(body.nextCursor)
  expect(Buffer.from(cursor.split('.').at(-1) ?? '', 'base64url').toString()).not.toContain('a.png')
  const at20 = cursor.at(20) === 'A' ? 'B' : 'A'
  const { body: plain } = await ask(`/${BOX}`, { limit: 1 })
  for (const forged of ['nonsense', `${cursor.slice(0, 20)}${at20}${cursor.slice(21)}`, plain.nextCursor]) {
    expect(await ask(`/${BOX}`, { filter: {}, cursor: forged })).toMatchObject({
      status: 400,
      body: { code: 'InvalidParameter' },
    })
  }
  expect((await ask(`/${BOX}`, { cursor })).status).toBe(400)
})

const many = (length: number) => Array.from({ length }, (_, n) => `t${n}`)

it.each([
  [{ filter: { tag: ['a'] } }, 'body/filter must not have the field tag: did you mean tags?'],
  [{ filter: { tags: many(51) } }, 'body/filter/tags is no list of tags: An object may have at most 50 tags'],
  [
    { filter: { any_tags: ['x'.repeat(129)] } },
    'body/filter/any_tags is no list of tags: A tag has 1 to 128',
  ],
  [{ filter: { any_tags: [] } }, 'body/filter/any_tags must name a tag'],
  [{ filter: { tags: [7] } }, 'must be a string'],
  [{ filter: { search: 'x'.repeat(256) } }, 'body/filter/search is too long'],
  [{ filter: { search: 'a\0b' } }, 'body/filter/search must have no control characters'],
  [{ filter: { search: '' } }, 'body/filter/search must not be empty'],
  [{ filter: { metadata: { a: '\0' } } }, 'body/filter/metadata must hold no text with a NUL in it'],
  [{ filter: { metadata: { a: 'x'.repeat(20_000) } } }, 'body/filter/metadata is too long'],
  [{ filter: { metadata: [1] } }, 'body/filter/metadata must be an object'],
  [{ filter: { content_type: "image/%'" } }, 'body/filter/content_type must be a type such as image/png'],
  [{ filter: { content_type: 'a/b', mime_type: 'a/c' } }, 'content_type and mime_type are the same'],
  [{ filter: { asset_type: 'sound' } }, 'body/filter/asset_type must be one of image, document'],
  [{ filter: { access_level: 'open' } }, 'body/filter/access_level must be one of private'],
  [{ filter: { storage_class: 'COLD' } }, 'body/filter/storage_class must be one of STANDARD'],
  [{ filter: { status: 'gone' } }, 'body/filter/status must be one of available'],
  [{ filter: { status: 'deleted' } }, 'What is deleted is listed by GET /trash'],
  [{ filter: { created_after: 'yesterday' } }, 'body/filter/created_after must be a time such as'],
  [{ filter: { min_size: -1 } }, 'body/filter/min_size must be at least 0'],
  [{ filter: { min_size: 1.5 } }, 'body/filter/min_size must be a whole number of bytes'],
  [{ filter: { owner_id: '' } }, 'body/filter/owner_id must not be empty'],
  [{ offset: 100_001 }, 'body/offset must be at most 100000'],
  [{ include: ['secrets'] }, 'must be of tags, metadata, status'],
  [{ download_urls: 0 }, 'body/download_urls must be at least 1 second'],
  [{ download_urls: 1e12 }, ''],
  [{ filter: {}, with_delimiter: true }, 'go without folders, versions and times'],
  [{ filter: {}, noncurrentVersions: 'include' }, 'go without folders, versions and times'],
])('%j is refused, and says why', async (sent, message) => {
  const { status, body } = await ask(`/${BOX}`, sent)
  expect([status, body.message]).toEqual([400, expect.stringContaining(message)])
})

it('over all buckets there is no order by time without an owner or an organisation', async () => {
  for (const body of [
    { sortBy: { column: 'created_at' } },
    { sortBy: { column: 'updated_at' }, filter: { owner_id: ann } },
    { sortBy: { column: 'created_at' }, filter: { tags: ['red'] } },
  ]) {
    expect(await ask('', body)).toMatchObject({ status: 400, body: { code: 'InvalidParameter' } })
  }
})

it('who has no token sees nothing of it', async () => {
  const answer = await server.request('POST', '/storage/v1/object/list-v2', { token: null, body: {} })
  expect(answer.status).toBe(401)
})
