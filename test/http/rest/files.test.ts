import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** What an object says of itself, read and changed, by its name and by its id (docs/attributes.md). */

let server: TestServer
let compat: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  compat = await startTestServer({ STORAGE_COMPAT: 'supabase' })
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
})
afterAll(async () => {
  await compat.close()
  await server.close()
})

type Init = Parameters<TestServer['request']>[2]
type Json = Record<string, unknown>

const json = async (answer: Response) => (await answer.json()) as Json
const ask = (method: string, path: string, init?: Init) => server.request(method, `/storage/v1/${path}`, init)

async function put(name = 'a.txt', init: Init = {}): Promise<string> {
  const answer = await ask('POST', `object/${bucket}/${name}`, { body: 'hello', ...init })
  expect(answer.status).toBe(201)
  return String((await json(answer)).id)
}

const events = async () =>
  (
    await server.admin`select type, operation from storage.events where bucket_id = ${bucket} and name is not null order by id`
  ).map(({ type, operation }) => [type, operation])

describe.each([
  ['by its name', () => `object/${bucket}/dir/a.txt`],
  ['by its id', (id: string) => `file/${id}`],
])('PATCH %s', (_, pathOf) => {
  let path: string
  beforeEach(async () => {
    const headers = {
      'x-metadata': Buffer.from('{"a":1,"b":{"c":2}}').toString('base64'),
      'x-tags': 'old',
      'content-type': 'text/plain',
    }
    path = pathOf(await put('dir/a.txt', { headers }))
  })
  const change = (body: Json, init: Init = {}) => ask('PATCH', path, { body, ...init })

  it('changes what is said, all of it at once, in one event, and leaves the rest and the version', async () => {
    const before = await json(await ask('GET', `object/info/${bucket}/dir/a.txt`))
    const said = {
      tags: [' x ', 'y', 'x'],
      metadata_merge: { a: null, d: [1] },
      file_name: 'Ä.txt',
      access_level: 'shared',
      asset_type: 'map',
      enable_indexing: false,
      content_type: 'text/markdown',
      cache_control: '60',
      auto_delete_after_days: 3,
    }
    const answer = await change(said)
    expect(answer.status, await answer.clone().text()).toBe(200)
    const told = {
      tags: ['x', 'y'],
      metadata: { b: { c: 2 }, d: [1] },
      file_name: 'Ä.txt',
      access_level: 'shared',
      asset_type: 'map',
      enable_indexing: false,
      content_type: 'text/markdown',
      auto_delete_after_days: 3,
    }
    expect(await json(answer)).toMatchObject({ ...told, id: before.id, path: 'dir/a.txt', size: 5 })
    const after = await json(await ask('GET', `object/info/${bucket}/dir/a.txt`))
    expect(after).toMatchObject({ ...told, version: before.version, cache_control: 'max-age=60' })
    expect((await events()).slice(1)).toEqual([['storage.object.updated', 'storage.object.update']])

    const cleared = await change({ tags: [], metadata: null, file_name: null, asset_type: null })
    expect(await json(cleared)).toMatchObject({
      tags: [],
      metadata: null,
      file_name: 'a.txt',
      asset_type: 'document',
      access_level: 'shared',
    })
    const read = await ask('GET', `object/${bucket}/dir/a.txt`)
    expect([read.headers.get('content-type'), await read.text()]).toEqual(['text/markdown', 'hello'])
  })

  it.each([
    [{ tags: ['a,b', ''] }, 400, 'InvalidTags'],
    [{ tags: Array.from({ length: 51 }, (_, n) => `${n}`) }, 400, 'InvalidTags'],
    [{ file_name: 'a\nb' }, 400, 'InvalidRequest'],
    [{ access_level: 'public' }, 403, 'ObjectAclsDisabled'],
    [{ access_level: 'x' }, 400, 'InvalidRequest'],
    [{ asset_type: 'x' }, 400, 'InvalidRequest'],
    [{ content_type: 'x' }, 415, 'InvalidMimeType'],
    [{ auto_delete_after_days: 0 }, 400, 'InvalidRequest'],
    [{ metadata: {}, metadata_merge: {} }, 400, 'InvalidRequest'],
    [{ metadata: { a: '\u0000' } }, 400, 'InvalidRequest'],
    [{ metadata: [] }, 400, 'InvalidRequest'],
    [{ organization_id: 'x' }, 400, 'InvalidRequest'],
    [{ storage_class: 'GLACIER' }, 400, 'InvalidRequest'],
    [{}, 400, 'InvalidRequest'],
  ])('refuses %j', async (body, status, code) => {
    const answer = await change(body)
    expect([answer.status, (await json(answer)).code]).toEqual([status, code])
    expect((await events()).length).toBe(1)
  })

  it('takes no type that its bucket does not take', async () => {
    await ask('PUT', `bucket/${bucket}`, { body: { allowed_mime_types: ['text/*'] } })
    expect((await change({ content_type: 'image/png' })).status).toBe(415)
    expect((await change({ content_type: 'text/csv' })).status).toBe(200)
  })

  it('does not let metadata grow without end, however often something is laid over it', async () => {
    const half = 'x'.repeat(600_000)
    expect((await change({ metadata_merge: { one: half } })).status).toBe(200)
    expect((await change({ metadata_merge: { two: half } })).status).toBe(413)
    expect((await change({ metadata: { two: 'x'.repeat(1_200_000) } })).status).toBe(413)
    const { metadata } = await json(await ask('GET', `object/info/${bucket}/dir/a.txt`))
    expect(Object.keys(metadata as Json)).toEqual(['a', 'b', 'one'])
  })

  it('holds If-Match', async () => {
    const { etag } = await json(await ask('GET', `object/info/${bucket}/dir/a.txt`))
    const under = (ifMatch: unknown) => change({ tags: ['z'] }, { headers: { 'if-match': String(ifMatch) } })
    expect((await under('"other"')).status).toBe(412)
    expect((await under(etag)).status).toBe(200)
  })

  it('is for whom the policies let', async () => {
    const token = await server.token('bob')
    // He reads what others have uploaded, and may not change it.
    const denied = await change({ tags: [] }, { token })
    expect([denied.status, (await json(denied)).code]).toEqual([403, 'AccessDenied'])
    expect((await change({ tags: [] }, { token: null })).status).toBe(401)
    await server.admin`update storage.buckets set policy = 'private' where id = ${bucket}`
    const hidden = await change({ tags: [] }, { token })
    expect([hidden.status, (await json(hidden)).code]).toEqual([404, 'NoSuchKey'])
    const policy = `create policy "untagged" on storage.objects for all to authenticated
      using (bucket_id = '${bucket}') with check (bucket_id = '${bucket}' and tags = '{}')`
    await withPolicies(server.admin, policy, async () => {
      expect((await change({ tags: ['x'] }, { token })).status).toBe(403)
      expect((await change({ tags: [] }, { token })).status).toBe(200)
    })
  })
})

describe('a file by its id', () => {
  it('is told by our names and those of others, wherever it is by now', async () => {
    const id = await put('dir/a.png', { headers: { 'content-type': 'image/png' } })
    const body = { bucketId: bucket, sourceKey: 'dir/a.png', destinationKey: 'b.png' }
    await ask('POST', 'object/move', { body })
    const file = await json(await ask('GET', `file/${id}`))
    expect(file).toMatchObject({
      id,
      file_id: id,
      path: 'b.png',
      file_path: 'b.png',
      bucket,
      bucket_name: bucket,
      size: 5,
      file_size: 5,
      content_type: 'image/png',
      mime_type: 'image/png',
      file_name: 'b.png',
      filename: 'b.png',
      asset_type: 'image',
      owner_id: null,
      user_id: null,
      status: 'available',
    })
    expect([file.content_hash, file.uploaded_at]).toEqual([file.checksum, file.created_at])
  })

  it('is nothing where there is none, or none that may be seen', async () => {
    const id = await put()
    const token = await server.token('bob')
    for (const other of [randomUUID(), 'x', `${id}0`, '%00'])
      expect((await ask('GET', `file/${other}`)).status).toBe(404)
    expect((await ask('GET', `file/${id}`, { token })).status).toBe(200)
    await server.admin`update storage.buckets set policy = 'private' where id = ${bucket}`
    for (const method of ['GET', 'DELETE'])
      expect([method, (await ask(method, `file/${id}`, { token })).status]).toEqual([method, 404])
    expect((await ask('GET', `file/${id}`)).status).toBe(200)
  })

  it('is deleted, under a condition, and as `permanent` says; what has its name by then stays', async () => {
    const id = await put()
    expect((await ask('DELETE', `file/${id}`, { headers: { 'if-match': '"x"' } })).status).toBe(412)
    const told = await ask('DELETE', `file/${id}?permanent=false`)
    expect([told.status, (await json(told)).permanent]).toEqual([200, false])
    const trash = await json(await ask('GET', `trash?bucket=${bucket}`))
    expect(trash.items).toMatchObject([{ id, path: 'a.txt' }])
    const next = await put()
    expect((await ask('DELETE', `file/${id}`)).status).toBe(404)
    expect((await ask('DELETE', `file/${next}`)).status).toBe(204)
    expect((await ask('GET', `file/${next}`)).status).toBe(404)
  })

  it('answers alike where Supabase’s wire is wanted, whose own answers stay as they are', async () => {
    await compat.createBucket(bucket)
    const up = await compat.request('POST', `/storage/v1/object/${bucket}/a.txt`, {
      body: 'hello',
      headers: { 'x-tags': 'x' },
    })
    const stored = await json(up)
    expect(Object.keys(stored).sort()).toEqual(['Id', 'Key'])
    const info = await json(await compat.request('GET', `/storage/v1/object/info/${bucket}/a.txt`))
    expect(Object.keys(info)).not.toContain('tags')
    const file = await json(await compat.request('GET', `/storage/v1/file/${stored.Id}`))
    expect(file).toMatchObject({ id: stored.Id, tags: ['x'], filename: 'a.txt' })
  })
})

describe('/metadata', () => {
  const at = (query = '') => `metadata/${bucket}/a.txt${query}`
  const told = async (query = '', init: Init = {}) => {
    const answer = await ask('GET', at(query), init)
    return [answer.status, await json(answer)]
  }

  it('is read and changed as a whole, and key by key, without a new version', async () => {
    const id = await put()
    expect(await told()).toEqual([200, {}])
    const whole = await ask('PUT', at(), { body: { a: 1, b: { c: [2] } } })
    expect([whole.status, await json(whole)]).toEqual([200, { a: 1, b: { c: [2] } }])
    expect(await told('?key=b')).toEqual([200, { key: 'b', value: { c: [2] } }])
    const one = await ask('PUT', at('?key=%C3%A4%20%22'), { body: { value: 'x' } })
    expect([one.status, await json(one)]).toEqual([200, { a: 1, b: { c: [2] }, 'ä "': 'x' }])
    expect((await ask('DELETE', at('?key=b'))).status).toBe(204)
    expect((await ask('DELETE', at('?key=b'))).status).toBe(204)
    expect((await ask('PUT', at('?key=a'), { body: { value: null } })).status).toBe(200)
    expect(await told()).toEqual([200, { 'ä "': 'x' }])
    expect((await told('?key=b'))[0]).toBe(404)
    expect((await told('?key=toString'))[0]).toBe(404)
    expect((await ask('DELETE', at())).status).toBe(204)
    expect(await told()).toEqual([200, {}])
    expect(await json(await ask('GET', `file/${id}`))).toMatchObject({ id, metadata: null, size: 5 })
    expect(new Set((await events()).slice(1).map(([type]) => type))).toEqual(
      new Set(['storage.object.updated']),
    )
  })

  it.each([
    ['', '[]', {}, 400],
    ['', '{', {}, 400],
    ['?key=a', '{}', {}, 400],
    ['?key=a', '{"value":1,"more":2}', {}, 400],
    ['?key=%00', '{"value":1}', {}, 400],
    ['?key=a', `{"value":${'['.repeat(200)}${']'.repeat(200)}}`, {}, 400],
    ['?key=a', `{"value":"${'x'.repeat(1_200_000)}"}`, {}, 413],
    ['', '{}', { 'if-match': '"other"' }, 412],
  ])('%s refuses what cannot be', async (query, body, headers, status) => {
    await put()
    const type = { 'content-type': 'application/json' }
    expect((await ask('PUT', at(query), { body, headers: { ...type, ...headers } })).status).toBe(status)
    expect(await told()).toEqual([200, {}])
  })

  it('answers alike in both modes, and is for those whom the policies show the object', async () => {
    await compat.createBucket(bucket)
    await compat.request('POST', `/storage/v1/object/${bucket}/a.txt`, { body: 'hello' })
    const answer = await compat.request('PUT', `/storage/v1/metadata/${bucket}/a.txt`, { body: { a: 1 } })
    expect([answer.status, await json(answer)]).toEqual([200, { a: 1 }])
    expect((await ask('GET', at(), { token: null })).status).toBe(401)
    expect((await ask('GET', at(), { token: await server.token('ada') })).status).toBe(404)
  })
})
