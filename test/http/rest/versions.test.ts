import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { type RequestOptions, startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'

/** Versions by REST (docs/versions.md, wire §13.2). */

let server: TestServer
let steps: VersionSteps
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  steps = new VersionSteps(server)
  ;({ ask, json, setStatus, uploaded, texts, history } = steps)
})
beforeEach(async () => {
  bucket = await steps.newBucket()
})
afterAll(() => server.close())

type Init = RequestOptions

let ask: VersionSteps['ask']
let json: VersionSteps['json']
let setStatus: VersionSteps['setStatus']
let uploaded: VersionSteps['uploaded']
let texts: VersionSteps['texts']
let history: VersionSteps['history']

describe('a version', () => {
  it('is read by its id and by its number, whatever has come since', async () => {
    const versions = await uploaded('a', 'one', 'two', 'three')
    expect(await texts('a', versions)).toEqual(['one', 'two', 'three'])
    expect(await (await ask('GET', `/object/${bucket}/a?version=2`)).text()).toBe('two')
    const head = await ask('HEAD', `/object/authenticated/${bucket}/a?versionId=${versions[0]}`)
    expect(head.headers.get('content-length')).toBe('3')
    expect(await json('GET', `/object/info/${bucket}/a?versionId=${versions[0]}`)).toMatchObject({
      version: versions[0],
      size: 3,
      archived_at: expect.any(String),
      is_versioned: true,
      is_delete_marker: false,
    })
    expect(await json('GET', `/object/info/${bucket}/a?version=3`)).toMatchObject({
      version: versions[2],
      archived_at: null,
    })
  })

  it.each(['versionId=nonsense', `versionId=${randomUUID()}`, 'version=7'])(
    'is not there by %s',
    async (query) => {
      await uploaded('a', 'one')
      const answer = await ask('GET', `/object/${bucket}/a?${query}`)
      expect(answer.status).toBe(404)
      expect(await answer.json()).toMatchObject({ code: 'NoSuchVersion' })
    },
  )

  it('is the same where the parameter is escaped', async () => {
    const [first] = await steps.uploaded('a', 'one', 'two')
    const answer = await steps.ask('GET', `/object/${steps.bucket}/a?download=&%76ersionId=${first}`)
    expect(await answer.text()).toBe('one')
    const byNumber = await steps.ask('GET', `/object/${steps.bucket}/a?%56ersion=1&v%65rsion=1`)
    expect(await byNumber.text()).toBe('one')
  })

  it('is no number that is none', async () => {
    await uploaded('a', 'one')
    expect((await ask('GET', `/object/${bucket}/a?version=x`)).status).toBe(400)
  })

  it('has no number under STORAGE_COMPAT=supabase', async () => {
    const supabase = await server.beside({ STORAGE_COMPAT: 'supabase' })
    try {
      const [first] = await uploaded('a', 'one', 'two')
      const read = async (query: string) =>
        (await supabase.request('GET', `/storage/v1/object/${bucket}/a?${query}`)).text()
      expect(await read('version=1')).toBe('two')
      expect(await read(`versionId=${first}`)).toBe('one')
    } finally {
      await supabase.close()
    }
  })

  it('of a file is read, too', async () => {
    const [large, small] = ['x'.repeat(200_000), 'small']
    const versions = await uploaded('a', large, small)
    expect(await texts('a', versions)).toEqual([large, small])
  })

  it('of a public bucket is anybody’s, and is not what is there now', async () => {
    await json('PUT', `/bucket/${bucket}`, { body: { public: true } })
    const [first] = await uploaded('a', 'one', 'two')
    const path = `/object/public/${bucket}/a`
    const read = async (query = '') => (await ask('GET', `${path}${query}`, { token: null })).text()
    for (let times = 0; times < 3; times++) {
      expect([await read(), await read(`?versionId=${first}`)]).toEqual(['two', 'one'])
    }
  })

  it('can be linked to', async () => {
    const [first] = await uploaded('a', 'one', 'two')
    const signed = await json('POST', `/object/sign/${bucket}/a`, {
      body: { expiresIn: 60, versionId: first },
    })
    const answer = await ask('GET', String(signed.signedURL), { token: null })
    expect(await answer.text()).toBe('one')
    const body = { expiresIn: 60, versionId: randomUUID() }
    expect((await ask('POST', `/object/sign/${bucket}/a`, { body })).status).toBe(404)
  })

  it('comes back by a copy over what is there, as another version', async () => {
    const [first] = await uploaded('a', 'one', 'two')
    const body = { bucketId: bucket, sourceKey: 'a', destinationKey: 'a', sourceVersionId: first }
    await json('POST', '/object/copy', { body, headers: { 'x-upsert': 'true' } })
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('one')
    expect(await history('a')).toEqual(['3', '2', '1'])
  })

  it('is copied to another name, though its own is deleted', async () => {
    const [first] = await uploaded('a', 'one', 'two')
    await ask('DELETE', `/object/${bucket}/a`)
    const copy = (sourceVersionId?: string) =>
      ask('POST', '/object/copy', {
        body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'b', sourceVersionId },
      })
    expect((await copy()).status).toBe(404)
    expect((await copy(first)).status).toBe(200)
    expect(await (await ask('GET', `/object/${bucket}/b`)).text()).toBe('one')
  })
})

describe('who may see a version', () => {
  const mine = `create policy mine on storage.objects for all to authenticated
    using (owner_id = auth.jwt() ->> 'sub') with check (owner_id = auth.jwt() ->> 'sub')`

  it.each([
    ['of an object that is there', false],
    ['of a name that was deleted', true],
  ])('%s: whom the policies let', async (_, isDeleted) => {
    await withPolicies(server.admin, mine, async () => {
      const [owner, other] = [await server.token('owner'), await server.token('other')]
      const path = `/object/${bucket}/a`
      for (const body of ['one', 'two']) await json('PUT', path, { body, token: owner })
      const versions = (
        await server.admin`select version from storage.object_versions where bucket_id = ${bucket}`
      ).map(({ version }) => version)
      if (isDeleted) expect((await ask('DELETE', path, { token: owner })).status).toBe(204)
      expect(await texts('a', versions, { token: owner })).toEqual(['one'])
      expect(await texts('a', versions, { token: other })).toEqual([404])
      expect((await ask('DELETE', `${path}?versionId=${versions[0]}`, { token: other })).status).toBe(404)
      expect(await texts('a', versions, { token: owner })).toEqual(['one'])
      expect((await ask('DELETE', `${path}?versionId=${versions[0]}`, { token: owner })).status).toBe(204)
      expect(await texts('a', versions, { token: owner })).toEqual([404])
      const rows = await server.admin`select type from storage.events where bucket_id = ${bucket}`
      expect(rows.filter(({ type }) => type === 'storage.object.created')).toHaveLength(1)
    })
  })

  it('is not who may delete it', async () => {
    const seen = 'create policy seen on storage.objects for select to authenticated using (true)'
    await withPolicies(server.admin, seen, async () => {
      const versions = await uploaded('a', 'one', 'two')
      const token = await server.token('other')
      expect(await texts('a', versions, { token })).toEqual(['one', 'two'])
      for (const version of versions) {
        const path = `/object/${bucket}/a?versionId=${version}`
        expect((await ask('DELETE', path, { token })).status).toBe(403)
      }
      const prefixes = [{ path: 'a', versionId: versions[0] }, 'a', 'never-there']
      expect(await json('DELETE', `/object/${bucket}`, { body: { prefixes }, token })).toEqual([])
      expect(await history('a')).toEqual(['2', '1'])
    })
  })
})

describe('a delete', () => {
  it('leaves a marker, over which an upload needs no upsert', async () => {
    const versions = await uploaded('a', 'one')
    expect((await ask('DELETE', `/object/${bucket}/a`)).status).toBe(204)
    expect((await ask('GET', `/object/${bucket}/a`)).status).toBe(404)
    expect(await texts('a', versions)).toEqual(['one'])
    expect(await history('a')).toEqual(['marker 2', '1'])
    expect((await ask('POST', `/object/${bucket}/a`, { body: 'two' })).status).toBe(201)
    expect(await history('a')).toEqual(['3', 'marker 2', '1'])
  })

  it('of a name that was never there leaves one, and no second one', async () => {
    const remove = () => ask('DELETE', `/object/${bucket}/never`)
    expect([(await remove()).status, (await remove()).status]).toEqual([204, 204])
    expect(await history('never')).toEqual(['marker 1'])
  })

  it.each([
    [{ path: 'a' }, 'body/prefixes/0/versionId must be a string'],
    [{ versionId: 'a' }, 'body/prefixes/0/path must be a string'],
    [{ path: 'a', versionId: 'a', name: 'a' }, expect.stringContaining('must not have the field name')],
    [7, 'body/prefixes/0 must be a name, or have path and versionId'],
  ])('of many says what is wrong with %j', async (entry, message) => {
    const answer = await steps.ask('DELETE', `/object/${steps.bucket}`, { body: { prefixes: [entry] } })
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'InvalidRequest', message }])
  })

  it('of many tells of the markers', async () => {
    await uploaded('a', 'one')
    const rows = await json('DELETE', `/object/${bucket}`, { body: { prefixes: ['a', 'b', 'c', 'bad/'] } })
    expect(rows).toMatchObject(['a', 'b', 'c'].map((name) => ({ name, is_delete_marker: true })))
    const [marker] = await server.admin`
      select version from storage.object_versions where bucket_id = ${bucket} and name = 'a' and is_delete_marker`
    expect(rows).toMatchObject({ 0: { version: marker?.version } })
  })

  it('leaves none where versions are off', async () => {
    bucket = await steps.newBucket({})
    await uploaded('a', 'one')
    const rows = await json('DELETE', `/object/${bucket}`, { body: { prefixes: ['a', 'b'] } })
    expect(rows).toMatchObject([{ name: 'a' }])
    expect(rows).not.toHaveProperty('0.is_delete_marker')
    expect((await ask('DELETE', `/object/${bucket}/b`)).status).toBe(404)
    expect(await history('a')).toEqual([])
  })

  it.each([
    [['one', 'two', 'three'], 0, ['3', '2'], 'three'],
    [['one', 'two', 'three'], 1, ['3', '1'], 'three'],
    [['one', 'two', 'three'], 2, ['2', '1'], 'two'],
    [['one'], 0, [], 404],
  ])('of a version, of %j the one at %i, leaves %j', async (bodies, which, left, now) => {
    const before = (await server.storedFiles()).length
    const versions = await uploaded('a', ...bodies)
    expect((await ask('DELETE', `/object/${bucket}/a?versionId=${versions[which]}`)).status).toBe(204)
    expect(await history('a')).toEqual(left)
    const answer = await ask('GET', `/object/${bucket}/a`)
    expect(answer.ok ? await answer.text() : answer.status).toBe(now)
    expect(await texts('a', [versions[which] ?? ''])).toEqual([404])
    expect(await server.storedFiles()).toHaveLength(before + left.length)
  })

  it('of a marker brings back what was there, as it was', async () => {
    await uploaded('a', 'one', 'two')
    const before = await json('GET', `/object/info/${bucket}/a`)
    const [row] = await server.admin`select * from storage.objects where bucket_id = ${bucket}`
    const prefixes = ['a']
    const [gone] = Object.values(await json('DELETE', `/object/${bucket}`, { body: { prefixes } }))
    const marker = String(Object(gone).version)
    expect((await ask('GET', `/object/${bucket}/a?versionId=${marker}`)).status).toBe(404)
    const rows = await json('DELETE', `/object/${bucket}`, {
      body: { prefixes: [{ path: 'a', versionId: marker }] },
    })
    expect(rows).toMatchObject([{ name: 'a', version: marker, is_delete_marker: true }])
    expect(await json('GET', `/object/info/${bucket}/a`)).toEqual(before)
    const [after] = await server.admin`select * from storage.objects where bucket_id = ${bucket}`
    expect(after).toEqual({ ...row, bytes_bucket: after?.bytes_bucket })
    expect(await history('a')).toEqual(['2', '1'])
  })

  it('of the marker below which a null version is the latest, with versions suspended, keeps all others', async () => {
    await uploaded('a', 'one', 'two')
    await setStatus('SUSPENDED')
    await uploaded('a', 'null')
    await setStatus('ENABLED')
    await ask('DELETE', `/object/${bucket}/a`)
    await setStatus('SUSPENDED')
    const [marker] = await server.admin`
      select version from storage.object_versions where bucket_id = ${bucket} and is_delete_marker`
    expect((await ask('DELETE', `/object/${bucket}/a?versionId=${marker?.version}`)).status).toBe(204)
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('null')
    expect(await history('a')).toEqual(['3', '2', '1'])
  })

  it('of a version that is current, with versions suspended, keeps the null version', async () => {
    bucket = await steps.newBucket({})
    await uploaded('a', 'null')
    await setStatus('ENABLED')
    const versions = await uploaded('a', 'one', 'two')
    await setStatus('SUSPENDED')
    await ask('DELETE', `/object/${bucket}/a?versionId=${versions[1]}`)
    expect(await history('a')).toEqual(['2', '1'])
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('one')
  })

  it('at the same moment as others loses nothing else', async () => {
    const versions = await uploaded('a', 'one', 'two', 'three', 'four')
    const answers = await Promise.all(
      versions.slice(1).map((version) => ask('DELETE', `/object/${bucket}/a?versionId=${version}`)),
    )
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204])
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('one')
    expect(await history('a')).toEqual(['1'])
  })
})

describe('uploads at the same moment', () => {
  it('are all versions, numbered without gaps, and one is there', async () => {
    await Promise.all(
      Array.from({ length: 6 }, (_, i) => json('PUT', `/object/${bucket}/a`, { body: `body ${i}` })),
    )
    expect(await history('a')).toEqual(['6', '5', '4', '3', '2', '1'])
    const bodies = await Promise.all(
      [1, 2, 3, 4, 5, 6].map(async (n) => (await ask('GET', `/object/${bucket}/a?version=${n}`)).text()),
    )
    expect(new Set(bodies).size).toBe(6)
  })
})

describe('a list', () => {
  type Row = Record<string, unknown>
  const v1 = async (body: object, init: Init = {}) =>
    Object.values(
      await json('POST', `/object/list/${bucket}`, { body: { prefix: '', ...body }, ...init }),
    ) as Row[]
  const v2 = (body: object) => json('POST', `/object/list-v2/${bucket}`, { body })
  /** Each by its name, the length of what it was, and whether it is what is there now. */
  const brief = (rows: Row[]) =>
    rows.map((row) => {
      if (row.id === null) return `${row.name}/`
      const what = row.is_delete_marker ? 'marker' : Object(row.metadata).size
      return `${row.name} ${what}${row.archived_at === null ? ' now' : ''}`
    })

  beforeEach(async () => {
    await uploaded('a', '1', '22', '333')
    await uploaded('gone', '1')
    await ask('DELETE', `/object/${bucket}/gone`)
    await uploaded('in/deep/x', '1', '22')
    await uploaded('in/y', '1')
    await ask('DELETE', `/object/${bucket}/in/y`)
  })

  it.each([
    [{ deleteMarkers: 'include' }, ['a 3 now', 'gone marker now', 'in/']],
    [{ deleteMarkers: 'only' }, ['gone marker now', 'in/']],
    [{ noncurrentVersions: 'include' }, ['a 3 now', 'a 2', 'a 1', 'gone 1', 'in/']],
    [{ noncurrentVersions: 'only' }, ['a 2', 'a 1', 'gone 1', 'in/']],
    [
      { noncurrentVersions: 'include', deleteMarkers: 'include' },
      ['a 3 now', 'a 2', 'a 1', 'gone marker now', 'gone 1', 'in/'],
    ],
    [{ noncurrentVersions: 'only', deleteMarkers: 'only' }, []],
    [{ prefix: 'in', noncurrentVersions: 'include' }, ['deep/', 'y 1']],
    [{ prefix: 'in', search: 'de', noncurrentVersions: 'include' }, ['deep/']],
    [{ prefix: 'in/deep', noncurrentVersions: 'only' }, ['x 1']],
    [{ prefix: 'a', exactMatch: true }, ['a 3 now']],
    [{ prefix: 'in/y', exactMatch: true, deleteMarkers: 'include' }, ['y marker now']],
    [{ prefix: 'in/deep/', exactMatch: true, noncurrentVersions: 'include' }, []],
    [{ noncurrentVersions: 'include', limit: 2, offset: 1 }, ['a 2', 'a 1']],
  ])('of %j has %j', async (body, expected) => {
    expect(brief(await v1(body))).toEqual(expected)
  })

  it('has what is there now where nothing else is asked for', async () => {
    expect((await v1({})).map(({ name }) => name)).toEqual(['a', 'in'])
  })

  it('by cursor goes on within the versions of a name, and behind a folder', async () => {
    const found: Row[] = []
    const asked = { noncurrentVersions: 'include', deleteMarkers: 'include', with_delimiter: true, limit: 1 }
    let cursor: unknown
    do {
      const page = await v2({ ...asked, ...(cursor !== undefined && { cursor }) })
      found.push(...(page.objects as Row[]), ...(page.folders as Row[]))
      cursor = page.nextCursor
    } while (cursor !== undefined)
    expect(brief(found)).toEqual(['a 3 now', 'a 2', 'a 1', 'gone marker now', 'gone 1', 'in//'])
    const flat = await v2({ noncurrentVersions: 'only', prefix: 'in/' })
    expect(brief(flat.objects as Row[])).toEqual(['in/deep/x 1', 'in/y 1'])
  })

  it('by cursor has a folder once, whatever is in it', async () => {
    await uploaded('z', '1', '1')
    const asked = { noncurrentVersions: 'only', with_delimiter: true, limit: 4 }
    const first = await v2(asked)
    expect(brief(first.folders as Row[])).toEqual(['in//'])
    const second = await v2({ ...asked, cursor: first.nextCursor })
    expect([...(second.folders as Row[]), ...brief(second.objects as Row[])]).toEqual(['z 1'])
  })

  it('has what the policies show, also of names that were deleted', async () => {
    const seen = `create policy seen on storage.objects for select to authenticated
      using (name like 'in/%' and metadata ->> 'size' = '1')`
    await withPolicies(server.admin, seen, async () => {
      const token = await server.token('somebody')
      expect(brief(await v1({ prefix: 'in', noncurrentVersions: 'include' }, { token }))).toEqual(['y 1'])
      expect(await v1({ noncurrentVersions: 'only' }, { token })).toMatchObject([{ name: 'in', id: null }])
    })
  })

  it('is in no other order than that of names', async () => {
    const body = { prefix: '', noncurrentVersions: 'include', sortBy: { column: 'created_at' } }
    const answer = await ask('POST', `/object/list/${bucket}`, { body })
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'InvalidParameter' }])
  })

  it('of one name tells of each version, page by page', async () => {
    await ask('DELETE', `/object/${bucket}/a`)
    const first = await json('GET', `/versions/${bucket}/a?limit=3`)
    const rest = await json('GET', `/versions/${bucket}/a?limit=3&cursor=${first.next}`)
    expect([...(first.items as Row[]), ...(rest.items as Row[])]).toMatchObject([
      { version_number: 4, is_latest: true, is_delete_marker: true, size: null, archived_at: null },
      { version_number: 3, is_latest: false, is_delete_marker: false, size: 3, is_versioned: true },
      { version_number: 2, size: 2, checksum: expect.any(String), content_type: expect.any(String) },
      { version_number: 1, size: 1, created_at: expect.any(String), archived_at: expect.any(String) },
    ])
    expect(rest.next).toBeNull()
    expect((await ask('GET', `/versions/${bucket}/nothing`)).status).toBe(404)
  })

  it.each(['', '%00', '%00.1', 'nonsense', randomUUID(), '.x', '.1234567890'])(
    'of one name goes on by no cursor %j',
    async (cursor) => {
      for (const name of ['a', 'nothing']) {
        const answer = await ask('GET', `/versions/${bucket}/${name}?cursor=${cursor}`)
        expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'InvalidParameter' }])
      }
      const place = { after: 'a', order: 'asc', column: 'name', version: decodeURIComponent(cursor) }
      const body = {
        noncurrentVersions: 'include',
        cursor: Buffer.from(JSON.stringify(place)).toString('base64url'),
      }
      const list = await ask('POST', `/object/list-v2/${bucket}`, { body })
      expect([list.status, await list.json()]).toMatchObject([400, { code: 'InvalidParameter' }])
    },
  )
})

describe('a restore', () => {
  it('brings a version back as another one, with its metadata', async () => {
    const [first] = await uploaded('a', 'one', 'two')
    const body = { bucket, path: 'a', version_id: first }
    const restored = await json('POST', '/versions/restore', { body })
    expect(restored).toMatchObject({ path: 'a', size: 3, version: expect.any(String) })
    expect(restored.version).not.toBe(first)
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('one')
    expect(await history('a')).toEqual(['3', '2', '1'])
  })

  it('brings back what was deleted', async () => {
    const [first] = await uploaded('a', 'one')
    await ask('DELETE', `/object/${bucket}/a`)
    await json('POST', '/versions/restore', { body: { bucket, path: 'a', version_id: first } })
    expect(await (await ask('GET', `/object/${bucket}/a`)).text()).toBe('one')
  })

  it('is for who may upload there', async () => {
    const seen = 'create policy seen on storage.objects for select to authenticated using (true)'
    await withPolicies(server.admin, seen, async () => {
      const [first] = await uploaded('a', 'one', 'two')
      const token = await server.token('somebody')
      const answer = await ask('POST', '/versions/restore', {
        body: { bucket, path: 'a', version_id: first },
        token,
      })
      expect(answer.status).toBe(403)
      expect(await history('a')).toEqual(['2', '1'])
    })
  })
})
