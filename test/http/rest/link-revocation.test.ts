import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { signUrlToken } from '../../../src/storage/links/url-token.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, type Signed, sign, tokenOf } from '../../support/signed.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

/** Signed URLs that are taken back (docs/links.md, decision 0075). */

const [OWNER, SIGNER, READER, STRANGER] = ['owner', 'signer', 'reader', 'stranger'].map(
  (name) => `${name}-${randomUUID()}`,
) as [string, string, string, string]

let server: TestServer
let other: Served
beforeAll(async () => {
  server = await startTestServer()
  other = await server.beside()
  for (const bucket of ['docs', 'revoke', 'sign-path']) await server.createBucket(bucket)
  // The reader, the signer and the owner see all; the stranger sees nothing.
  await server.admin.unsafe(`
    create policy sees on storage.objects for select to authenticated
      using (bucket_id = 'docs' and auth.jwt() ->> 'sub' !~ '^stranger');
    create policy makes on storage.objects for insert to authenticated with check (bucket_id = 'docs')`)
})
afterAll(async () => {
  await other.close()
  await server.close()
})

let count = 0
/** An object of the owner's. */
async function newObject(): Promise<string> {
  const name = `f${count++}.txt`
  const { status } = await server.request('POST', `/object/docs/${name}`, {
    token: await server.token(OWNER),
    headers: { 'content-type': 'text/plain' },
    body: name,
  })
  expect(status).toBe(201)
  return name
}

const signedBy = async (subject: string, name: string, options = {}) =>
  sign(server, `docs/${name}`, 60, { token: await server.token(subject), ...options })

async function revoke(body: object, subject: string | null = null, at: Served = server) {
  const token = subject === null ? undefined : await server.token(subject)
  const answer = await at.request('POST', '/storage/v1/object/sign/revoke', {
    body,
    ...(token !== undefined && { token }),
  })
  const said = (await answer.json()) as { code?: string; id?: string; before?: string; message: string }
  return { ...said, status: answer.status }
}

const statusOf = async (signed: Signed, at: Served = server) =>
  (await open(at, `/storage/v1${signed.signedURL}`)).status

describe('who may revoke what', () => {
  const bodies = {
    token: (_: string, signed: Signed) => ({ token: tokenOf(signed) }),
    id: (_: string, { id }: Signed) => ({ id }),
    'id of object': (path: string, { id }: Signed) => ({ id, bucket: 'docs', path }),
    object: (path: string) => ({ bucket: 'docs', path }),
    subject: () => ({ subject: SIGNER }),
    before: () => ({ before: new Date(Date.now() - 86_400_000).toISOString() }),
  }
  it.each([
    // what, service, the object's owner, whoever has signed it, who sees it, who does not
    ['token', 200, 200, 200, 403, 404],
    ['id', 200, 400, 400, 400, 400],
    ['id of object', 200, 200, 403, 403, 404],
    ['object', 200, 200, 403, 403, 404],
    ['subject', 200, 403, 200, 403, 403],
    ['before', 200, 403, 403, 403, 403],
  ] as const)('%s', async (what, ...statuses) => {
    const told: number[] = []
    const left: (number | string)[] = []
    for (const who of [null, OWNER, SIGNER, READER, STRANGER]) {
      const name = await newObject()
      const signed = await signedBy(SIGNER, name)
      told.push((await revoke(bodies[what](name, signed), who)).status)
      left.push(await statusOf(signed))
    }
    expect(told).toEqual([...statuses])
    // What was refused has changed nothing, and what was signed later than a moment goes on.
    expect(left).toEqual(statuses.map((status) => (status === 200 && what !== 'before' ? 410 : 200)))
  })

  it("the bucket's owner all that is in it", async () => {
    const admin = `admin-${randomUUID()}`
    await server.admin`update storage.buckets set owner_id = ${admin} where id = 'docs'`
    const name = await newObject()
    const signed = await signedBy(SIGNER, name)
    expect(await revoke({ bucket: 'docs', path: name }, admin)).toMatchObject({ status: 200 })
    expect(await statusOf(signed)).toBe(410)
    const gone = await revoke({ bucket: 'docs', path: 'no such object' }, admin)
    expect(gone.status).toBe(200)
    await server.admin`update storage.buckets set owner_id = null where id = 'docs'`
  })

  it('nobody without a token, or by one that is not ours', async () => {
    const anonymous = await server.request('POST', '/object/sign/revoke', {
      token: null,
      body: { before: 1 },
    })
    expect(anonymous.status).toBe(401)
    const signed = await signedBy(SIGNER, await newObject())
    expect(await revoke({ token: `${tokenOf(signed)}x` }, SIGNER)).toMatchObject({ code: 'InvalidJWT' })
    expect(await revoke({ token: 'nonsense' }, SIGNER)).toMatchObject({ code: 'InvalidJWT' })
  })

  it.each([
    {},
    { id: 'nonsense' },
    { bucket: 'docs' },
    { path: 'a' },
    { bucket: 'docs', path: 'a', subject: 'b' },
    { subject: 'a', token: 'b' },
    { id: randomUUID(), before: new Date().toISOString() },
    { before: new Date(Date.now() + 86_400_000).toISOString() },
    { before: 'yesterday' },
    { ids: [] },
  ])('nothing by what says nothing, or too much: %j', async (body) => {
    expect(await revoke(body)).toMatchObject({ status: 400 })
  })
})

describe('what is revoked', () => {
  it('may have a path that is longer than an index takes', async () => {
    const path = `${randomBytes(1500).toString('hex')}/`
    const signed = await sign(server, `docs/${path}`, 60, { prefix: true })
    const below = { ...signed, signedURL: signed.signedURL.replace('?', 'a?') }
    expect(await statusOf(below)).toBe(404)
    expect(await revoke({ bucket: 'docs', path })).toMatchObject({ status: 200 })
    expect(await statusOf(below)).toBe(410)
    const again = await sign(server, `docs/${path}`, 60, { prefix: true })
    expect(await revoke({ bucket: 'docs', path, id: again.id })).toMatchObject({ status: 200 })
    expect(await statusOf({ ...again, signedURL: again.signedURL.replace('?', 'a?') })).toBe(410)
  })

  it('by its id alone: another of the same object goes on, and what it was revoked for is told', async () => {
    const name = await newObject()
    const [one, another] = [await signedBy(SIGNER, name), await signedBy(SIGNER, name)]
    expect(await revoke({ token: tokenOf(one) }, SIGNER)).toMatchObject({ id: one.id })
    expect([await statusOf(one), await statusOf(another)]).toEqual([410, 200])
    expect(await open(server, `/storage/v1${one.signedURL}`)).toMatchObject({ code: 'LinkRevoked' })
    expect(await open(server, `/object/docs/${name}?token=${tokenOf(one)}`)).toMatchObject({ status: 410 })
    expect((await open(server, `/storage/v1${one.signedURL}`, { method: 'HEAD' })).status).toBe(410)
  })

  it("an id is another object's for nobody", async () => {
    const [mine, others] = [await newObject(), await newObject()]
    const signed = await signedBy(SIGNER, others)
    expect((await revoke({ id: signed.id, bucket: 'docs', path: mine }, OWNER)).status).toBe(200)
    expect(await statusOf(signed)).toBe(200)
  })

  it('all until now or a moment: what is signed right afterwards works, also when it is the same', async () => {
    const name = await newObject()
    const first = await signedBy(SIGNER, name)
    for (let times = 0; times < 3; times++) {
      const signed = await signedBy(SIGNER, name)
      expect((await revoke({ bucket: 'docs', path: name }, OWNER)).status).toBe(200)
      expect(await statusOf(signed)).toBe(410)
      expect(await statusOf(await signedBy(SIGNER, name))).toBe(200)
    }
    const last = await signedBy(SIGNER, name)
    // An earlier moment takes nothing back of what a later one has revoked.
    const before = new Date(Date.now() - 60_000).toISOString()
    expect(await revoke({ bucket: 'docs', path: name, before }, OWNER)).toMatchObject({ before })
    expect([await statusOf(first), await statusOf(last)]).toEqual([410, 200])
  })

  it("all of a signer's, and of nobody whose subject is like it", async () => {
    const name = await newObject()
    const subjects = [SIGNER, `${SIGNER}\n`, `x${SIGNER}`, SIGNER.toUpperCase()]
    const signed: Signed[] = []
    for (const subject of subjects) signed.push(await signedBy(subject, name))
    await revoke({ subject: SIGNER }, SIGNER)
    expect(await Promise.all(signed.map((one) => statusOf(one)))).toEqual([410, 200, 200, 200])
    // The token does not say who that is.
    const claims = Buffer.from(tokenOf(signed[0] as Signed).split('.')[1] ?? '', 'base64url').toString()
    expect(claims).not.toContain(SIGNER)
  })

  it('of the time before they had an id: those of their object, and of their second', async () => {
    const name = await newObject()
    const made = (ageMs: number) =>
      signUrlToken(
        { scope: 'download', bucket: 'docs', bucketUid: undefined, name, expiresInSeconds: 600 },
        server.keys.signingSecret,
        new Date(Date.now() - ageMs),
      ).token
    const [old, newer] = [made(60_000), made(0)]
    const statuses = async () =>
      Promise.all(
        [old, newer].map(async (one) => (await open(server, `/object/docs/${name}?token=${one}`)).status),
      )
    expect(await statuses()).toEqual([200, 200])
    expect(await revoke({ token: old })).toMatchObject({ status: 400 })
    await revoke({ bucket: 'docs', path: name, before: new Date(Date.now() - 30_000).toISOString() })
    expect(await statuses()).toEqual([410, 200])
    await revoke({ bucket: 'docs', path: name })
    expect(await statuses()).toEqual([410, 410])
  })

  it('to upload, too, by form and in chunks', async () => {
    const signUpload = async (subject: string) => {
      const name = `up${count++}.txt`
      const answer = await server.request('POST', `/object/upload/sign/docs/${name}`, {
        token: await server.token(subject),
      })
      return { name, ...((await answer.json()) as { token: string; id: string }) }
    }
    const uploadOf = async ({ name, token }: { name: string; token: string }) =>
      (await open(server, `/object/upload/sign/docs/${name}?token=${token}`, { method: 'PUT', body: 'x' }))
        .status
    const tus = new TusRequests(server, {}, '/storage/v1/upload/resumable/sign')
    const begin = ({ name, token }: { name: string; token: string }) =>
      tus.create({ bucket: 'docs', name }, 3, { token: null, headers: { 'x-signature': token } })

    const one = await signUpload(SIGNER)
    await revoke({ token: one.token }, SIGNER)
    expect(await uploadOf(one)).toBe(410)
    const two = await signUpload(SIGNER)
    const begun = await begin(two)
    expect(begun.status).toBe(201)
    await revoke({ subject: SIGNER }, SIGNER)
    expect([await uploadOf(two), (await begin(two)).status]).toEqual([410, 400])
    const went = await tus.send('PATCH', String(begun.headers.get('location')), {
      token: null,
      headers: {
        'x-signature': two.token,
        'upload-offset': '0',
        'content-type': 'application/offset+octet-stream',
      },
      body: 'abc',
    })
    expect(went.status).toBe(400)
    const three = await signUpload(SIGNER)
    await revoke({ bucket: 'docs', path: three.name })
    expect(await uploadOf(three)).toBe(410)
    expect(await uploadOf(await signUpload(SIGNER))).toBe(201)
  })

  it('makes an event, of which the service hears', async () => {
    const name = await newObject()
    const signed = await signedBy(SIGNER, name)
    await revoke({ token: tokenOf(signed) }, SIGNER)
    const { before } = await revoke({ bucket: 'docs', path: name })
    const told = await server.admin`
      select data from storage.events where type = 'storage.link.revoked' and bucket_id is null and data ->> 'path' = ${name}
      order by id`
    const about = { bucket: 'docs', path: name, subject: null }
    expect(told.map(({ data }) => data)).toEqual([
      { ...about, link_id: signed.id, before: expect.any(String), revoked_by: SIGNER },
      { ...about, link_id: null, before, revoked_by: null },
    ])
  })

  it('is told in the log by its operation, and never by its token', async () => {
    const signed = await signedBy(SIGNER, await newObject())
    await revoke({ token: tokenOf(signed) }, SIGNER)
    await statusOf(signed)
    const text = JSON.stringify(server.logs)
    expect(text).toContain('storage.object.sign_revoke')
    for (const part of tokenOf(signed).split('.').slice(1)) expect(text).not.toContain(part)
  })
})

describe('a user who revokes as much as he can', () => {
  it('is stopped, and keeps nobody else from what is theirs, nor from losing what was revoked', async () => {
    const hostile = `hostile-${randomUUID()}`
    const rows = (by: string, most: number) => server.admin`
      insert into storage.link_revocations (key, moment, expires_at, revoked_by)
      select 'link:' || gen_random_uuid(), now(), now() + interval '1 day', ${by} from generate_series(1, ${most}::int)`
    await rows(hostile, 10_000)
    const his = await signedBy(hostile, await newObject())
    expect(await revoke({ token: tokenOf(his) }, hostile)).toMatchObject({
      status: 409,
      code: 'TooManyRevocations',
    })
    // With others like him there are more than a server remembers.
    await rows(`${hostile}-too`, 10_000)
    await rows(`${hostile}-three`, 10_000)
    const [mine, gone] = [await signedBy(OWNER, await newObject()), await signedBy(OWNER, await newObject())]
    expect((await revoke({ token: tokenOf(gone) }, OWNER)).status).toBe(200)
    for (const at of [server, other]) {
      await until(async () => (await statusOf(gone, at)) === 410, 'it has heard')
      expect([await statusOf(mine, at), await statusOf(his, at)]).toEqual([200, 200])
    }
    await server.admin`delete from storage.link_revocations where revoked_by like ${`${hostile}%`}`
  })
})

describe('another server', () => {
  it('serves it no more after a second', async () => {
    const name = await newObject()
    const signed = await signedBy(SIGNER, name)
    for (let times = 0; times < 3; times++) expect(await statusOf(signed, other)).toBe(200)
    const begunAt = performance.now()
    await revoke({ bucket: 'docs', path: name }, OWNER)
    const doneAt = performance.now()
    let last = 0
    await until(async () => {
      const askedAt = performance.now()
      if ((await statusOf(signed, other)) === 410) return true
      last = askedAt
      return false
    }, 'the other server has heard')
    expect(await statusOf(signed)).toBe(410)
    // Nothing that was asked a second after the revocation was answered.
    expect(last).toBeLessThan(doneAt + 1000)
    expect(doneAt).toBeGreaterThan(begunAt)
  })
})

describe('a server that hears nothing of the others', () => {
  let proxy: PostgresProxy
  let cut: TestServer
  beforeAll(async () => {
    proxy = await openPostgresProxy()
    cut = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
    await cut.createBucket('docs')
    await put(cut, 'docs/a', 'text')
  })
  afterAll(async () => {
    proxy.mode = 'pass'
    await cut.close()
    await proxy.close()
  })

  it('serves nothing, and what was taken back meanwhile never again', async () => {
    const signed = await sign(cut, 'docs/a')
    expect(await statusOf(signed, cut)).toBe(200)
    proxy.mode = 'refuse'
    proxy.cutAll()
    await cut.admin`insert into storage.link_revocations (key, moment, expires_at)
      values ('object:docs/a', now() + interval '1 second', now() + interval '1 day')`
    expect(await statusOf(signed, cut)).toBe(503)
    proxy.mode = 'pass'
    await until(async () => (await statusOf(signed, cut)) !== 503, 'the database is back')
    await until(async () => (await statusOf(signed, cut)) === 410, 'it has heard')
  })
})

describe('a bucket whose name is a word of the routes', () => {
  it('signs many downloads, and one, and serves them', async () => {
    for (const bucket of ['revoke', 'sign-path']) {
      await put(server, `${bucket}/a/b`, bucket)
      const many = await server.request('POST', `/object/sign/${bucket}`, {
        body: { expiresIn: 60, paths: ['a/b', 'c'] },
      })
      const [signed, none] = (await many.json()) as [Signed, { signedURL: null }]
      expect([many.status, none.signedURL]).toEqual([200, null])
      expect((await open(server, signed.signedURL)).text).toBe(bucket)
      expect((await open(server, (await sign(server, `${bucket}/a/b`)).signedURL)).text).toBe(bucket)
      expect((await server.request('GET', `/object/${bucket}/a/b`)).status).toBe(200)
    }
  })
})
