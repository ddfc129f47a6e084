import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** The trash by REST (docs/versions.md). */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { trash_days: 7 })
})
afterAll(() => server.close())

type Init = Parameters<TestServer['request']>[2]

const ask = (method: string, path: string, init?: Init) => server.request(method, `/storage/v1${path}`, init)

async function json(method: string, path: string, init?: Init): Promise<Record<string, unknown>> {
  const answer = await ask(method, path, init)
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return text === '' ? {} : JSON.parse(text)
}

/** The status and the code of an answer that is an error. */
async function refusal(method: string, path: string, init?: Init): Promise<unknown[]> {
  const answer = await ask(method, path, init)
  return [answer.status, Object(await answer.json()).code]
}

async function upload(name: string, body = name, token?: string): Promise<string> {
  const made = await json('POST', `/object/${bucket}/${name}`, { body, ...(token && { token }) })
  return String(made.Id)
}

/** Uploads, and deletes by the service. */
async function trashed(name: string, body = name, token?: string): Promise<string> {
  const id = await upload(name, body, token)
  await json('DELETE', `/object/${bucket}/${name}`)
  return id
}

/** The same of somebody's object. */
async function trashedOf(owner: string, name: string): Promise<string> {
  const id = await upload(name)
  await server.admin`
    update storage.objects set owner_id = ${owner} where bucket_id = ${bucket} and name = ${name}`
  await json('DELETE', `/object/${bucket}/${name}`)
  return id
}

type Entry = Record<string, unknown> & { id: string; path: string }

/** All pages. */
async function entries(query: Record<string, string> = {}, token?: string): Promise<Entry[]> {
  const found: Entry[] = []
  for (let cursor = ''; ; ) {
    const search = new URLSearchParams({ bucket, ...query, ...(cursor && { cursor }) })
    const page = await json('GET', `/trash?${search}`, token ? { token } : {})
    found.push(...(page.items as Entry[]))
    if (page.next === null) return found
    cursor = String(page.next)
  }
}

const paths = async (query?: Record<string, string>, token?: string) =>
  (await entries(query, token)).map(({ path }) => path)

const read = async (name: string) => (await ask('GET', `/object/${bucket}/${name}`)).text()

/** What happened to objects of the bucket, in order. */
async function events(): Promise<unknown[]> {
  const rows = await server.admin`
    select type, operation, data from storage.events where bucket_id = ${bucket} and name is not null order by id`
  return rows.map(({ type, operation, data }) => [type, operation, data])
}

const uploading = ['storage.object.created', 'storage.object.upload', null]

describe('what is deleted in a bucket with a trash', () => {
  it('is in the trash, and nowhere else', async () => {
    const id = await trashed('a', 'hello')
    expect(await entries()).toEqual([
      {
        id,
        bucket,
        path: 'a',
        version: expect.any(String),
        size: 5,
        content_type: 'text/plain;charset=UTF-8',
        checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
        owner_id: null,
        metadata: {},
        created_at: expect.any(String),
        updated_at: expect.any(String),
        deleted_at: expect.any(String),
        deleted_by: null,
        purge_at: expect.any(String),
        status: 'deleted',
        is_deleted: true,
      },
    ])
    const version = String((await entries())[0]?.version)
    for (const path of ['', '/info', '/authenticated', '/info/authenticated']) {
      expect(await refusal('GET', `/object${path}/${bucket}/a`)).toEqual([404, 'NoSuchKey'])
    }
    expect((await ask('GET', `/object/${bucket}/a?versionId=${version}`)).status).toBe(404)
    expect((await ask('DELETE', `/object/${bucket}/a`)).status).toBe(404)
    expect((await ask('DELETE', `/object/${bucket}/a?versionId=${version}`)).status).toBe(404)
    expect((await ask('GET', `/versions/${bucket}/a`)).status).toBe(404)
    const body = { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' }
    expect((await ask('POST', '/object/copy', { body })).status).toBe(404)
    expect((await ask('POST', '/object/move', { body })).status).toBe(404)
    expect((await ask('POST', `/object/sign/${bucket}/a`, { body: { expiresIn: 60 } })).status).toBe(404)
    expect(await json('POST', `/object/list/${bucket}`, { body: { prefix: '' } })).toEqual([])
    expect(await refusal('DELETE', `/bucket/${bucket}`)).toEqual([409, 'ResourceNotEmpty'])
  })

  it('leaves its name at once', async () => {
    const first = await trashed('a', 'one')
    const second = await trashed('a', 'two')
    await upload('a', 'three')
    expect(await read('a')).toBe('three')
    expect((await entries()).map(({ id }) => id)).toEqual([first, second])
  })

  it('is told of as not permanent, with when it goes', async () => {
    await trashed('a')
    expect(await events()).toEqual([
      uploading,
      ['storage.object.deleted', 'storage.object.delete', { permanent: false }],
    ])
    const [entry] = await entries()
    const days = (Date.parse(String(entry?.purge_at)) - Date.parse(String(entry?.deleted_at))) / 86_400_000
    expect(days).toBe(7)
  })
})

describe('permanent', () => {
  const deletion = (name: string, permanent: boolean) =>
    json('DELETE', `/object/${bucket}/${name}?permanent=${permanent}`)

  it('true deletes for good', async () => {
    const stored = await server.storedFiles()
    await upload('a')
    expect(await deletion('a', true)).toEqual({
      success: true,
      message: 'Successfully deleted',
      permanent: true,
    })
    expect(await entries()).toEqual([])
    expect(await events()).toEqual([
      uploading,
      ['storage.object.deleted', 'storage.object.delete', { permanent: true }],
    ])
    expect(await server.storedFiles()).toEqual(stored)
  })

  it('false puts into the trash of a bucket that has none, for as long as the server says', async () => {
    await json('PUT', `/bucket/${bucket}`, { body: { trash_days: 0 } })
    await upload('a')
    await upload('b')
    expect(await deletion('a', false)).toMatchObject({ permanent: false })
    await json('DELETE', `/object/${bucket}/b`)
    const [entry, ...others] = await entries()
    expect(others).toEqual([])
    const days = (Date.parse(String(entry?.purge_at)) - Date.parse(String(entry?.deleted_at))) / 86_400_000
    expect(days).toBe(30)
  })

  it('is said of many, too', async () => {
    for (const name of ['a', 'b', 'c']) await upload(name)
    const many = (prefixes: string[], more: object) =>
      json('DELETE', `/object/${bucket}`, { body: { prefixes, ...more } })
    expect(await many(['a'], { permanent: true })).toMatchObject([{ name: 'a' }])
    await json('PUT', `/bucket/${bucket}`, { body: { trash_days: 0 } })
    await many(['b'], { permanent: false })
    await many(['c'], {})
    expect(await paths()).toEqual(['b'])
  })

  it('of a name with versions takes them all, or leaves a version and a marker', async () => {
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'ENABLED' } })
    for (const name of ['a', 'b']) {
      await upload(name, 'one')
      await json('PUT', `/object/${bucket}/${name}`, { body: 'two' })
    }
    await deletion('a', true)
    await deletion('b', false)
    expect((await ask('GET', `/versions/${bucket}/a`)).status).toBe(404)
    const left = await json('GET', `/versions/${bucket}/b`)
    expect(left.items).toMatchObject([{ is_delete_marker: true }, { size: 3 }, { size: 3 }])
    expect(await entries()).toEqual([])
    expect((await ask('DELETE', `/object/${bucket}/never?permanent=true`)).status).toBe(404)
  })

  it('is judged by a condition first', async () => {
    await upload('a')
    const init = { headers: { 'if-match': '"another"' } }
    expect((await ask('DELETE', `/object/${bucket}/a?permanent=true`, init)).status).toBe(412)
    expect(await read('a')).toBe('a')
    const tag = (await ask('GET', `/object/${bucket}/a`)).headers.get('etag') ?? ''
    const gone = await ask('DELETE', `/object/${bucket}/a?permanent=true`, { headers: { 'if-match': tag } })
    expect(gone.status).toBe(200)
    expect(await entries()).toEqual([])
  })

  it.each(['permanent=yes', 'permanent='])('is not %s', async (query) => {
    await upload('a')
    expect(await refusal('DELETE', `/object/${bucket}/a?${query}`)).toEqual([400, 'InvalidRequest'])
    expect(await read('a')).toBe('a')
  })

  it('has nothing to do with one version', async () => {
    await upload('a')
    const path = `/object/${bucket}/a?permanent=false&versionId=${randomUUID()}`
    expect(await refusal('DELETE', path)).toEqual([400, 'InvalidParameter'])
  })

  it('means nothing under STORAGE_COMPAT=supabase', async () => {
    const supabase = await server.beside({ STORAGE_COMPAT: 'supabase' })
    try {
      await upload('a')
      await upload('b')
      const gone = await supabase.request('DELETE', `/storage/v1/object/${bucket}/a?permanent=true`)
      expect(await gone.json()).toEqual({ message: 'Successfully deleted' })
      const body = { prefixes: ['b'], permanent: true }
      await supabase.request('DELETE', `/storage/v1/object/${bucket}`, { body })
      expect(await paths()).toEqual(['a', 'b'])
      const listed = await supabase.request('GET', `/storage/v1/trash?bucket=${bucket}`)
      expect(await listed.json()).toMatchObject({ items: [{ path: 'a' }, { path: 'b' }] })
    } finally {
      await supabase.close()
    }
  })
})

describe('GET /trash', () => {
  it('goes by name and age, in pages', async () => {
    for (const name of ['b', 'a', 'dir/c', 'a']) await trashed(name)
    const [first, second] = await Promise.all([
      json('GET', `/trash?bucket=${bucket}&limit=3`),
      entries({ limit: '1' }),
    ])
    expect(first).toMatchObject({ items: [{ path: 'a' }, { path: 'a' }, { path: 'b' }] })
    expect(second.map(({ path }) => path)).toEqual(['a', 'a', 'b', 'dir/c'])
    expect(await paths({ prefix: 'd' })).toEqual(['dir/c'])
    expect(await paths({ prefix: 'a', limit: '1' })).toEqual(['a', 'a'])
    expect(await paths({ prefix: 'ab' })).toEqual([])
  })

  it('is of all buckets where none is said', async () => {
    await trashed('a')
    const former = bucket
    bucket = `c-${randomUUID()}`
    await server.createBucket(bucket, { trash_days: 1 })
    await trashed('b')
    const page = await json('GET', '/trash?limit=1000')
    const found = (page.items as Entry[]).filter((entry) => [bucket, former].includes(String(entry.bucket)))
    expect(found.map(({ path }) => path)).toEqual(['a', 'b'])
  })

  it('knows who has deleted it', async () => {
    const token = await server.token('mary')
    await withPolicies(server.admin, 'create policy all_of on storage.objects using (true)', async () => {
      await upload('a')
      await upload('b')
      await json('DELETE', `/object/${bucket}/a`, { token })
      await json('DELETE', `/object/${bucket}/b`)
      expect(await entries({ deleted_by: 'mary' })).toMatchObject([{ path: 'a', deleted_by: 'mary' }])
      expect(await entries({ deleted_by: 'john' })).toEqual([])
    })
  })

  it.each(['limit=0', 'limit=1001', 'limit=x'])('refuses %s', async (query) => {
    expect(await refusal('GET', `/trash?${query}`)).toEqual([400, 'InvalidRequest'])
  })

  it.each(['x', Buffer.from('["a","b","x"]').toString('base64url'), 'A'.repeat(8000)])(
    'refuses the cursor %.20s',
    async (cursor) => {
      expect(await refusal('GET', `/trash?cursor=${cursor}`)).toEqual([400, 'InvalidParameter'])
    },
  )

  it('is for nobody without a token', async () => {
    expect((await ask('GET', '/trash', { token: null })).status).toBe(401)
  })
})

describe('POST /trash/restore', () => {
  const restore = (body: object, init: Init = {}) => json('POST', '/trash/restore', { ...init, body })

  it('brings back what it was, as it was', async () => {
    await json('POST', `/object/${bucket}/a`, {
      body: 'x'.repeat(50_000),
      headers: {
        'content-type': 'text/plain',
        'x-metadata': Buffer.from('{"k":"v"}').toString('base64'),
      },
    })
    await server.admin`update storage.objects set tags = '{red}', owner_id = 'mary' where bucket_id = ${bucket}`
    const row = () => server.admin`select * from storage.objects where bucket_id = ${bucket}`
    const [before] = await row()
    const info = await json('GET', `/object/info/${bucket}/a`)
    await json('DELETE', `/object/${bucket}/a`)
    const back = await restore({ ids: [info.id] })
    expect(back).toMatchObject({ restored: [{ id: info.id, path: 'a', size: 50_000 }], failed: [] })
    const [after] = await row()
    // While it was in the trash it was not there.
    expect(after?.current_since > before?.current_since).toBe(true)
    expect(after).toEqual({
      ...before,
      bytes_bucket: after?.bytes_bucket,
      current_since: after?.current_since,
    })
    expect(await json('GET', `/object/info/${bucket}/a`)).toEqual(info)
    expect(await read('a')).toBe('x'.repeat(50_000))
    expect(await entries()).toEqual([])
    expect((await events()).at(-1)).toEqual([
      'storage.object.created',
      'storage.object.restore',
      { tags: ['red'] },
    ])
  })

  it('takes the newest of a name', async () => {
    await trashed('a', 'one')
    const second = await trashed('a', 'two')
    expect(await restore({ bucket, path: 'a' })).toMatchObject({ restored: [{ id: second }] })
    expect(await read('a')).toBe('two')
    expect(await entries()).toHaveLength(1)
  })

  it('takes it by its version, too', async () => {
    await trashed('a', 'one')
    await trashed('a', 'two')
    const [first] = await entries()
    await restore({ ids: [String(first?.version).toUpperCase()] })
    expect(await read('a')).toBe('one')
  })

  it('does not take a name from anybody, unless it is to', async () => {
    const id = await trashed('a', 'one')
    const stored = (await server.storedFiles()).sort()
    await upload('a', 'two')
    const body = { ids: [id] }
    expect(await refusal('POST', '/trash/restore', { body })).toEqual([409, 'KeyAlreadyExists'])
    await restore({ ...body, to: 'dir/b' })
    expect([await read('a'), await read('dir/b')]).toEqual(['two', 'one'])
    await json('DELETE', `/object/${bucket}/dir/b`)
    await restore({ ids: [id], to: 'a', overwrite: true })
    expect(await read('a')).toBe('one')
    expect((await json('GET', `/object/info/${bucket}/a`)).id).toBe(id)
    expect(await entries()).toEqual([])
    expect((await server.storedFiles()).sort()).toEqual(stored)
  })

  it('tells of each of several', async () => {
    const [a, b] = [await trashed('a'), await trashed('b')]
    await upload('b')
    const nobody = randomUUID()
    const done = await restore({ ids: [a, b, nobody, 'nonsense', a] })
    expect(done).toMatchObject({
      restored: [{ path: 'a' }],
      failed: [
        { id: b, code: 'KeyAlreadyExists' },
        { id: nobody, code: 'NoSuchTrashItem' },
        { id: 'nonsense', code: 'NoSuchTrashItem' },
      ],
    })
    expect(await read('a')).toBe('a')
  })

  it('comes over the null marker of a bucket whose versions are suspended, and behind the history of one that has them', async () => {
    const id = await trashed('b', 'before')
    await upload('a', 'one')
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'ENABLED' } })
    await json('PUT', `/object/${bucket}/b`, { body: 'now' })
    await restore({ ids: [id], overwrite: true })
    expect(await read('b')).toBe('before')
    expect((await json('GET', `/versions/${bucket}/b`)).items).toMatchObject([
      { version_number: 2, is_latest: true, size: 6 },
      { version_number: 1, size: 3 },
    ])
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'SUSPENDED' } })
    await json('DELETE', `/object/${bucket}/a`)
    await restore({ bucket, path: 'a' })
    expect(await read('a')).toBe('one')
    expect((await json('GET', `/versions/${bucket}/a`)).items).toMatchObject([
      { is_delete_marker: false, is_latest: true, is_versioned: false },
    ])
  })

  it('of two at the same moment lets one have it', async () => {
    const id = await trashed('a')
    const answers = await Promise.all(
      [1, 2, 3].map(() => ask('POST', '/trash/restore', { body: { ids: [id] } })),
    )
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses[0]).toBe(200)
    expect(statuses.slice(1).every((status) => status === 404 || status === 409)).toBe(true)
    expect(await read('a')).toBe('a')
  })

  it.each([
    {},
    { ids: [] },
    { bucket: 'b' },
    { ids: [randomUUID()], path: 'a' },
    { ids: [randomUUID(), randomUUID()], to: 'a' },
    { ids: Array.from({ length: 1001 }, () => 'x') },
    { ids: [1] },
    { id: randomUUID() },
  ])('refuses %.60j', async (body) => {
    expect(await refusal('POST', '/trash/restore', { body })).toEqual([400, 'InvalidRequest'])
  })

  it('refuses a name that is none', async () => {
    const id = await trashed('a')
    expect(await refusal('POST', '/trash/restore', { body: { ids: [id], to: '/x' } })).toEqual([
      400,
      'InvalidKey',
    ])
    expect(await entries()).toHaveLength(1)
  })
})

describe('DELETE /trash/{id}', () => {
  it('removes it for good, with its bytes, and tells of it', async () => {
    const id = await trashed('a', 'x'.repeat(50_000))
    await trashed('b')
    const [first] = await entries()
    expect((await server.storedFiles()).some((file) => file.endsWith(String(first?.version)))).toBe(true)
    expect((await ask('DELETE', `/trash/${id}`)).status).toBe(204)
    expect(await paths()).toEqual(['b'])
    expect((await server.storedFiles()).some((file) => file.endsWith(String(first?.version)))).toBe(false)
    expect((await events()).at(-1)).toEqual(['storage.object.purged', 'storage.object.purge', null])
    expect(await refusal('DELETE', `/trash/${id}`)).toEqual([404, 'NoSuchTrashItem'])
  })

  it.each(['nonsense', randomUUID(), '%00', 'a/b'])('is 404 for %s', async (id) => {
    expect((await ask('DELETE', `/trash/${id}`)).status).toBe(404)
  })

  it('lets the bucket be deleted', async () => {
    const id = await trashed('a')
    await ask('DELETE', `/trash/${id}`)
    expect((await ask('DELETE', `/bucket/${bucket}`)).status).toBe(200)
  })

  it('does not remove what is locked', async () => {
    const id = await trashed('a')
    const [entry] = await entries()
    const version = String(entry?.version)
    await json('PUT', `/bucket/${bucket}`, { body: { versioning_status: 'ENABLED' } })
    await server.admin`update storage.buckets set object_lock = true where id = ${bucket}`
    await server.admin`insert into storage.object_locks (version, legal_hold) values (${version}, true)`
    expect(await refusal('DELETE', `/trash/${id}`)).toEqual([409, 'ObjectLocked'])
    expect(await json('POST', '/trash/empty', { body: { bucket } })).toMatchObject({ count: 0 })
    await expect(
      server.admin`delete from storage.object_versions where version = ${version}`.execute(),
    ).rejects.toMatchObject({ code: 'SR006' })
    expect(await paths()).toEqual(['a'])
    await json('POST', '/trash/restore', { body: { ids: [id] } })
    expect(await read('a')).toBe('a')
  })
})

describe('POST /trash/empty', () => {
  it('removes what is old enough, of one bucket or of all', async () => {
    await trashed('old')
    await trashed('new')
    await server.admin.begin(async (tx) => {
      await tx`alter table storage.object_versions disable trigger user`
      await tx`
        update storage.object_versions set valid_from = now() - interval '9 days', archived_at = now() - interval '8 days'
        where bucket_id = ${bucket} and name = 'old'`
      await tx`alter table storage.object_versions enable trigger user`
    })
    const empty = (body: object) => json('POST', '/trash/empty', { body })
    expect(await empty({ bucket: 'another', older_than_days: 0 })).toMatchObject({ count: 0 })
    expect(await empty({ bucket, older_than_days: 9 })).toMatchObject({ count: 0 })
    expect(await empty({ bucket, older_than_days: 8 })).toMatchObject({ count: 1 })
    expect(await paths()).toEqual(['new'])
    expect(await empty({ bucket })).toMatchObject({ count: 1 })
    expect(await entries()).toEqual([])
  })

  it.each([{ older_than_days: -1 }, { older_than_days: 36_501 }, { older_than_days: 1.5 }, { buckets: 'x' }])(
    'refuses %j',
    async (body) => {
      expect(await refusal('POST', '/trash/empty', { body })).toEqual([400, 'InvalidRequest'])
    },
  )
})

describe('rights', () => {
  const OWN = `
    create policy own on storage.objects to authenticated using (owner_id = auth.uid()::text)
    with check (owner_id = auth.uid()::text)`
  const FOLDER = `
    create policy seen on storage.objects for select to authenticated using (name like 'team/%');
    create policy made on storage.objects for insert to authenticated with check (name like 'team/%');
    create policy gone on storage.objects for delete to authenticated using (name like 'team/%' and owner_id is null)`
  const [mary, john] = [randomUUID(), randomUUID()]
  const restoring = (body: object, token: string) => refusalOrOk('POST', '/trash/restore', { body, token })

  async function refusalOrOk(method: string, path: string, init: Init) {
    const answer = await ask(method, path, init)
    return answer.ok ? 'ok' : Object(await answer.json()).code
  }

  it('are the owner’s, and nobody else’s', async () => {
    const [hers, his] = [await server.token(mary), await server.token(john)]
    await withPolicies(server.admin, OWN, async () => {
      const id = await upload('a', 'one', hers)
      await json('DELETE', `/object/${bucket}/a`, { token: hers })
      await upload('a', 'two', his) // whose sight of the name has nothing to do with hers
      expect([await paths({}, hers), await paths({}, his)]).toEqual([['a'], []])
      for (const [method, path, body] of [
        ['POST', '/trash/restore', { ids: [id], to: 'b' }],
        ['POST', '/trash/restore', { bucket, path: 'a', to: 'b' }],
        ['DELETE', `/trash/${id}`, undefined],
      ] as const) {
        expect(await refusalOrOk(method, path, { token: his, body: body ?? null })).toBe('NoSuchTrashItem')
      }
      expect(await json('POST', '/trash/empty', { token: his, body: {} })).toMatchObject({ count: 0 })
      expect(await restoring({ ids: [id] }, hers)).toBe('KeyAlreadyExists')
      // What is his does not give way to her.
      expect(await restoring({ ids: [id], overwrite: true }, hers)).toBe('AccessDenied')
      expect(await restoring({ ids: [id], to: 'b' }, hers)).toBe('ok')
      expect([await read('a'), await read('b')]).toEqual(['two', 'one'])
    })
  })

  it('are the owner’s at the place where it was, though he may make nothing there now', async () => {
    const token = await server.token(mary)
    const id = await trashedOf(mary, 'a')
    expect(await restoring({ ids: [id], to: 'b' }, token)).toBe('AccessDenied')
    expect(await restoring({ ids: [id] }, token)).toBe('ok')
    await json('DELETE', `/object/${bucket}/a`)
    expect(await refusalOrOk('DELETE', `/trash/${id}`, { token })).toBe('ok')
  })

  it('are the bucket’s owner’s', async () => {
    const token = await server.token(mary)
    await server.admin`update storage.buckets set owner_id = ${mary} where id = ${bucket}`
    const ids = [await trashed('a'), await trashed('b'), await trashed('c')]
    expect(await paths({}, token)).toEqual(['a', 'b', 'c'])
    expect(await restoring({ ids: [ids[0]] }, token)).toBe('ok')
    expect(await refusalOrOk('DELETE', `/trash/${ids[1]}`, { token })).toBe('ok')
    expect(await json('POST', '/trash/empty', { token, body: {} })).toMatchObject({ count: 1 })
  })

  it('are others’ as far as the policies say', async () => {
    const token = await server.token(mary)
    await withPolicies(server.admin, FOLDER, async () => {
      const [free, owned, hidden] = [
        await trashed('team/a'),
        await trashedOf(john, 'team/b'),
        await trashed('x'),
      ]
      await upload('team/a', 'another')
      expect(await paths({}, token)).toEqual(['team/a', 'team/b'])
      expect(await refusalOrOk('DELETE', `/trash/${owned}`, { token })).toBe('AccessDenied')
      expect(await refusalOrOk('DELETE', `/trash/${hidden}`, { token })).toBe('NoSuchTrashItem')
      expect(await restoring({ ids: [hidden] }, token)).toBe('NoSuchTrashItem')
      expect(await restoring({ ids: [free], to: 'elsewhere' }, token)).toBe('AccessDenied')
      expect(await restoring({ ids: [free], to: 'team/c' }, token)).toBe('ok')
      expect(await restoring({ ids: [owned] }, token)).toBe('ok')
      // By policies alone nothing is emptied.
      await trashed('team/d')
      expect(await json('POST', '/trash/empty', { token, body: {} })).toMatchObject({ count: 0 })
      expect(await refusalOrOk('DELETE', `/trash/${(await entries({}, token))[0]?.id}`, { token })).toBe('ok')
    })
  })

  it('leave no trace of what was only asked', async () => {
    const token = await server.token(mary)
    await trashed('a')
    await upload('a', 'now')
    const state = () => server.admin`
      select (select array_agg(o::text order by o.id) from storage.objects o) as objects,
        (select array_agg(v::text order by v.sequence) from storage.object_versions v) as versions,
        (select count(*) from storage.events) as events`
    const before = await state()
    expect(await paths({}, token)).toEqual([])
    expect(await state()).toEqual(before)
  })
})

describe('the settings of a bucket', () => {
  const told = async () => {
    const { trash_days, max_versions, version_retention_days } = await json('GET', `/bucket/${bucket}`)
    return [trash_days, max_versions, version_retention_days]
  }
  const change = (body: object) => json('PUT', `/bucket/${bucket}`, { body })

  it('are said, and told', async () => {
    expect(await told()).toEqual([7, null, null])
    await change({ trash_days: null, max_versions: 5 })
    expect(await told()).toEqual([0, 5, null])
    await change({ versioning_status: 'ENABLED' })
    expect(await told()).toEqual([0, 5, 90])
    await change({ max_versions: null, version_retention_days: '7' })
    expect(await told()).toEqual([0, 10, 7])
  })

  it('are as the server says where versions are on from the beginning', async () => {
    const other = await server.beside({ STORAGE_MAX_VERSIONS: '3', STORAGE_VERSION_RETENTION_DAYS: '4' })
    try {
      for (const more of [{}, { max_versions: 6 }]) {
        bucket = `b-${randomUUID()}`
        const body = { name: bucket, versioning_status: 'ENABLED', ...more }
        await other.request('POST', '/storage/v1/bucket', { body })
        expect(await told()).toEqual([0, more.max_versions ?? 3, 4])
      }
    } finally {
      await other.close()
    }
  })

  it.each([
    { trash_days: -1 },
    { trash_days: 36_501 },
    { trash_days: 'x' },
    { max_versions: 0 },
    { max_versions: 1001 },
    { version_retention_days: 0 },
    { version_retention_days: 1.5 },
  ])('are not %j', async (body) => {
    expect(await refusal('PUT', `/bucket/${bucket}`, { body })).toEqual([400, 'InvalidRequest'])
  })

  it('are not told under STORAGE_COMPAT=supabase', async () => {
    const supabase = await server.beside({ STORAGE_COMPAT: 'supabase' })
    try {
      const answer = await supabase.request('GET', `/storage/v1/bucket/${bucket}`)
      expect(await answer.json()).not.toHaveProperty('trash_days')
    } finally {
      await supabase.close()
    }
  })
})
