import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { mintToken } from '../../../src/server/keys.ts'
import { signUrlToken } from '../../../src/storage/links/url-token.ts'
import { field, MULTIPART } from '../../support/multipart.ts'
import { RawConnection, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, sign, tokenOf } from '../../support/signed.ts'

const SIGNED_BY_US = 'the signing secret of these tests, long enough'

let server: TestServer
let bucket: string

beforeAll(async () => {
  server = await startTestServer({ STORAGE_SIGNING_SECRET: SIGNED_BY_US })
})
afterAll(() => server.close())
afterEach(() => void vi.useRealTimers())

async function newBucket(settings: Record<string, unknown> = { policy: 'authenticated' }): Promise<void> {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, settings)
}

interface SignedUpload {
  url: string
  token: string
  signed_url: string
  expires_at: string
}

async function signUpload(
  name: string,
  headers: Record<string, string> = {},
  token = server.keys.serviceKey,
) {
  const response = await server.request('POST', `/storage/v1/object/upload/sign/${bucket}/${name}`, {
    token,
    headers,
  })
  const body = (await response.json()) as SignedUpload & { code?: string }
  return { status: response.status, ...body }
}

/** What somebody without any key is told who sends this to a link. */
function send(url: string, body: string, headers: Record<string, string> = {}) {
  return open(server, url, { method: 'PUT', body, headers: { 'content-type': 'text/plain', ...headers } })
}

const rows = () =>
  server.admin`select name, owner_id, metadata->>'size' as size from storage.objects where bucket_id = ${bucket} order by name`

async function read(name: string): Promise<string> {
  return (await server.request('GET', `/object/${bucket}/${name}`)).text()
}

describe('a signer whose policies show no bucket', () => {
  it('may give away what he may do himself', async () => {
    await newBucket({ policy: 'private' })
    const policy = `inserts into ${bucket}`
    await server.admin`
      create policy ${server.admin(policy)} on storage.objects for insert to authenticated
      with check (bucket_id = ${server.admin.unsafe(`'${bucket}'`)})`
    // Once within one transaction, and once as a stream.
    for (const text of ['small', 'large '.repeat(100_000)]) {
      const { url, status } = await signUpload(`${text.length}.txt`, {}, await server.token(randomUUID()))
      expect(status).toBe(200)
      expect((await send(url, text)).status).toBe(201)
      expect(await read(`${text.length}.txt`)).toBe(text)
    }
    await server.admin`drop policy ${server.admin(policy)} on storage.objects`
  })
})

describe('signing an upload', () => {
  it('answers a relative and an absolute link, the token, and when they end', async () => {
    await newBucket()
    const signed = await signUpload('new%20file.txt')

    expect(signed.status).toBe(200)
    expect(Object.keys(signed).sort()).toEqual(['expires_at', 'id', 'signed_url', 'status', 'token', 'url'])
    expect(signed.url).toBe(`/object/upload/sign/${bucket}/new%20file.txt?token=${signed.token}`)
    const expires = Date.parse(signed.expires_at) / 1000
    expect(signed.signed_url).toBe(`${server.url}/storage/v1${signed.url}&expires=${expires}`)
    const lifetime = Date.parse(signed.expires_at) - Date.now()
    expect(lifetime).toBeGreaterThan(7_190_000)
    expect(lifetime).toBeLessThanOrEqual(7_200_000)
    expect(await rows()).toEqual([])
  })

  it('is for those alone whom the policies allow the upload', async () => {
    await newBucket()
    const user = await server.token('user-1')
    expect(await signUpload('a.txt', {}, user)).toMatchObject({ status: 200 })
    expect(await signUpload('a.txt', {}, server.keys.anonKey)).toMatchObject({
      status: 403,
      code: 'AccessDenied',
    })
    const noToken = await server.request('POST', `/object/upload/sign/${bucket}/a.txt`, { token: null })
    expect(noToken.status).toBe(401)
    await newBucket({ policy: 'private' })
    expect(await signUpload('a.txt', {}, user)).toMatchObject({ status: 403, code: 'AccessDenied' })
  })

  it.each([
    ['an unknown bucket', 'absent', 'a.txt', 404, 'NoSuchBucket'],
    ['a name that cannot be', '', 'a/../b', 400, 'InvalidKey'],
  ])('is refused for %s', async (_, unknown, name, status, code) => {
    await newBucket()
    bucket = unknown || bucket
    expect(await signUpload(name.replaceAll('/', '%2F'))).toMatchObject({ status, code })
  })

  it('of a name that is taken is refused, unless it is to be replaced by one who may', async () => {
    await newBucket()
    await put(server, `${bucket}/a.txt`, 'old')
    expect(await signUpload('a.txt')).toMatchObject({ status: 409, code: 'KeyAlreadyExists' })
    expect(await signUpload('a.txt', { 'x-upsert': 'TRUE' })).toMatchObject({ status: 409 })
    expect(await signUpload('a.txt', { 'x-upsert': 'true' })).toMatchObject({ status: 200 })
    const stranger = await server.token('stranger')
    expect(await signUpload('a.txt', { 'x-upsert': 'true' }, stranger)).toMatchObject({ status: 403 })
    expect(await read('a.txt')).toBe('old')
  })
})

describe('a signed upload', () => {
  it('stores the object as the signer, who owns it from then on', async () => {
    await newBucket()
    const { url } = await signUpload('a.txt', {}, await server.token('user-1'))
    const sent = await send(url, 'hello')

    expect(sent.status).toBe(201)
    expect(JSON.parse(sent.text)).toMatchObject({ Key: `${bucket}/a.txt`, owner_id: 'user-1', size: 5 })
    expect(await rows()).toEqual([{ name: 'a.txt', owner_id: 'user-1', size: '5' }])
    const remove = async (who: string) =>
      (await server.request('DELETE', `/object/${bucket}/a.txt`, { token: await server.token(who) })).status
    expect(await remove('user-2')).toBe(403)
    expect(await remove('user-1')).toBe(204)
  })

  it.each(['', '/storage/v1'])('is taken under the prefix %j, raw and as a form', async (prefix) => {
    await newBucket()
    const raw = await signUpload('raw.txt')
    expect((await send(`${prefix}${raw.url}`, 'raw')).status).toBe(201)
    const form = new FormData()
    form.append('cacheControl', '60')
    form.append('', new Blob(['form'], { type: 'text/plain' }))
    const inForm = await signUpload('form.txt')
    expect((await open(server, `${prefix}${inForm.url}`, { method: 'PUT', body: form })).status).toBe(201)
    expect([await read('raw.txt'), await read('form.txt')]).toEqual(['raw', 'form'])
  })

  it('asks the policies when it is signed, and not when it is used', async () => {
    await newBucket({ policy: 'private' })
    const user = await server.token('user-1')
    await server.admin`create policy fleeting on storage.objects for insert with check (bucket_id <> '' and auth.role() = 'authenticated')`
    const { url } = await signUpload('a.txt', {}, user)
    await server.admin`drop policy fleeting on storage.objects`
    expect((await signUpload('b.txt', {}, user)).status).toBe(403)
    expect((await send(url, 'hello')).status).toBe(201)
    expect(await rows()).toMatchObject([{ name: 'a.txt', owner_id: 'user-1' }])
  })

  it('works once without the right to replace, whatever the upload itself asks for', async () => {
    await newBucket()
    const { url } = await signUpload('a.txt')
    expect((await send(url, 'first')).status).toBe(201)
    for (const headers of [{}, { 'x-upsert': 'true' }]) {
      expect(await send(url, 'second', headers)).toMatchObject({ status: 409, code: 'KeyAlreadyExists' })
    }
    expect(await read('a.txt')).toBe('first')
    expect(await rows()).toHaveLength(1)
  })

  it('replaces again and again with the right to, until it expires', async () => {
    await newBucket()
    const { url, expires_at } = await signUpload('a.txt', { 'x-upsert': 'true' })
    expect((await send(url, 'first')).status).toBe(201)
    expect((await send(url, 'second', { 'x-upsert': 'false' })).status).toBe(200)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.parse(expires_at) })
    expect(await send(url, 'third')).toMatchObject({ status: 410, code: 'ExpiredToken' })
    vi.useRealTimers()
    expect(await read('a.txt')).toBe('second')
  })

  it("is held to the bucket's size and types as they are when it is used", async () => {
    await newBucket()
    const { url } = await signUpload('a.txt')
    await server.request('PUT', `/bucket/${bucket}`, {
      body: { file_size_limit: 5, allowed_mime_types: ['text/*'] },
    })
    expect(await send(url, 'too long')).toMatchObject({ status: 413, code: 'EntityTooLarge' })
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('too long'))
        controller.close()
      },
    })
    const stream = { method: 'PUT', body: chunked, duplex: 'half', headers: { 'content-type': 'text/plain' } }
    expect((await open(server, url, stream as RequestInit)).status).toBe(413)
    expect(await send(url, 'png', { 'content-type': 'image/png' })).toMatchObject({
      status: 415,
      code: 'InvalidMimeType',
    })
    expect(await rows()).toEqual([])
    expect((await send(url, 'right')).status).toBe(201)
  })

  it('is refused when the bucket is gone', async () => {
    await newBucket()
    const { url } = await signUpload('a.txt')
    await server.request('DELETE', `/bucket/${bucket}`)
    expect(await send(url, 'hello')).toMatchObject({ status: 404, code: 'NoSuchBucket' })
  })

  it.each<[name: string, status: number, code: string, token: () => string | Promise<string>]>([
    ['without a token', 400, 'InvalidRequest', () => ''],
    ['with garbage', 403, 'InvalidJWT', () => 'garbage'],
    ['with a token for another name', 403, 'InvalidSignature', async () => (await signUpload('b.txt')).token],
    [
      'with a token for a download',
      403,
      'InvalidSignature',
      async () => {
        await put(server, `${bucket}/a.txt`, 'old')
        const token = tokenOf(await sign(server, `${bucket}/a.txt`))
        await server.request('DELETE', `/object/${bucket}/a.txt`)
        return token
      },
    ],
    ['with the service key', 403, 'InvalidJWT', () => server.keys.serviceKey],
    [
      'with a login that the signing secret signed',
      403,
      'InvalidJWT',
      () => mintToken(SIGNED_BY_US, { role: 'service_role' }, 60),
    ],
    [
      'with a token of another server',
      403,
      'InvalidJWT',
      () =>
        signUrlToken(
          {
            scope: 'upload',
            bucket,
            bucketUid: undefined,
            name: 'a.txt',
            expiresInSeconds: 60,
            upsert: true,
          },
          'another secret, which is long enough',
          new Date(),
        ).token,
    ],
    [
      'with a token for another bucket',
      403,
      'InvalidSignature',
      () =>
        signUrlToken(
          { scope: 'upload', bucket: 'other', bucketUid: undefined, name: 'a.txt', expiresInSeconds: 60 },
          SIGNED_BY_US,
          new Date(),
        ).token,
    ],
    [
      'with a token that has been given the right to replace',
      403,
      'InvalidJWT',
      async () => {
        const [header, claims, signature] = (await signUpload('a.txt')).token.split('.')
        const altered = { ...JSON.parse(Buffer.from(String(claims), 'base64url').toString()), upsert: true }
        return `${header}.${Buffer.from(JSON.stringify(altered)).toString('base64url')}.${signature}`
      },
    ],
  ])('is refused %s, and leaves nothing', async (_, status, code, token) => {
    await newBucket()
    const files = (await server.storedFiles()).length
    expect(await send(`/object/upload/sign/${bucket}/a.txt?token=${await token()}`, 'x')).toMatchObject({
      status,
      code,
    })
    expect(await rows()).toEqual([])
    expect(await server.storedFiles()).toHaveLength(files)
  })

  it.each([
    ['without a token', '', 400, 'InvalidRequest'],
    ['with garbage', '?token=garbage', 403, 'InvalidJWT'],
  ])('is refused %s before its form is read', async (_, query, status, code) => {
    await newBucket()
    const connection = await RawConnection.open(server.url)
    const start = field('metadata', 'x'.repeat(100_000)).subarray(0, 50_000)
    const headers = [MULTIPART, 'Content-Length: 1000000']
    await connection.send(rawRequest('PUT', `/object/upload/sign/${bucket}/a.txt${query}`, headers), start)
    // No more is sent: an answer that waited for the form would never come.
    const response = await connection.response()
    connection.abort()
    expect([response.status, response.json().code]).toEqual([status, code])
  })

  it('has a token that opens nothing else: no download, no login, no upload without the word sign', async () => {
    await newBucket()
    const { token, url } = await signUpload('a.txt', { 'x-upsert': 'true' })
    expect((await send(url, 'hello')).status).toBe(201)
    const download = { status: 403, code: 'InvalidSignature' }
    expect(await open(server, `/object/sign/${bucket}/a.txt?token=${token}`)).toMatchObject(download)
    expect(await open(server, `/object/${bucket}/a.txt?token=${token}`)).toMatchObject(download)
    expect((await server.request('PUT', `/object/${bucket}/a.txt`, { token, body: 'x' })).status).toBe(401)
    expect((await send(`/object/${bucket}/a.txt?token=${token}`, 'x')).status).toBe(401)
    expect(await read('a.txt')).toBe('hello')
  })

  it.each(['what?.txt', 'with space.txt', 'naïve 图 😀.txt', '100%.txt', 'a+b&c=d#e.txt', 'a/b//c.txt'])(
    'works for the name %j',
    async (name) => {
      await newBucket()
      const { url, signed_url } = await signUpload(name.split('/').map(encodeURIComponent).join('/'), {
        'x-upsert': 'true',
      })
      expect((await send(url, 'relative')).status).toBe(201)
      expect((await send(signed_url, 'absolute')).status).toBe(200)
      expect(await rows()).toMatchObject([{ name, size: '8' }])
    },
  )
})

describe('under STORAGE_COMPAT=supabase a signed upload', () => {
  it('answers as Supabase does', async () => {
    const compat = await startTestServer({ STORAGE_COMPAT: 'supabase' })
    try {
      await compat.createBucket('docs')
      const response = await compat.request('POST', '/object/upload/sign/docs/a.txt')
      const signed = (await response.json()) as SignedUpload
      expect(Object.keys(signed).sort()).toEqual(['token', 'url'])
      const ask = async (path: string) => {
        const { status, text } = await open(compat, path, { method: 'PUT', body: 'x' })
        return [status, JSON.parse(text)]
      }
      expect(await ask(signed.url)).toEqual([200, { Key: 'docs/a.txt' }])
      expect(await ask(signed.url)).toMatchObject([400, { statusCode: '409', error: 'Duplicate' }])
      expect(await ask(signed.url.replace('/a.txt', '/b.txt'))).toMatchObject([
        400,
        { code: 'InvalidSignature' },
      ])
      expect(await ask('/object/upload/sign/docs/a.txt?token=x')).toMatchObject([400, { code: 'InvalidJWT' }])
      expect(await ask('/object/upload/sign/docs/a.txt')).toMatchObject([400, { code: 'InvalidRequest' }])
    } finally {
      await compat.close()
    }
  })
})
