import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { field, file, form, MULTIPART } from '../../support/multipart.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { TusRequests } from '../../support/tus-requests.ts'

/** What objects say of themselves (docs/attributes.md): how it is said at an upload, and what becomes of it. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
})
afterAll(() => server.close())

const tokenWith = (claims: Record<string, unknown>, subject = 'ada') =>
  new SignJWT({ role: 'authenticated', ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(server.keys.jwtSecret))

type Init = Parameters<TestServer['request']>[2]

const ask = (method: string, name: string, init?: Init) =>
  server.request(method, `/storage/v1/object/${bucket}/${name}`, init)

async function row(name: string) {
  const [found] = await server.admin`
    select file_name, organization_id, access_level, asset_type, enable_indexing, tags, owner_id
    from storage.objects where bucket_id = ${bucket} and name = ${name}`
  return found
}

const SAID = {
  file_name: 'Übersicht, Mai.txt',
  organization_id: 'org-1',
  access_level: 'shared',
  asset_type: 'map',
  enable_indexing: 'false',
  tags: '["a, b","ü"]',
}
const KEPT = { ...SAID, enable_indexing: false, tags: ['a, b', 'ü'], owner_id: 'somebody' }
const NOTHING = {
  file_name: null,
  organization_id: null,
  access_level: 'private',
  asset_type: null,
  enable_indexing: true,
  tags: [],
  owner_id: null,
}

const asHeaders = (said: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(said).map(([name, value]) => [
      `x-strongroom-${name.replaceAll('_', '-')}`,
      Buffer.from(value).toString('latin1'),
    ]),
  )

const asForm = (said: Record<string, string>, bytes: string, isBehind = false): Init => {
  const fields = Object.entries(said).map(([name, value]) => field(name, value))
  const parts = isBehind ? [file(bytes), ...fields] : [...fields, file(bytes)]
  const body = new Uint8Array(form(...parts))
  return { body, headers: { 'content-type': MULTIPART.split(': ')[1] ?? '' } }
}

const sizes = { small: 'hello', 'of a file': 'x'.repeat(50_000), 'of a stream': 'x'.repeat(400_000) }

describe.each(Object.entries(sizes))('an upload, %s,', (_, bytes) => {
  const said = { ...SAID, user_id: 'somebody' }

  it('says it in headers', async () => {
    expect((await ask('POST', 'a', { body: bytes, headers: asHeaders(said) })).status).toBe(201)
    expect(await row('a')).toEqual(KEPT)
    expect(await (await ask('GET', 'a')).text()).toBe(bytes)
  })

  it('says it in a form, before its file or behind it, which has the last word over headers', async () => {
    for (const [name, isBehind] of [
      ['before', false],
      ['behind', true],
    ] as const) {
      const init = asForm(said, bytes, isBehind)
      const headers = { ...init?.headers, 'x-strongroom-asset-type': 'audio', 'x-tags': 'other' }
      expect((await ask('POST', name, { ...init, headers })).status).toBe(201)
      expect(await row(name)).toEqual(KEPT)
    }
  })

  it('says it in the metadata of a resumable upload', async () => {
    const tus = new TusRequests(server)
    const url = await tus.begin({ bucket, name: 'a' }, bytes.length, { metadata: said })
    expect((await tus.patch(url, 0, bytes)).status).toBe(204)
    expect(await row('a')).toEqual(KEPT)
  })

  it('begins without what the version before it had, but stays where that belonged', async () => {
    await ask('POST', 'a', { body: bytes, headers: asHeaders(said) })
    await ask('PUT', 'a', { body: bytes })
    expect(await row('a')).toEqual({ ...NOTHING, organization_id: 'org-1', owner_id: 'somebody' })
  })
})

describe('an organisation', () => {
  const member = (organization: string, subject = 'ada') =>
    tokenWith({ organization_id: organization }, subject)

  it('is that of the token, if it names one, however the bytes come', async () => {
    const token = await member('org-1')
    await ask('POST', 'raw', { token, body: 'x' })
    await ask('POST', 'stream', { token, body: 'x'.repeat(400_000) })
    const tus = new TusRequests(server, { token })
    await tus.create({ bucket, name: 'tus' }, 1, { body: 'x' })
    const signed = await server.request('POST', `/storage/v1/object/upload/sign/${bucket}/signed`, { token })
    const { url } = (await signed.json()) as { url: string }
    expect((await server.request('PUT', `/storage/v1${url}`, { token: null, body: 'x' })).status).toBe(201)
    for (const name of ['raw', 'stream', 'tus', 'signed'])
      expect([name, await row(name)]).toEqual([
        name,
        { ...NOTHING, organization_id: 'org-1', owner_id: 'ada' },
      ])
  })

  it.each([
    ['org_id', { org_id: 'o' }, 'o'],
    ['app_metadata', { app_metadata: { organization_id: 'o' } }, 'o'],
    ['metadata', { metadata: { org_id: 'o' } }, 'o'],
    [
      'the first of them',
      { org_id: 'o', app_metadata: { organization_id: 'p' }, metadata: { org_id: 'q' } },
      'o',
    ],
    ['no text', { organization_id: 7, org_id: '', app_metadata: 'x', metadata: { org_id: 'q' } }, 'q'],
    ['user_metadata, which is no place for it', { user_metadata: { organization_id: 'o' } }, null],
  ])('is named by %s, to the server as to PostgreSQL', async (_, claims, organization) => {
    const token = await tokenWith(claims)
    await ask('POST', 'a', { token, body: 'x' })
    expect((await row('a'))?.organization_id).toBe(organization)
    const [said] =
      await server.admin`select storage.organization_of(${JSON.stringify(claims)}::text::jsonb) as said`
    expect(said?.said).toBe(organization)
  })

  it('of others is refused on each way, also to the bearer of a signed URL, and to who has SQL', async () => {
    const token = await member('org-1')
    const other = { organization_id: 'org-2' }
    const refused = async (answer: Response) =>
      expect([answer.status, Object(await answer.json()).code]).toEqual([403, 'AccessDenied'])
    await refused(await ask('POST', 'a', { token, body: 'x', headers: asHeaders(other) }))
    await refused(await ask('POST', 'a', { token, body: 'x'.repeat(400_000), headers: asHeaders(other) }))
    await refused(await ask('POST', 'a', { token, ...asForm(other, 'x', true) }))
    const tus = new TusRequests(server, { token })
    expect((await tus.create({ bucket, name: 'a' }, 1, { metadata: other, body: 'x' })).status).toBe(403)
    const signed = await server.request('POST', `/storage/v1/object/upload/sign/${bucket}/a`, { token })
    const { url } = (await signed.json()) as { url: string }
    for (const said of [other, { user_id: 'bob' }]) {
      await refused(
        await server.request('PUT', `/storage/v1${url}`, {
          token: null,
          body: 'x',
          headers: asHeaders(said),
        }),
      )
    }
    await refused(await ask('POST', 'a', { token, body: 'x', headers: asHeaders({ user_id: 'bob' }) }))
    expect(await row('a')).toBeUndefined()

    const asAda = (statement: string, organization: string | null = 'org-1') =>
      server.admin.begin(async (sql) => {
        const claims = JSON.stringify({ sub: 'ada', organization_id: organization })
        await sql`select set_config('request.jwt.claims', ${claims}, true)`
        await sql`set local role authenticated`
        await sql.unsafe(statement)
      })
    const insert = (organization: string) =>
      asAda(`insert into storage.objects (bucket_id, name, owner_id, organization_id)
        values ('${bucket}', '${organization}', 'ada', '${organization}')`)
    await insert('org-1')
    await expect(insert('org-2')).rejects.toMatchObject({ code: '42501' })
    for (const taken of ["'org-2'", 'null']) {
      const update = `update storage.objects set organization_id = ${taken} where bucket_id = '${bucket}'`
      await expect(asAda(update)).rejects.toMatchObject({ code: '42501' })
      await expect(asAda(update, null)).rejects.toMatchObject({ code: '42501' })
    }
  })
})

describe('policies', () => {
  it('are shown what an upload says, before its bytes', async () => {
    const token = await tokenWith({ org_id: 'org-1' })
    const closed = `b-${randomUUID()}`
    await server.createBucket(closed)
    const policy = `create policy "maps" on storage.objects for insert to authenticated with check (
      bucket_id = '${closed}' and asset_type = 'map' and access_level = 'shared' and not enable_indexing
      and file_name = 'm' and organization_id = (select storage.organization_id()) and 'x' = any (tags))`
    const said = {
      asset_type: 'map',
      access_level: 'shared',
      enable_indexing: 'false',
      file_name: 'm',
      tags: 'x',
    }
    await withPolicies(server.admin, policy, async () => {
      for (const bytes of Object.values(sizes)) {
        const put = (name: string, what: Record<string, string>) =>
          server.request('POST', `/storage/v1/object/${closed}/${name}`, {
            token,
            body: bytes,
            headers: asHeaders(what),
          })
        expect((await put(`a${bytes.length}`, said)).status).toBe(201)
        for (const left of Object.keys(said)) {
          const { [left as keyof typeof said]: _, ...others } = said
          expect((await put('b', others)).status).toBe(403)
        }
      }
      const tus = new TusRequests(server, { token })
      const created = await tus.create({ bucket: closed, name: 't' }, 1, { metadata: said })
      expect(created.status).toBe(201)
      expect((await tus.patch(created.headers.get('location') ?? '', 0, 'x')).status).toBe(204)
      expect(
        (await tus.create({ bucket: closed, name: 'u' }, 1, { metadata: { asset_type: 'map' } })).status,
      ).toBe(403)
    })
  })
})

describe('what is wrong is refused, and nothing stored', () => {
  const long = (length: number) => 'x'.repeat(length)
  it.each([
    ['tags', '[', 'InvalidTags'],
    ['tags', '[1]', 'InvalidTags'],
    ['tags', '[""]', 'InvalidTags'],
    ['tags', 'a,,b', 'InvalidTags'],
    ['tags', long(129), 'InvalidTags'],
    ['tags', JSON.stringify(Array.from({ length: 51 }, (_, n) => `t${n}`)), 'InvalidTags'],
    ['tags', JSON.stringify(['a\u0007']), 'InvalidTags'],
    ['tags', JSON.stringify(['a\u0000']), 'InvalidTags'],
    ['file_name', '', 'InvalidRequest'],
    ['file_name', long(256), 'InvalidRequest'],
    ['file_name', 'a\u0000', 'InvalidRequest'],
    ['file_name', 'a\nb', 'InvalidRequest'],
    ['organization_id', long(256), 'InvalidRequest'],
    ['access_level', 'secret', 'InvalidRequest'],
    ['asset_type', 'Image', 'InvalidRequest'],
    ['enable_indexing', '1', 'InvalidRequest'],
    ['is_public', 'yes', 'InvalidRequest'],
    ['access_level', 'public', 'ObjectAclsDisabled'],
    ['access_level', 'restricted', 'ObjectAclsDisabled'],
    ['is_public', 'true', 'ObjectAclsDisabled'],
  ])('%s = %j: %s', async (name, value, code) => {
    const answer = await ask('POST', 'a', asForm({ [name]: value }, 'hello'))
    expect(answer.status).toBe(code === 'ObjectAclsDisabled' ? 403 : 400)
    expect(Object(await answer.json()).code).toBe(code)
    const tus = await new TusRequests(server).create({ bucket, name: 'a' }, 1, {
      metadata: { [name]: value },
    })
    expect(tus.status).toBe(answer.status)
    expect(await row('a')).toBeUndefined()
  })

  it('more than 24 fields of a form', async () => {
    const many = (count: number) =>
      asForm(Object.fromEntries(Array.from({ length: count }, (_, n) => [`f${n}`, 'x'])), 'hello')
    expect((await ask('POST', 'a', many(24))).status).toBe(201)
    expect((await ask('POST', 'b', many(25))).status).toBe(400)
  })
})

it('tags are trimmed, each once, in their order, with commas or field by field', async () => {
  await ask('POST', 'a', { body: 'x', headers: { 'x-tags': ' b , a,b' } })
  expect((await row('a'))?.tags).toEqual(['b', 'a'])
  const body = new Uint8Array(form(field('tags', 'b'), field('tags', ' a'), field('tags', 'b'), file('x')))
  await ask('POST', 'b', { body, headers: { 'content-type': MULTIPART.split(': ')[1] ?? '' } })
  expect((await row('b'))?.tags).toEqual(['b', 'a'])
})

describe('it goes', () => {
  const said = { ...SAID, user_id: 'somebody' }
  const transfer = (verb: string, destinationKey: string, token?: string) =>
    server.request('POST', `/storage/v1/object/${verb}`, {
      body: { bucketId: bucket, sourceKey: 'a', destinationKey },
      ...(token && { token }),
    })

  it('with a move, and with a copy but for what is its maker’s', async () => {
    await ask('POST', 'a', { body: 'x', headers: asHeaders(said) })
    const token = await tokenWith({ organization_id: 'org-2' })
    expect((await transfer('copy', 'copy', token)).status).toBe(200)
    expect(await row('copy')).toEqual({
      ...KEPT,
      organization_id: 'org-2',
      access_level: 'private',
      owner_id: 'ada',
    })
    expect((await transfer('move', 'moved')).status).toBe(200)
    expect(await row('moved')).toEqual(KEPT)
  })

  it('into a version, and back with it', async () => {
    await server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { versioning_status: 'ENABLED' } })
    await ask('POST', 'a', { body: 'x', headers: asHeaders(said) })
    const id = Object(await (await ask('GET', `../info/${bucket}/a`)).json()).version
    await ask('PUT', 'a', { body: 'y' })
    expect((await row('a'))?.file_name).toBe(null)
    const [before] =
      await server.admin`select object_row from storage.object_versions where bucket_id = ${bucket}`
    expect(before?.object_row).toMatchObject({ file_name: SAID.file_name, organization_id: 'org-1' })
    const deleted = await server.request(
      'DELETE',
      `/storage/v1/object/${bucket}/a?versionId=${(await current())?.version}`,
    )
    expect(deleted.ok).toBe(true)
    expect(await row('a')).toEqual(KEPT)
    expect((await current())?.version).toBe(id)
  })

  it('into the trash, and back', async () => {
    await server.request('PUT', `/storage/v1/bucket/${bucket}`, { body: { trash_days: 7 } })
    await ask('POST', 'a', { body: 'x', headers: asHeaders(said) })
    await ask('DELETE', 'a')
    const back = await server.request('POST', '/storage/v1/trash/restore', { body: { bucket, path: 'a' } })
    expect(back.ok, await back.clone().text()).toBe(true)
    expect(await row('a')).toEqual(KEPT)
  })

  const current = async () =>
    (await server.admin`select version from storage.objects where bucket_id = ${bucket} and name = 'a'`)[0]
})

it('events tell it, of what has any, and a change of it is one', async () => {
  await ask('POST', 'a', { body: 'x', headers: asHeaders(SAID) })
  await ask('POST', 'plain', { body: 'x' })
  const change = (set: string) =>
    server.admin.unsafe(`update storage.objects set ${set} where bucket_id = '${bucket}' and name = 'a'`)
  await change("file_name = 'b'")
  await change('organization_id = null')
  await change("access_level = 'private'")
  await change("asset_type = 'image'")
  await change('enable_indexing = true')
  await change("tags = '{}'")
  await ask('DELETE', 'a')
  const events = await server.admin`
    select type, data from storage.events where bucket_id = ${bucket} and name = 'a' order by id`
  const { tags: _, enable_indexing: __, ...texts } = SAID
  const all = { ...texts, enable_indexing: false, tags: ['a, b', 'ü'] }
  expect(events[0]).toEqual({ type: 'storage.object.created', data: all })
  expect(events.map(({ type }) => type).slice(1, -1)).toEqual(Array(6).fill('storage.object.updated'))
  expect(events[6]).toEqual({
    type: 'storage.object.updated',
    data: { tags: [], file_name: 'b', asset_type: 'image' },
  })
  expect(events[7]?.data).toEqual({ permanent: true, tags: [], file_name: 'b', asset_type: 'image' })
  const [plain] =
    await server.admin`select data from storage.events where bucket_id = ${bucket} and name = 'plain'`
  expect(plain?.data).toBe(null)
})
