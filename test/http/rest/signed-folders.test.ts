import { randomUUID } from 'node:crypto'
import { get } from 'node:http'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { signUrlToken } from '../../../src/storage/links/url-token.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, type Signed, sign, tokenOf } from '../../support/signed.ts'
import { until } from '../../support/wait.ts'

/** Signed URLs of all that is below a folder (docs/links.md). */

interface SignedFolder extends Signed {
  path_url: string
}

const PLAYLIST = '#EXTM3U\n#EXTINF:10,\nparts/0.ts\n#EXTINF:10,\nparts/1.ts\n#EXT-X-ENDLIST\n'

let server: TestServer
let other: Served
let subject: string
beforeAll(async () => {
  server = await startTestServer()
  other = await server.beside()
  for (const bucket of ['video', 'sign-path']) await server.createBucket(bucket)
  // A signed-in user sees what has no other's name in it, and the operation that he is asked in.
  await server.admin.unsafe(`
    create table public.hidden (name text primary key);
    grant select on public.hidden to authenticated;
    create policy sees on storage.objects for select to authenticated using (
      bucket_id = 'video' and name not like '%secret%' and auth.jwt() ->> 'team' = 'ours'
      and not exists (select from public.hidden h where h.name = objects.name))`)
  for (const name of ['a/list.m3u8', 'a/parts/0.ts', 'a/parts/1.ts', 'a/secret.ts', 'ab/0.ts', 'b.ts']) {
    await put(server, `video/${name}`, name.endsWith('m3u8') ? PLAYLIST : name)
  }
})
beforeEach(() => {
  subject = `u-${randomUUID()}`
})
afterAll(async () => {
  await other.close()
  await server.close()
})

/** Of a user of our team. */
function ourToken(more = {}): Promise<string> {
  const token = new SignJWT({ role: 'authenticated', sub: subject, team: 'ours', ...more })
  const secret = new TextEncoder().encode(server.keys.jwtSecret)
  return token.setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(secret)
}

/** As a user of our team signs it. */
async function signFolder(path: string, options: Record<string, unknown> = {}): Promise<SignedFolder> {
  const token = await ourToken()
  return (await sign(server, path, 60, { token, prefix: true, ...options })) as SignedFolder
}

const below = ({ signedURL }: Signed, name: string) => `/object/sign/video/${name}?${signedURL.split('?')[1]}`
const at = async (signed: SignedFolder, name: string) => (await open(server, below(signed, name))).status

/** A path as it is, which fetch would have resolved. */
function raw(path: string, headers = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url)
    get({ hostname, port, path, headers }, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    }).on('error', reject)
  })
}

describe('a signed folder', () => {
  it.each(['video/a', 'video/a/'])('%s opens what is below it, and nothing beside it', async (path) => {
    const signed = await signFolder(path)
    for (const [name, status] of [
      ['a/list.m3u8', 200],
      ['a/parts/1.ts', 200],
      ['a/none.ts', 404],
      ['a/secret.ts', 404], // which the signer does not see either
      ['ab/0.ts', 403],
      ['a', 403],
      ['b.ts', 403],
      ['A/list.m3u8', 403],
      ['', 403],
    ] as const) {
      expect([name, await at(signed, name)]).toEqual([name, status])
    }
    expect((await open(server, `/object/video/a/list.m3u8?token=${tokenOf(signed)}`)).text).toBe(PLAYLIST)
    expect((await open(server, `/object/sign/other/a/list.m3u8?token=${tokenOf(signed)}`)).status).toBe(403)
  })

  it.each([
    'a/../b.ts',
    'a/%2e%2e/b.ts',
    'a%2f..%2fb.ts',
    'a/..%2fb.ts',
    'a%2F%2E%2E%2Fb.ts',
    'a/%252e%252e/b.ts',
    'a/.%2e/b.ts',
    'a/..\\b.ts',
    'a//../b.ts',
    'a/./../b.ts',
    './a/../b.ts',
    'a%00/../b.ts',
    '%61/../b.ts',
    'a/%c0%ae%c0%ae/b.ts',
  ])('does not lead out of it: %s', async (path) => {
    const signed = await signFolder('video/a')
    const token = tokenOf(signed)
    for (const target of [
      `/object/sign/video/${path}?token=${token}`,
      `/object/sign-path/${token}/video/${path}`,
    ]) {
      expect([400, 403, 404]).toContain(await raw(target))
    }
  })

  it('is spelled with slashes encoded, as the names in it are', async () => {
    const signed = await signFolder('video/a')
    expect(await at(signed, 'a%2Fparts%2F0.ts')).toBe(200)
    expect(await raw(`/object/sign-path/${tokenOf(signed)}/video/a%2Fparts%2F0.ts`)).toBe(200)
    expect(await raw(`/object/sign-path/${tokenOf(signed)}/video%2Fa/parts/0.ts`)).toBe(403)
  })

  it('may be the whole bucket', async () => {
    const signed = await signFolder('video/')
    expect([await at(signed, 'b.ts'), await at(signed, 'a/secret.ts')]).toEqual([200, 404])
  })

  it('shows what its signer sees by then, and no cache keeps it without asking', async () => {
    const signed = await signFolder('video/a', { disposition: 'attachment' })
    const { headers, status } = await open(server, below(signed, 'a/parts/0.ts'))
    expect([status, headers.get('cache-control'), headers.get('expires')]).toEqual([
      200,
      'private, no-cache',
      null,
    ])
    expect(headers.get('referrer-policy')).toBe('no-referrer')
    expect(headers.get('content-disposition')).toBe('attachment;')
    const etag = String(headers.get('etag'))
    const again = await open(server, below(signed, 'a/parts/0.ts'), { headers: { 'if-none-match': etag } })
    expect(again.status).toBe(304)
    await server.admin`insert into public.hidden values ('a/parts/0.ts')`
    expect(await at(signed, 'a/parts/0.ts')).toBe(404)
    await server.admin`delete from public.hidden`
    expect(await at(signed, 'a/parts/0.ts')).toBe(200)
  })

  it('says nothing of who has signed it', async () => {
    const signed = await signFolder('video/a')
    const said = Buffer.from(tokenOf(signed).split('.')[1] ?? '', 'base64url').toString()
    for (const word of [subject, 'ours', 'authenticated']) expect(said).not.toContain(word)
  })

  it('is not made of another kind of token, or of who was sealed for another', async () => {
    const [one, another] = [await signFolder('video/a'), await signFolder('video/a')]
    const claims = (signed: Signed) =>
      JSON.parse(Buffer.from(tokenOf(signed).split('.')[1] ?? '', 'base64url').toString())
    const grant = {
      scope: 'folder',
      bucket: 'video',
      bucketUid: claims(one).bucket_uid,
      name: 'a/',
      expiresInSeconds: 60,
    } as const
    const made = (id: string, folder?: { as: string; list: boolean }) =>
      signUrlToken({ ...grant, id, folder }, server.keys.signingSecret, new Date()).token
    const statusOf = async (token: string) =>
      (await open(server, `/object/sign/video/a/list.m3u8?token=${token}`)).status
    expect(await statusOf(made(one.id, { as: claims(one).as, list: false }))).toBe(200)
    expect(await statusOf(made(one.id, { as: claims(another).as, list: false }))).toBe(403)
    expect(await statusOf(made(one.id))).toBe(403)
    // One of an object opens no path, and no other object.
    const plain = tokenOf(await sign(server, 'video/a/list.m3u8'))
    expect((await open(server, `/object/sign-path/${plain}/video/a/list.m3u8`)).status).toBe(403)
  })

  it('ends with its revocation: by its token, its path, its signer, and of one object in it', async () => {
    const token = await ourToken()
    const revoke = async (body: object, by: string | undefined = undefined) =>
      (await server.request('POST', '/object/sign/revoke', { body, ...(by !== undefined && { token: by }) }))
        .status
    const name = 'a/list.m3u8'
    const first = await signFolder('video/a')
    expect(await revoke({ token: tokenOf(first) }, token)).toBe(200)
    expect(await at(first, name)).toBe(410)
    const second = await signFolder('video/a')
    expect(await revoke({ bucket: 'video', path: 'a/' }, token)).toBe(404)
    expect(await revoke({ bucket: 'video', path: 'a/' })).toBe(200)
    expect(await at(second, name)).toBe(410)
    const third = await signFolder('video/a')
    expect(await revoke({ bucket: 'video', path: 'a/parts/1.ts' })).toBe(200)
    expect([await at(third, 'a/parts/1.ts'), await at(third, name)]).toEqual([410, 200])
    expect(await revoke({ subject }, token)).toBe(200)
    expect(await at(third, name)).toBe(410)
    const fourth = await signFolder('video/a')
    await until(async () => (await open(other, below(third, name))).status === 410, 'the other has heard')
    expect((await open(other, below(fourth, name))).status).toBe(200)
  })

  it('is not the one of a bucket that was made again under its name', async () => {
    await server.createBucket('again')
    await put(server, 'again/a/0.ts', 'old')
    const signed = (await sign(server, 'again/a', 60, { prefix: true, list: true })) as SignedFolder
    const url = `/object/sign/again/a/0.ts?token=${tokenOf(signed)}`
    expect((await open(server, url)).status).toBe(200)
    await server.request('POST', '/bucket/again/empty')
    await server.request('DELETE', '/bucket/again')
    await server.createBucket('again')
    await put(server, 'again/a/0.ts', 'new')
    expect(await open(server, url)).toMatchObject({ status: 404, code: 'NoSuchBucket' })
    expect(await open(server, `${signed.signedURL}&list=true`)).toMatchObject({ status: 404 })
  })

  it.each([
    { once: true },
    { max_downloads: 3 },
    { stable: true },
    { versionId: 'x' },
    { prefix: false, list: true },
    { prefix: false, cookie: true },
  ])('is not asked for with %j', async (options) => {
    const body = { expiresIn: 60, prefix: true, ...options }
    expect((await server.request('POST', '/object/sign/video/a/list.m3u8', { body })).status).toBe(400)
  })

  it('is of a bucket that is there', async () => {
    const answer = await server.request('POST', '/object/sign/nowhere/a', {
      body: { expiresIn: 60, prefix: true },
    })
    expect(answer.status).toBe(404)
  })
})

describe('in a path', () => {
  it('leads on by relative addresses, as a player follows them', async () => {
    const { path_url: root } = await signFolder('video/a')
    const list = await open(server, new URL('list.m3u8', root).href)
    const parts = list.text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    const texts = await Promise.all(
      parts.map(async (part) => (await open(server, new URL(part, new URL('list.m3u8', root)).href)).text),
    )
    expect(texts).toEqual(['a/parts/0.ts', 'a/parts/1.ts'])
    expect((await open(server, root, { method: 'HEAD' })).status).toBe(404)
  })

  it('is in no log', async () => {
    const { path_url: root } = await signFolder('video/a')
    await open(server, new URL('list.m3u8', root).href)
    await open(server, `${root}%zz`)
    await open(server, root.replace('/sign-path/', '/sign-path/x/'))
    const text = JSON.stringify(server.logs)
    const token = /sign-path\/([^/]+)/.exec(root)?.[1] ?? ''
    for (const part of token.split('.').slice(1)) expect(text).not.toContain(part)
  })

  it('stands beside a bucket of that name', async () => {
    for (const name of ['a/b', 'a.b.c/d', `${'x'.repeat(9)}.y.${'z'.repeat(42)}/video/e`]) {
      await put(server, `sign-path/${name}`, name)
      expect((await server.request('GET', `/object/sign-path/${name}`)).status).toBe(200)
    }
    expect((await open(server, `/object/sign-path/x.y.${'z'.repeat(43)}/video/e`)).code).toBe('InvalidJWT')
  })
})

describe('in a cookie', () => {
  const cookieOf = async (path: string, options = {}) => {
    const token = await ourToken(options)
    const answer = await server.request('POST', `/storage/v1/object/sign/${path}`, {
      token,
      body: { expiresIn: 60, prefix: true, cookie: true },
    })
    return { status: answer.status, cookie: answer.headers.get('set-cookie') ?? '' }
  }

  it('is for its folder alone, and nothing that a script reads or a plain connection carries', async () => {
    const { cookie } = await cookieOf('video/a%20b')
    expect(cookie).toMatch(
      /^__Secure-strongroom-folder=[\w.-]+; Path=\/storage\/v1\/object\/sign\/video\/a%20b\/; Max-Age=60; HttpOnly; Secure; SameSite=Lax$/,
    )
  })

  it('opens what its token does, one of several, and no more', async () => {
    const pair = async (path: string) => (await cookieOf(path)).cookie.split(';')[0] ?? ''
    const [a, ab] = [await pair('video/a'), await pair('video/ab')]
    const statusOf = (name: string, cookie: string) => raw(`/object/sign/video/${name}`, { cookie })
    expect(await statusOf('a/list.m3u8', a)).toBe(200)
    expect(await statusOf('a/list.m3u8', `x=1; ${ab}; ${a}`)).toBe(200)
    expect(await statusOf('a/list.m3u8', ab)).toBe(403)
    expect(await statusOf('b.ts', `${a}; ${ab}`)).toBe(403)
    expect(await statusOf('a/list.m3u8', '__Secure-strongroom-folder=nonsense')).toBe(403)
    expect(await statusOf('a/list.m3u8', `${'__Secure-strongroom-folder=x; '.repeat(8)}${a}`)).toBe(403)
    expect(await raw('/object/video/a/list.m3u8', { cookie: a })).not.toBe(200)
    const plain = tokenOf(await sign(server, 'video/b.ts'))
    expect(await statusOf('b.ts', `__Secure-strongroom-folder=${plain}`)).toBe(403)
    // A token in the address is what counts where there is one.
    expect(await raw('/object/sign/video/a/list.m3u8?token=x', { cookie: a })).toBe(403)
  })

  it('is refused where no browser would keep it', async () => {
    expect((await cookieOf('video/a', { more: 'x'.repeat(2000) })).status).toBe(400)
  })
})

describe('its list', () => {
  const listed = async (signed: SignedFolder, query = '', root = signed.signedURL) => {
    const { status, text } = await open(server, `${root}&list=true${query}`)
    return { status, ...JSON.parse(text) }
  }

  it('is told if that was asked for at signing, and shows what the signer sees', async () => {
    const signed = await signFolder('video/a', { list: true })
    expect(await listed(signed)).toEqual({
      status: 200,
      hasNext: false,
      folders: [],
      objects: ['a/list.m3u8', 'a/parts/0.ts', 'a/parts/1.ts'].map((name) => ({
        name,
        size: name.endsWith('m3u8') ? PLAYLIST.length : name.length,
        content_type: 'text/plain',
        updated_at: expect.any(String),
      })),
    })
    const level = await listed(signed, '&with_delimiter=true')
    expect([level.folders, level.objects.length]).toEqual([[{ name: 'a/parts/' }], 1])
    const page = await listed(signed, '&limit=2')
    expect(page).toMatchObject({ hasNext: true, objects: [{}, {}] })
    const rest = await listed(signed, `&cursor=${encodeURIComponent(page.nextCursor)}`)
    expect(rest.objects).toMatchObject([{ name: 'a/parts/1.ts' }])
    const inner = await listed(signed, '', below(signed, 'a/parts/'))
    expect(inner.objects).toHaveLength(2)
  })

  it('is refused otherwise, and of what is beside the folder', async () => {
    expect(await listed(await signFolder('video/a'))).toMatchObject({ status: 403, code: 'AccessDenied' })
    const signed = await signFolder('video/a', { list: true })
    for (const name of ['', 'ab/', 'a', 'b'])
      expect(await listed(signed, '', below(signed, name))).toMatchObject({ status: 403 })
    for (const query of ['&limit=0', '&limit=x', '&cursor=nonsense']) {
      expect(await listed(signed, query)).toMatchObject({ status: 400 })
    }
    const plain = await sign(server, 'video/b.ts')
    expect((await open(server, `${plain.signedURL}&list=true`)).text).toBe('b.ts')
  })
})
