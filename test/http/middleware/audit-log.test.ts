import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { AuditTrail, type Entry, object } from '../../support/audit-trail.ts'
import { RawConnection, rawRequest } from '../../support/raw-http.ts'
import { PAIR, type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { presign } from '../../support/s3-signer.ts'
import { open, put, sign, tokenOf } from '../../support/signed.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

describe.each(['', 'supabase'])('with STORAGE_AUDIT=all and compat %j', (compat) => {
  let server: S3TestServer
  let trail: AuditTrail
  let user: string

  beforeAll(async () => {
    server = await startS3Server({ STORAGE_AUDIT: 'all', STORAGE_COMPAT: compat })
    trail = new AuditTrail(server)
    await server.createBucket('docs', { public: false })
    await server.createBucket('pub', { public: true })
    await server.admin`
      create policy mine on storage.objects for all to authenticated
      using (bucket_id = 'docs' and name not like 'secret/%') with check (bucket_id = 'docs' and name not like 'secret/%')`
    user = await server.token('user-1')
    for (const name of ['docs/a.txt', 'pub/hot.txt', 'docs/secret/x']) await put(server, name, 'hello')
  })
  afterAll(() => server.close())

  afterEach(() => trail.check())

  it('has who has uploaded, overwritten, read, moved, copied and deleted what', async () => {
    const of = { token: user, headers: { 'user-agent': 'a test' } }
    const [made] = await trail.entriesOf(
      await trail.done('POST', '/object/docs/b.txt', { ...of, body: 'bytes' }),
    )
    expect(made).toMatchObject(
      object({
        action: 'upload',
        user_id: 'user-1',
        role: 'authenticated',
        bucket: 'docs',
        path: 'b.txt',
        file_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        status: compat === '' ? 201 : 200,
        bytes: 5,
        address: '127.0.0.1',
        user_agent: 'a test',
        via: 'token',
        credential: null,
        target: null,
        repeated: 0,
      }),
    )
    const id = made?.file_id
    const same = { bucket: 'docs', user_id: 'user-1', file_id: id }
    trail
      .expect(await trail.done('PUT', '/object/docs/b.txt', { ...of, body: 'more' }))
      .toMatchObject([object({ ...same, action: 'update', path: 'b.txt', bytes: 4 })])
    trail
      .expect(await trail.done('GET', '/object/docs/b.txt', of))
      .toMatchObject([object({ ...same, action: 'download', path: 'b.txt', status: 200, bytes: 4 })])
    const move = { bucketId: 'docs', sourceKey: 'b.txt', destinationKey: 'c.txt' }
    trail
      .expect(await trail.done('POST', '/object/move', { ...of, body: move }))
      .toMatchObject([object({ ...same, action: 'move', path: 'b.txt', target: 'docs/c.txt' })])
    const copy = { bucketId: 'docs', sourceKey: 'c.txt', destinationKey: 'd.txt' }
    const [copied] = await trail.entriesOf(await trail.done('POST', '/object/copy', { ...of, body: copy }))
    expect(copied).toMatchObject(object({ action: 'copy', path: 'c.txt', target: 'docs/d.txt' }))
    expect(copied?.file_id).not.toBe(id)
    trail
      .expect(await trail.done('DELETE', '/object/docs/c.txt', of))
      .toMatchObject([object({ ...same, action: 'delete', path: 'c.txt' })])
    trail
      .expect(await trail.done('DELETE', '/object/docs', { ...of, body: { prefixes: ['d.txt', 'no.txt'] } }))
      .toMatchObject([
        object({ action: 'delete', path: 'd.txt', file_id: copied?.file_id, status: 200 }),
        { action: 'delete', path: 'no.txt', allowed: false, status: 404 },
      ])
    // What is only looked at by a user.
    trail.expect(await trail.done('HEAD', '/object/docs/a.txt', of)).toEqual([])
    trail.expect(await trail.done('GET', '/object/info/docs/a.txt', of)).toEqual([])
    trail.expect(await trail.done('POST', '/object/list/docs', { ...of, body: { prefix: '' } })).toEqual([])
  })

  it('has what was refused, by the true status in either mode', async () => {
    const refused = { allowed: false, path: 'secret/y', bucket: 'docs' }
    trail
      .expect(await trail.done('POST', '/object/docs/secret/y', { token: user, body: 'x' }))
      .toMatchObject([{ ...refused, action: 'upload', status: 403, user_id: 'user-1', file_id: null }])
    trail
      .expect(await trail.done('GET', '/object/docs/secret/x', { token: user }))
      .toMatchObject([{ ...refused, path: 'secret/x', action: 'download', status: 404 }])
    trail
      .expect(await trail.done('POST', '/object/docs/secret/y', { token: 'garbage', body: 'x' }))
      .toMatchObject([
        { action: 'upload', allowed: false, user_id: null, role: null, status: expect.any(Number) },
      ])
    // Not refused by any right: it was there already.
    trail
      .expect(await trail.done('POST', '/object/docs/a.txt', { token: user, body: 'x' }))
      .toMatchObject([{ action: 'upload', allowed: true, status: 409 }])
  })

  if (compat === 'supabase') return // whose wire alone is another

  it('has downloads from memory, and by links, and who issued those', async () => {
    const hot = () => open(server, '/object/public/pub/hot.txt')
    for (let reads = 0; reads < 5; reads++) expect((await hot()).status).toBe(200)
    const id = randomUUID()
    await open(server, '/object/public/pub/hot.txt', { headers: { 'x-request-id': id } })
    trail.expect(id).toMatchObject([
      object({
        action: 'download',
        user_id: null,
        role: 'anon',
        via: 'public',
        path: 'hot.txt',
        bytes: 5,
        file_id: expect.any(String),
      }),
    ])
    const signing = await trail.done('POST', '/object/sign/docs/a.txt', {
      token: user,
      body: { expiresIn: 60 },
    })
    trail.expect(signing).toMatchObject([object({ action: 'access', path: 'a.txt', user_id: 'user-1' })])
    const many = { expiresIn: 60, paths: ['a.txt', 'absent'] }
    trail
      .expect(await trail.done('POST', '/object/sign/docs', { token: user, body: many }))
      .toMatchObject([
        object({ action: 'access', path: 'a.txt' }),
        { action: 'access', path: 'absent', allowed: false, status: 404 },
      ])
    const token = tokenOf(await sign(server, 'docs/a.txt'))
    trail
      .expect(await trail.done('GET', `/object/sign/docs/a.txt?token=${token}`, { token: null }))
      .toMatchObject([object({ action: 'download', via: 'signed', path: 'a.txt' })])
    trail
      .expect(await trail.done('GET', `/object/sign/docs/b.txt?token=${token}`, { token: null }))
      .toMatchObject([{ action: 'download', via: 'signed', path: 'b.txt', file_id: null }])
    const upload = await server.request('POST', '/object/upload/sign/docs/signed.txt', { token: user })
    const uploadToken = ((await upload.json()) as { token: string }).token
    const path = `/object/upload/sign/docs/signed.txt?token=${uploadToken}`
    trail
      .expect(await trail.done('PUT', path, { token: null, body: 'x' }))
      .toMatchObject([object({ action: 'upload', via: 'signed', user_id: 'user-1', path: 'signed.txt' })])
    const all = JSON.stringify(await server.admin`select * from storage.audit_log`)
    for (const secret of [token, uploadToken, user, server.keys.serviceKey]) expect(all).not.toContain(secret)
  })

  it('has one entry for a resumable upload, at its end', async () => {
    const tus = new TusRequests(server, { token: user })
    const ids = [randomUUID(), randomUUID(), randomUUID()]
    const withId = (n: number) => ({ headers: { 'x-request-id': ids[n] } })
    const at = { bucket: 'docs', name: 'tus.bin' }
    const created = await tus.create(at, 10, withId(0))
    const url = String(created.headers.get('location'))
    const patch = (n: number, offset: number) =>
      tus.send('PATCH', url, {
        body: '12345',
        headers: {
          'content-type': 'application/offset+octet-stream',
          'upload-offset': String(offset),
          ...withId(n).headers,
        },
      })
    expect((await patch(1, 0)).status).toBe(204)
    expect((await patch(2, 5)).status).toBe(204)
    for (const id of ids.slice(0, 2)) trail.expect(id).toEqual([])
    trail
      .expect(String(ids[2]))
      .toMatchObject([object({ action: 'upload', path: 'tus.bin', bytes: 10, file_id: expect.any(String) })])
    const refused = randomUUID()
    await tus.create({ bucket: 'docs', name: 'secret/tus' }, 10, { headers: { 'x-request-id': refused } })
    trail.expect(refused).toMatchObject([{ action: 'upload', allowed: false, status: 403 }])
  })

  it('says of S3 clients by which access key, and has what became of each key', async () => {
    const key = { via: 'key', credential: PAIR.accessKeyId, role: 'service_role', bucket: 'docs' }
    const [made] = await trail.entriesOf((await trail.s3('PUT', '/docs/s3.txt', { body: 'hello' })).id)
    expect(made).toMatchObject(object({ ...key, action: 'upload', path: 's3.txt', bytes: 5 }))
    trail
      .expect((await trail.s3('GET', '/docs/s3.txt')).id)
      .toMatchObject([object({ ...key, action: 'download', file_id: made?.file_id })])
    const copy = { headers: { 'x-amz-copy-source': '/docs/s3.txt' } }
    trail
      .expect((await trail.s3('PUT', '/docs/s3-copy.txt', copy)).id)
      .toMatchObject([object({ ...key, action: 'copy', path: 's3.txt', target: 'docs/s3-copy.txt' })])
    const begun = await trail.s3('POST', '/docs/parts.bin?uploads')
    const [, uploadId = ''] = /<UploadId>(.*?)<\/UploadId>/.exec(begun.text) ?? []
    trail.expect(begun.id).toEqual([])
    const part = await server.send('PUT', `/docs/parts.bin?partNumber=1&uploadId=${uploadId}`, {
      body: 'part',
    })
    const parts = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.get('etag')}</ETag></Part></CompleteMultipartUpload>`
    trail
      .expect((await trail.s3('POST', `/docs/parts.bin?uploadId=${uploadId}`, { body: parts })).id)
      .toMatchObject([
        object({ ...key, action: 'upload', path: 'parts.bin', bytes: 4, file_id: expect.any(String) }),
      ])
    const keys = ['s3.txt', 's3-copy.txt', 'no.txt'].map((name) => `<Object><Key>${name}</Key></Object>`)
    trail
      .expect((await trail.s3('POST', '/docs?delete', { body: `<Delete>${keys.join('')}</Delete>` })).id)
      .toMatchObject([
        { ...key, action: 'delete', path: 'no.txt', status: 404 },
        object({ ...key, action: 'delete', path: 's3-copy.txt' }),
        object({ ...key, action: 'delete', path: 's3.txt', file_id: made?.file_id }),
      ])
    const id = randomUUID()
    const url = presign({ method: 'GET', url: `${server.endpoint}/docs/a.txt` }, PAIR, 60)
    await open(server, String(url), { headers: { 'x-request-id': id } })
    trail
      .expect(id)
      .toMatchObject([object({ action: 'download', via: 'signed', credential: PAIR.accessKeyId })])
  })

  it('has buckets, webhooks, access keys, and whatever the service looks at', async () => {
    trail.expect(await trail.done('POST', '/bucket', { body: { name: 'more' } })).toMatchObject([
      {
        action: 'create',
        resource_type: 'bucket',
        resource_id: 'more',
        bucket: 'more',
        role: 'service_role',
      },
    ])
    trail
      .expect(await trail.done('POST', '/bucket/more/empty'))
      .toMatchObject([{ action: 'empty', resource_id: 'more' }])
    trail
      .expect(await trail.done('PUT', '/bucket/more', { token: user, body: { public: true } }))
      .toMatchObject([{ action: 'update', allowed: false, user_id: 'user-1' }])
    trail
      .expect(await trail.done('DELETE', '/bucket/more'))
      .toMatchObject([{ action: 'delete', resource_id: 'more' }])
    const [made] = await trail.entriesOf(await trail.done('POST', '/credential', { body: { role: 'anon' } }))
    expect(made).toMatchObject({ action: 'create', resource_type: 'credential' })
    trail
      .expect(await trail.done('DELETE', `/credential/${made?.resource_id}`))
      .toMatchObject([
        { action: 'delete', resource_type: 'credential', resource_id: made?.resource_id, status: 204 },
      ])
    const rules = [{ action: 'delete', after_days: 1 }]
    const policy = { body: { name: 'tidy', bucket: 'docs', enabled: false, rules } }
    const [ruled] = await trail.entriesOf(await trail.done('POST', '/lifecycle', policy))
    expect(ruled).toMatchObject({ action: 'create', resource_type: 'lifecycle', bucket: 'docs' })
    for (const [method, path, action] of [
      ['PUT', '', 'update'],
      ['POST', '/run?dry_run=true', 'read'],
      ['POST', '/run', 'run'],
      ['DELETE', '', 'delete'],
    ] as const) {
      const init = method === 'PUT' ? { body: { rules } } : {}
      trail
        .expect(await trail.done(method, `/lifecycle/${ruled?.resource_id}${path}`, init))
        .toMatchObject([{ action, resource_type: 'lifecycle', resource_id: ruled?.resource_id }])
    }
    const hook = { url: 'https://hooks.example/x' }
    trail
      .expect(await trail.done('POST', '/webhook', { body: hook }))
      .toMatchObject([
        { action: 'create', resource_type: 'webhook', resource_id: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      ])
    for (const [method, path, on] of [
      ['POST', '/object/list/docs', 'object'],
      ['GET', '/bucket/docs', 'bucket'],
      ['GET', '/webhook', 'webhook'],
      ['GET', '/audit', 'audit'],
    ] as const) {
      const body = method === 'POST' ? { prefix: '' } : null
      trail
        .expect(await trail.done(method, path, { body }))
        .toMatchObject([{ action: 'read', resource_type: on, role: 'service_role', status: 200 }])
    }
  })

  it('takes what PostgreSQL would not, and no more of it than fits', async () => {
    const name = `x%00${'y'.repeat(3000)}`
    trail.expect(await trail.done('POST', `/object/docs/${name}`, { token: user, body: 'x' })).toMatchObject([
      {
        action: 'upload',
        status: 400,
        path: expect.stringMatching(/^x\ufffdy+…$/),
      },
    ])
    const lone = { bucketId: 'docs', sourceKey: '\ud800', destinationKey: 'b' }
    trail
      .expect(await trail.done('POST', '/object/move', { token: user, body: lone }))
      .toMatchObject([{ action: 'move', path: '\ufffd' }])
  })

  it('has an upload whose client went away, with its address', async () => {
    const id = randomUUID()
    const connection = await RawConnection.open(server.url)
    const about = ['Content-Type: text/plain', 'Content-Length: 1000000']
    const headers = [`Authorization: Bearer ${user}`, `X-Request-Id: ${id}`, ...about]
    await connection.send(rawRequest('PUT', '/object/docs/broken.bin', headers).toString(), 'some of it')
    await until(
      async () => (await server.admin`select from storage.uploads`).length === 1,
      'the upload has begun',
    )
    connection.abort()
    await until(
      async () => (await server.admin`select from storage.uploads`).length === 0,
      'the upload is undone',
    )
    trail
      .expect(id)
      .toMatchObject([{ action: 'upload', path: 'broken.bin', status: 499, address: '127.0.0.1' }])
  })
})

describe('with STORAGE_AUDIT=writes', () => {
  let server: S3TestServer
  beforeAll(async () => {
    server = await startS3Server({ STORAGE_AUDIT: 'writes' })
    await server.createBucket('docs', { public: true })
  })
  afterAll(() => server.close())

  it('has no reads, and nothing that does not write', async () => {
    await put(server, 'docs/a.txt', 'hello')
    for (let reads = 0; reads < 3; reads++) await open(server, '/object/public/docs/a.txt')
    await sign(server, 'docs/a.txt')
    await server.request('GET', '/bucket')
    await put(server, 'docs/last.txt', 'hello')
    const rows = () => server.admin<Entry[]>`select action, path from storage.audit_log order by at`
    await until(async () => (await rows()).some(({ path }) => path === 'last.txt'), 'the log is written')
    expect(await rows()).toEqual([
      { action: 'create', path: null },
      { action: 'upload', path: 'a.txt' },
      { action: 'upload', path: 'last.txt' },
    ])
  })

  it('counts what a stranger is refused again and again, and has every write of others beside it', async () => {
    const strange = (n: number) =>
      server.request('POST', `/object/docs/strange-${n}.txt`, { token: 'garbage', body: 'x' })
    const uploads: Promise<void>[] = []
    for (let n = 0; n < 1000; n += 50) {
      await Promise.all(
        Array.from({ length: 50 }, async (_, more) => (await strange(n + more)).arrayBuffer()),
      )
      uploads.push(put(server, `docs/innocent-${n}.txt`, 'x'))
    }
    await Promise.all(uploads)
    const innocent = () => server.admin`
      select from storage.audit_log where path like 'innocent-%' and allowed and status < 400`
    await until(async () => (await innocent()).length === uploads.length, 'all writes of others are there')
    const strangers = await server.admin`select from storage.audit_log where not allowed`
    expect(strangers).toHaveLength(10)
  })
})
