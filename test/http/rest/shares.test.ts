import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEvents } from '../../support/event-stream.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { type Shared, share, type VisitOptions, visit } from '../../support/shares.ts'
import { put } from '../../support/signed.ts'
import { until } from '../../support/wait.ts'

/** Objects for whoever has a link (docs/shares.md). */

const TEXT = 'a text to be shared'
const ALL = { view: true, download: true, delete: true }

let server: TestServer
let other: Served
let owner: string
let stranger: string
beforeAll(async () => {
  server = await startTestServer({ STORAGE_AUDIT: 'all' })
  other = await server.beside()
  owner = await server.token('owner')
  stranger = await server.token('stranger')
  await server.createBucket('docs')
  await server.createBucket('open', { public: true })
  await server.admin`
    create policy own on storage.objects for all to authenticated using (owner_id = (select auth.jwt() ->> 'sub'))`
  await server.createBucket('bin', { trash_days: 7 })
  await server.createBucket('kept', { versioning_status: 'ENABLED' })
})
afterAll(async () => {
  await other.close()
  await server.close()
})

let names = 0
/** Makes an object of the owner's. */
async function object(bucket = 'docs', folder = ''): Promise<{ bucket: string; path: string; id: string }> {
  const path = `${folder}file-${++names}.txt`
  await put(server, `${bucket}/${path}`, TEXT)
  const [row] = await server.admin<{ id: string }[]>`
    update storage.objects set owner_id = 'owner' where bucket_id = ${bucket} and name = ${path} returning id`
  return { bucket, path, id: row?.id ?? '' }
}

async function shared(options: Record<string, unknown> = {}, bucket = 'docs') {
  const target = await object(bucket)
  const made = await share(server, { file_id: target.id, permissions: ALL, ...options }, owner)
  return { ...target, ...made }
}

const withToken = ({ access_token }: Shared, more: VisitOptions = {}): VisitOptions => ({
  ...more,
  headers: { 'x-share-token': access_token ?? '', ...more.headers },
})
const rowOf = async ({ share_id }: Pick<Shared, 'share_id'>) => {
  const [row] = await server.admin`select * from storage.shares where share_id = ${share_id}`
  return row
}
const asked = async (method: string, path: string, body?: object, token = owner) => {
  const response = await server.request(method, `/storage/v1${path}`, { ...(body && { body }), token })
  const text = await response.text()
  const json = text === '' ? {} : JSON.parse(text)
  return { status: response.status, ...json }
}

describe('making a share', () => {
  it('tells a link and a token once, of which a hash alone is kept', async () => {
    const made = await shared()
    expect(made).toMatchObject({
      share_url: `${server.url}/storage/v1/share/${made.share_id}`,
      permissions: ALL,
      max_downloads: null,
      download_count: 0,
      has_password: false,
      message: 'Successfully shared',
    })
    expect(made.share_id).toMatch(/^[\w-]{22}$/)
    expect(made.access_token).toMatch(/^[\w-]{43}$/)
    expect(Math.round((Date.parse(made.expires_at) - Date.now()) / 3_600_000)).toBe(24)
    expect(JSON.stringify(await rowOf(made))).not.toContain(made.access_token)
    const again = await asked('GET', `/share/${made.share_id}?manage=true`)
    expect(again).toMatchObject({ status: 200, path: made.path, shared_by: 'owner' })
    expect(JSON.stringify(again)).not.toMatch(/token|hash/)
  })

  it('makes no token with a password, of which scrypt alone is kept', async () => {
    const made = await shared({ password: 'open sesame' })
    expect(made).toMatchObject({ access_token: null, has_password: true })
    expect(await rowOf(made)).toMatchObject({ password_hash: expect.stringMatching(/^scrypt\$15\$8\$1\$/) })
  })

  it('is for the owner of the object, that of its bucket, and the service', async () => {
    const { id, bucket, path } = await object()
    expect(await asked('POST', '/share', { file_id: id })).toMatchObject({ status: 201 })
    expect(await asked('POST', '/share', { bucket, path })).toMatchObject({ status: 201 })
    expect(await asked('POST', '/share', { file_id: id }, server.keys.serviceKey)).toMatchObject({
      status: 201,
      shared_by: null,
    })
    expect(await asked('POST', '/share', { file_id: id }, stranger)).toMatchObject({ code: 'NoSuchKey' })
    const open = await object('open')
    await server.admin`create policy seen on storage.objects for select to authenticated using (bucket_id = 'open')`
    expect(await asked('POST', '/share', { file_id: open.id }, stranger)).toMatchObject({
      code: 'AccessDenied',
    })
    await server.admin`update storage.buckets set owner_id = 'stranger' where id = 'open'`
    expect(await asked('POST', '/share', { file_id: open.id }, stranger)).toMatchObject({ status: 201 })
    await server.admin`drop policy seen on storage.objects`
  })

  it.each([
    ['body/expires_hours', { expires_hours: 0 }],
    ['body/expires_hours', { expires_hours: 721 }],
    ['body/expires_hours', { expires_hours: 1.5 }],
    ['body/max_downloads', { max_downloads: 0 }],
    ['body/max_downloads', { max_downloads: 2 ** 40 }],
    ['body/password', { password: '' }],
    ['body/password', { password: 'x'.repeat(256) }],
    ['body/permissions', { permissions: { everything: true } }],
    ['body/permissions/download', { permissions: { download: 'maybe' } }],
    ['body/shared_with_email', { shared_with_email: 'nobody' }],
    ['body/shared_with', { shared_with: 'x'.repeat(256) }],
    ['body must', { bucket: 'docs' }],
    ['body must', {}],
  ])('refuses, by its name, %s that is not %j', async (field, body) => {
    const target = field === 'body must' ? {} : { file_id: (await object()).id }
    const told = await asked('POST', '/share', { ...target, ...body })
    expect(told).toMatchObject({ status: 400, code: 'InvalidRequest' })
    expect(told.message).toContain(field)
  })

  it.each([[{ file_id: 'x' }], [{ file_id: "'; drop table" }], [{ bucket: 'docs', path: 'a\0b' }]])(
    'finds nothing by %j',
    async (body) => {
      expect(await asked('POST', '/share', body)).toMatchObject({ status: 404, code: 'NoSuchKey' })
    },
  )

  it('is made once for one Idempotency-Key, on any server, and told with the same token', async () => {
    const { id } = await object()
    const send = async (body: object, at: Served = server, token = owner) => {
      const headers = { 'idempotency-key': 'once' }
      const response = await at.request('POST', '/storage/v1/share', { body, headers, token })
      const replayed = response.headers.get('idempotent-replayed')
      return { status: response.status, replayed, ...((await response.json()) as Shared & { code?: string }) }
    }
    const first = await send({ file_id: id, password: undefined })
    const second = await send({ file_id: id }, other)
    const share_url = first.share_url.replace(server.url, other.url)
    expect(second).toEqual({ ...first, share_url, replayed: 'true' })
    expect(await visit(server, first.share_id, withToken(second))).toMatchObject({ status: 200 })
    expect(await send({ file_id: id, password: 'p' })).toMatchObject({ code: 'IdempotencyKeyReused' })
    expect(await send({ file_id: id }, server, server.keys.serviceKey)).not.toMatchObject({
      share_id: first.share_id,
    })
    const kept = JSON.stringify(await server.admin`select note, answer from strongroom.idempotency_keys`)
    expect(kept).not.toContain(first.access_token)
    expect((await server.admin`select from storage.shares where object_id = ${id}`).length).toBe(2)
  })

  it('ends at so many active ones of a user', async () => {
    const { id } = await object()
    const crowd = await server.token('crowd')
    await server.admin`update storage.objects set owner_id = 'crowd' where id = ${id}`
    await server.admin`
      insert into storage.shares (share_id, object_id, shared_by, sharer_role, sharer_claims, permissions, expires_at)
      select lpad(n::text, 22, 'x'), ${id}, 'crowd', 'authenticated', '{}', '{}', now() + interval '1 hour'
      from generate_series(1, 10000) n`
    expect(await asked('POST', '/share', { file_id: id }, crowd)).toMatchObject({ code: 'TooManyShares' })
    expect(await asked('DELETE', '/share?shared_by=crowd', undefined, server.keys.serviceKey)).toMatchObject({
      count: 10_000,
    })
    expect(await asked('POST', '/share', { file_id: id }, crowd)).toMatchObject({ status: 201 })
  })
})

/** What is told to whoever has the link: the first row that is true. */
describe('a share answers', () => {
  type Case = [
    what: string,
    options: Record<string, unknown>,
    visit: VisitOptions & { secret?: 'none' | 'wrong' },
    told: [number, string?],
    before?: (made: Awaited<ReturnType<typeof shared>>) => Promise<unknown>,
  ]
  const expired = (made: Shared) =>
    server.admin`update storage.shares set expires_at = now() where share_id = ${made.share_id}`
  const revoked = (made: Shared) => asked('DELETE', `/share/${made.share_id}`)
  const exhausted = (made: Shared) =>
    server.admin`update storage.shares set download_count = max_downloads where share_id = ${made.share_id}`
  const gone = (made: { bucket: string; path: string }) =>
    server.request('DELETE', `/storage/v1/object/${made.bucket}/${made.path}`)
  const file = { path: '/file', method: 'DELETE' }
  const download = { path: '/download' }
  const access = { path: '/access', method: 'POST', body: {} }
  const none = { view: false, download: false, delete: false }
  const CASES: Case[] = [
    ['what it is', {}, {}, [200]],
    ['what it is, by POST', {}, access, [200]],
    ['a URL to download', {}, download, [302]],
    ['when it deletes', {}, file, [204]],
    ['without a secret', {}, { secret: 'none' }, [401, 'ShareSecretRequired']],
    ['with a wrong token', {}, { secret: 'wrong' }, [401, 'InvalidShareSecret']],
    ['with a wrong password', { password: 'p' }, { secret: 'wrong' }, [401, 'InvalidShareSecret']],
    [
      'with a token for a password',
      { password: 'p' },
      { headers: { 'x-share-token': 'x' } },
      [401, 'ShareSecretRequired'],
    ],
    ['with the password', { password: 'pä ss' }, {}, [200]],
    ['when it is expired, whatever the secret', {}, { secret: 'wrong' }, [404, 'NoSuchShare'], expired],
    ['when it is expired', {}, {}, [404, 'NoSuchShare'], expired],
    ['when it is revoked', {}, download, [404, 'NoSuchShare'], revoked],
    ['when it is exhausted', { max_downloads: 1 }, {}, [403, 'ShareExhausted'], exhausted],
    [
      'when it is exhausted, to a wrong secret',
      { max_downloads: 1 },
      { secret: 'wrong' },
      [401, 'InvalidShareSecret'],
      exhausted,
    ],
    [
      'when it is exhausted and forbids',
      { max_downloads: 1, permissions: none },
      {},
      [403, 'ShareExhausted'],
      exhausted,
    ],
    ['without view', { permissions: { ...ALL, view: false } }, {}, [403, 'ShareForbids']],
    ['without download', { permissions: { ...ALL, download: false } }, download, [403, 'ShareForbids']],
    ['without delete', { permissions: { ...ALL, delete: false } }, file, [403, 'ShareForbids']],
    ['by default, to a download', { permissions: undefined }, download, [403, 'ShareForbids']],
    ['when its object is gone', {}, {}, [404, 'NoSuchShare'], gone],
  ]

  it.each(CASES)('%s', async (_, options, { secret, ...visiting }, [status, code], before) => {
    const made = await shared(options)
    await before?.(made)
    const password = options.password as string | undefined
    const right = password === undefined ? { token: made.access_token ?? '' } : { password }
    const sent = secret === 'wrong' ? Object.fromEntries(Object.keys(right).map((key) => [key, 'no'])) : right
    const query =
      secret === 'none' || (status === 401 && code === 'ShareSecretRequired')
        ? ''
        : `?${new URLSearchParams(sent)}`
    const told = await visit(server, made.share_id, { ...visiting, path: `${visiting.path ?? ''}${query}` })
    expect({ status: told.status, code: told.code }).toEqual({ status, code })
    expect(told.headers.get('cache-control')).toBe('no-store')
  })

  it.each(['x', 'x'.repeat(22), '%00', `${'x'.repeat(2000)}`, '%F0%9F%98%80'])(
    'NoSuchShare by the id %j',
    async (id) => {
      expect(await visit(server, id, { path: '?token=x' })).toMatchObject({ status: 404 })
    },
  )

  it('the one whom it is for without a secret, and nobody else who is signed in', async () => {
    const made = await shared({ shared_with: 'friend', password: 'p' })
    const as = async (subject: string) =>
      visit(server, made.share_id, { headers: { authorization: `Bearer ${await server.token(subject)}` } })
    expect(await as('friend')).toMatchObject({ status: 200 })
    expect(await as('stranger')).toMatchObject({ status: 401 })
  })

  it('with what is shared, and not with whose or where it is', async () => {
    const target = await object('docs', 'cases/secret/')
    const made = await share(server, { file_id: target.id }, owner)
    const told = await visit(server, made.share_id, withToken(made))
    expect(told).toMatchObject({
      file_id: target.id,
      file_name: target.path.split('/').at(-1),
      size: TEXT.length,
      content_type: 'text/plain',
      user_id: null,
      permissions: { view: true, download: false, delete: false },
      remaining_downloads: null,
      download_url: null,
    })
    expect(told.text).not.toMatch(/owner|secret|docs/)
  })
})

describe('downloads of a share', () => {
  const fetched = async (url: string) => {
    const response = await fetch(url)
    return { status: response.status, text: await response.text() }
  }

  it('are by a URL that works for 15 minutes', async () => {
    const made = await shared({ max_downloads: 2 })
    const told = await visit(server, made.share_id, withToken(made))
    expect(told).toMatchObject({ remaining_downloads: 1 })
    const life = Date.parse(told.download_url_expires_at ?? '') - Date.now()
    expect(Math.round(life / 60_000)).toBe(15)
    expect(await fetched(told.download_url ?? '')).toEqual({ status: 200, text: TEXT })
    const found = await visit(other, made.share_id, withToken(made, { path: '/download' }))
    expect(await fetched(found.headers.get('location') ?? '')).toEqual({ status: 200, text: TEXT })
    expect(await visit(server, made.share_id, withToken(made))).toMatchObject({ code: 'ShareExhausted' })
    // What was issued goes on.
    expect(await fetched(told.download_url ?? '')).toMatchObject({ status: 200 })
  })

  it('are never by a URL that works longer than the share', async () => {
    const made = await shared()
    await server.admin`update storage.shares set expires_at = now() + interval '60 seconds' where share_id = ${made.share_id}`
    const told = await visit(server, made.share_id, withToken(made))
    expect(Date.parse(told.download_url_expires_at ?? '') - Date.now()).toBeLessThanOrEqual(60_000)
  })

  it.each([1, 3])('are %i of many at the same moment, over two servers', async (most) => {
    const made = await shared({ max_downloads: most })
    const tries = Array.from({ length: 12 }, (_, index) =>
      visit(
        index % 2 ? server : other,
        made.share_id,
        withToken(made, index % 3 ? { path: '/download' } : {}),
      ),
    )
    const statuses = (await Promise.all(tries)).map(({ status }) => (status === 302 ? 200 : status)).sort()
    expect(statuses).toEqual([...Array(most).fill(200), ...Array(12 - most).fill(403)])
    expect(await rowOf(made)).toMatchObject({ download_count: most, last_downloaded_at: expect.any(String) })
  })

  it('are not counted for HEAD, for info, and where none is allowed', async () => {
    const made = await shared({ max_downloads: 1 })
    expect(await visit(server, made.share_id, withToken(made, { path: '?info=true' }))).toMatchObject({
      remaining_downloads: 1,
      download_url: null,
    })
    expect(await visit(server, made.share_id, withToken(made, { method: 'HEAD' }))).toMatchObject({
      status: 200,
    })
    expect(
      await visit(server, made.share_id, withToken(made, { method: 'HEAD', path: '/download' })),
    ).toMatchObject({ status: 204 })
    const seen = await shared({ max_downloads: 1, permissions: { view: true } })
    await visit(server, seen.share_id, withToken(seen))
    for (const one of [made, seen]) expect(await rowOf(one)).toMatchObject({ download_count: 0 })
  })
})

describe('a share that is changed', () => {
  it('ends with its issued URLs, on all servers', async () => {
    const made = await shared()
    const { download_url: url } = await visit(server, made.share_id, withToken(made))
    const elsewhere = url?.replace(server.url, other.url) ?? ''
    expect((await fetch(elsewhere)).status).toBe(200)
    expect(await asked('DELETE', `/share/${made.share_id}`, undefined, stranger)).toMatchObject({
      status: 404,
    })
    expect(await asked('DELETE', `/share/${made.share_id}`)).toMatchObject({ status: 204 })
    expect(await asked('DELETE', `/share/${made.share_id}`)).toMatchObject({ status: 204 })
    expect((await fetch(elsewhere)).status).toBe(410)
    expect((await fetch(url ?? '')).status).toBe(410)
    expect(await asked('PATCH', `/share/${made.share_id}`, { expires_hours: 1 })).toMatchObject({
      code: 'NoSuchShare',
    })
  })

  it('has what was changed, and all else as before', async () => {
    const made = await shared({ max_downloads: 5 })
    const path = `/share/${made.share_id}`
    const told = await asked('PATCH', path, { expires_hours: 2, permissions: { delete: false } })
    expect(told).toMatchObject({
      max_downloads: 5,
      permissions: { view: true, download: true, delete: false },
      access_token: null,
    })
    expect(Math.round((Date.parse(told.expires_at) - Date.now()) / 3_600_000)).toBe(2)
    expect(await asked('PATCH', path, { max_downloads: null })).toMatchObject({ max_downloads: null })
    // A password takes the token's place, and a token the password's.
    expect(await asked('PATCH', path, { password: 'p' })).toMatchObject({ has_password: true })
    expect(await visit(server, made.share_id, withToken(made))).toMatchObject({ status: 401 })
    expect(await visit(server, made.share_id, { headers: { 'x-share-password': 'p' } })).toMatchObject({
      status: 200,
    })
    const { access_token } = await asked('PATCH', path, { password: null })
    expect(await visit(server, made.share_id, withToken({ ...made, access_token }))).toMatchObject({
      status: 200,
    })
    expect(await asked('PATCH', path, { expires_hours: 721 })).toMatchObject({ status: 400 })
    expect(await asked('PATCH', path, {}, stranger)).toMatchObject({ status: 404 })
  })

  it('stays when its object is overwritten and moved, and gives what is there then', async () => {
    const made = await shared()
    await put(server, `docs/${made.path}`, 'another')
    const to = `moved/${made.path}`
    const body = { bucketId: 'docs', sourceKey: made.path, destinationKey: to }
    expect((await server.request('POST', '/storage/v1/object/move', { body })).status).toBe(200)
    const { download_url: url } = await visit(server, made.share_id, withToken(made))
    expect(await (await fetch(url ?? '')).text()).toBe('another')
  })

  it.each([
    ['by the API', 'docs', (made: { path: string }) => server.request('DELETE', `/object/docs/${made.path}`)],
    [
      'by plain SQL',
      'docs',
      (made: { id: string }) => server.admin`delete from storage.objects where id = ${made.id}`,
    ],
  ])('ends when its object is deleted %s', async (_, bucket, remove) => {
    const made = await shared({}, bucket)
    await remove(made)
    expect(await rowOf(made)).toMatchObject({ is_active: false, revoked_at: expect.any(String) })
  })

  it.each(['bin', 'kept'])('waits for an object that can come back, in %s', async (bucket) => {
    const made = await shared({}, bucket)
    await server.request('DELETE', `/storage/v1/object/${bucket}/${made.path}`)
    expect(await visit(server, made.share_id, withToken(made))).toMatchObject({ code: 'NoSuchKey' })
    expect(await rowOf(made)).toMatchObject({ is_active: true })
    if (bucket !== 'bin') return
    const restored = await server.request('POST', '/storage/v1/trash/restore', { body: { ids: [made.id] } })
    expect(restored.status).toBe(200)
    expect(await visit(server, made.share_id, withToken(made))).toMatchObject({ status: 200 })
  })

  it('deletes in the name of its sharer, whose policies decide, and ends', async () => {
    const made = await shared()
    await server.admin.unsafe(
      `create policy kept on storage.objects as restrictive for delete to authenticated using (name <> '${made.path}')`,
    )
    const remove = () => visit(server, made.share_id, withToken(made, { path: '/file', method: 'DELETE' }))
    expect((await remove()).status).toBe(403)
    expect(await rowOf(made)).toMatchObject({ is_active: true })
    await server.admin`drop policy kept on storage.objects`
    expect(await remove()).toMatchObject({ status: 204 })
    expect(await rowOf(made)).toMatchObject({ is_active: false })
    expect((await remove()).status).toBe(404)
  })

  it('is gone 30 days after its end', async () => {
    const [made, recent] = [await shared(), await shared()]
    await server.admin`update storage.shares set expires_at = now() - interval '31 days' where share_id = ${made.share_id}`
    await server.admin`update storage.shares set expires_at = now() - interval '29 days' where share_id = ${recent.share_id}`
    await server.admin`select storage.forget_shares(10)`
    expect(await rowOf(made)).toBeUndefined()
    expect(await rowOf(recent)).toBeDefined()
  })
})

describe('lists of shares', () => {
  it('are of the sharer, of whom it is shared with, and of the service', async () => {
    const [lister, friend] = [await server.token('lister'), await server.token('guest')]
    const { id } = await object()
    await server.admin`update storage.objects set owner_id = 'lister' where id = ${id}`
    const made: string[] = []
    for (const shared_with of ['guest', undefined, 'guest']) {
      made.unshift((await share(server, { file_id: id, shared_with }, lister)).share_id)
    }
    await asked('DELETE', `/share/${made[2]}`, undefined, lister)
    const list = async (query: string, token: string) => {
      const { items, next } = await asked('GET', `/share${query}`, undefined, token)
      return { ids: items.map((one: Shared) => one.share_id), next }
    }
    expect(await list('', lister)).toEqual({ ids: made, next: null })
    expect(await list(`?file_id=${id}`, server.keys.serviceKey)).toEqual({ ids: made, next: null })
    expect((await list('?active=true', lister)).ids).toEqual(made.slice(0, 2))
    expect((await list('?active=false', lister)).ids).toEqual(made.slice(2))
    expect((await list('?with=me', friend)).ids).toEqual([made[0], made[2]])
    expect((await list('', friend)).ids).toEqual([])
    const first = await list('?limit=2', lister)
    expect(first.ids).toEqual(made.slice(0, 2))
    expect(await list(`?limit=2&cursor=${first.next}`, lister)).toEqual({ ids: made.slice(2), next: null })
    expect(await asked('GET', '/share?cursor=x', undefined, lister)).toMatchObject({
      code: 'InvalidParameter',
    })
    expect(await asked('GET', '/share?file_id=x', undefined, lister)).toMatchObject({
      code: 'InvalidRequest',
    })
  })
})

describe('the secret of a share', () => {
  it.each(['token', 'password'])('may be a wrong %s ten times a minute, over two servers', async (kind) => {
    const made = await shared(kind === 'password' ? { password: 'right' } : {})
    const tries = Array.from({ length: 14 }, (_, index) =>
      visit(index % 2 ? server : other, made.share_id, {
        headers: { [`x-share-${kind}`]: `wrong ${index}` },
      }),
    )
    const told = await Promise.all(tries)
    expect(told.map(({ status }) => status).sort()).toEqual([...Array(10).fill(401), ...Array(4).fill(429)])
    expect(told.find(({ status }) => status === 429)?.headers.get('retry-after')).toBe('60')
    const right = () =>
      visit(server, made.share_id, {
        headers: { [`x-share-${kind}`]: kind === 'token' ? (made.access_token ?? '') : 'right' },
      })
    // Who has a token is not locked out by others; a password may have been guessed.
    expect((await right()).status).toBe(kind === 'token' ? 200 : 429)
    await server.admin`update storage.shares set wrong_since = now() - interval '61 seconds' where share_id = ${made.share_id}`
    expect((await right()).status).toBe(200)
  })

  it('is in no log, event or audit entry, and in no setting that policies read', async () => {
    const made = await shared({ password: 'a secret word' })
    const plain = await shared()
    await visit(server, made.share_id, { path: '?password=a+secret+word' })
    await visit(server, made.share_id, { headers: { 'x-share-password': 'a secret word' } })
    await visit(server, plain.share_id, { path: `/download?token=${plain.access_token}` })
    await visit(server, plain.share_id, { path: `/file?token=${plain.access_token}`, method: 'DELETE' })
    const audited = () =>
      server.admin`select * from storage.audit_log where resource_id = ${made.share_id} order by action, at`
    await until(async () => (await audited()).length >= 3, 'the audit log has it')
    expect(await audited()).toMatchObject([
      { action: 'share', user_id: 'owner' },
      { action: 'share_access', via: 'share', path: made.path },
      { action: 'share_access', via: 'share' },
    ])
    const events = await server.admin`select * from storage.events`
    const told = JSON.stringify([server.logs, events, await server.admin`select * from storage.audit_log`])
    for (const secret of ['a secret word', 'a+secret+word', plain.access_token ?? 'none', 'scrypt$']) {
      expect(told).not.toContain(secret)
    }
  })

  it('of many who try passwords at once leaves the server to others', async () => {
    const made = await shared({ password: 'right' })
    const tries = Array.from({ length: 120 }, () =>
      visit(server, made.share_id, { headers: { 'x-share-password': 'wrong' } }),
    )
    const innocent = await shared()
    expect(await visit(server, innocent.share_id, withToken(innocent))).toMatchObject({ status: 200 })
    const statuses = (await Promise.all(tries)).map(({ status }) => status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(10)
    expect(new Set(statuses)).toEqual(new Set([401, 429]))
  })
})

describe('events of shares', () => {
  it('are told to the sharer, the owner of the bucket and the service, and to nobody else', async () => {
    await server.createBucket('heard', { policy: 'authenticated' })
    await server.admin`update storage.buckets set owner_id = 'keeper' where id = 'heard'`
    const [keeper, service] = [await server.token('keeper'), server.keys.serviceKey]
    const readers = await Promise.all(
      [owner, keeper, service, stranger].map((token) => openEvents(server, { token })),
    )
    const made = await shared({ shared_with: 'friend', max_downloads: 3 }, 'heard')
    await visit(server, made.share_id, withToken(made))
    await asked('DELETE', `/share/${made.share_id}`)
    // One that all hear says when all is heard.
    await put(server, 'heard/last.txt', 'last')
    const told = await Promise.all(
      readers.map(async (reader) => {
        await until(() => reader.heard().some((one) => one.endsWith('last.txt')), 'the last is heard')
        reader.close()
        return reader.blocks.flatMap(({ event, data }) =>
          event?.startsWith('storage.share.') && data ? [JSON.parse(data)] : [],
        )
      }),
    )
    const types = told.map((events) => events.map(({ type }) => type))
    const all = ['storage.share.created', 'storage.share.accessed', 'storage.share.revoked']
    expect(types).toEqual([all, all, all, []])
    expect(told[0]?.[1].data).toEqual({
      share_id: made.share_id,
      object_id: made.id,
      bucket: 'heard',
      path: made.path,
      shared_by: 'owner',
      shared_with: 'friend',
      shared_with_email: null,
      permissions: ALL,
      expires_at: expect.stringMatching(/Z$/),
      max_downloads: 3,
      download_count: 1,
    })
  })
})

it('attempts to use shares are counted by what became of them', async () => {
  const made = await shared()
  await visit(server, made.share_id, withToken(made))
  await visit(server, made.share_id)
  const metrics = await (await server.request('GET', '/metrics')).text()
  expect(metrics).toMatch(/storage_share_access_total\{result="allowed"\} [1-9]/)
  expect(metrics).toMatch(/storage_share_access_total\{result="no_secret"\} [1-9]/)
})
