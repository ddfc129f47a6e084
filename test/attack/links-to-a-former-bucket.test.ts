import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { signUrlToken } from '../../src/storage/links/url-token.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { open, put, type Signed, sign } from '../support/signed.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'

const GONE = { default: { status: 404, code: 'NoSuchBucket' }, supabase: { status: 400, statusCode: '404' } }

describe.each(['default', 'supabase'] as const)('under %s rules', (mode) => {
  let server: TestServer
  let bucket: string
  beforeAll(async () => {
    server = await startTestServer(mode === 'supabase' ? { STORAGE_COMPAT: mode } : {})
  })
  afterAll(() => server.close())
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    for (const name of ['a.txt', 'b.txt']) await put(server, `${bucket}/${name}`, 'of the attacker')
  })

  /** The attacker's bucket goes, and an innocent user makes one of the same name. */
  async function changeHands(): Promise<void> {
    expect((await server.request('POST', `/bucket/${bucket}/empty`)).status).toBe(200)
    await remake()
    for (const name of ['a.txt', 'b.txt']) await put(server, `${bucket}/${name}`, 'of the new owner')
  }

  async function remake(): Promise<void> {
    expect((await server.request('DELETE', `/bucket/${bucket}`)).status).toBe(200)
    await server.createBucket(bucket)
  }

  async function signUpload(name: string, headers: Record<string, string> = {}) {
    const response = await server.request('POST', `/object/upload/sign/${bucket}/${name}`, { headers })
    return (await response.json()) as { url: string; token: string }
  }

  async function stored(): Promise<string[]> {
    const rows = await server.admin<{ name: string }[]>`
      select name from storage.objects where bucket_id = ${bucket} order by name`
    return rows.map(({ name }) => name)
  }

  async function bytesOf(name: string): Promise<string> {
    return (await server.request('GET', `/object/${bucket}/${name}`)).text()
  }

  it('a link of the former bucket reads nothing of the new one, and answers as if there were none', async () => {
    const { signedURL } = await sign(server, `${bucket}/a.txt`, 3600)
    const missing = await sign(server, `${bucket}/b.txt`, 3600)
    expect((await open(server, signedURL)).text).toBe('of the attacker')
    await server.request('POST', `/bucket/${bucket}/empty`)
    await server.request('DELETE', `/bucket/${bucket}`)
    const whenGone = await open(server, signedURL)
    await server.createBucket(bucket)
    await put(server, `${bucket}/a.txt`, 'of the new owner')

    expect(whenGone).toMatchObject(GONE[mode])
    for (const method of ['GET', 'HEAD']) {
      for (const url of [signedURL, signedURL.replace('/object/sign/', '/object/'), missing.signedURL]) {
        expect((await open(server, url, { method })).status).toBe(GONE[mode].status)
      }
    }
    const { headers: _before, ...before } = whenGone
    const { headers: _after, ...after } = await open(server, signedURL)
    expect(after).toEqual(before)
    expect((await open(server, missing.signedURL)).text).toEqual(before.text)
  })

  it('nor does one of many that were signed at once', async () => {
    const body = { expiresIn: 3600, paths: ['a.txt', 'b.txt'] }
    const response = await server.request('POST', `/object/sign/${bucket}`, { body })
    const links = (await response.json()) as Signed[]
    for (const { signedURL } of links) expect((await open(server, signedURL)).status).toBe(200)
    await changeHands()
    for (const { signedURL } of links) expect(await open(server, signedURL)).toMatchObject(GONE[mode])
  })

  it('an upload token of the former bucket stores and overwrites nothing in the new one', async () => {
    const overwriting = await signUpload('a.txt', { 'x-upsert': 'true' })
    const adding = await signUpload('c.txt')
    await changeHands()
    for (const body of ['small', 'x'.repeat(300_000)]) {
      for (const { url } of [overwriting, adding]) {
        expect(await open(server, url, { method: 'PUT', body })).toMatchObject(GONE[mode])
      }
    }
    expect(await bytesOf('a.txt')).toBe('of the new owner')
    expect(await stored()).toEqual(['a.txt', 'b.txt'])
  })

  it('nor by a body that began to come before the bucket changed hands', async () => {
    await server.request('POST', `/bucket/${bucket}/empty`)
    const { url } = await signUpload('a.txt', { 'x-upsert': 'true' })
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    const writer = writable.getWriter()
    const init = { method: 'PUT', body: readable, duplex: 'half' } as RequestInit
    const answer = open(server, url, init)
    await writer.write(new Uint8Array(1000))
    const uploads = () => server.admin`select from storage.uploads where bucket_id = ${bucket}`
    await until(async () => (await uploads()).length === 1, 'the upload has begun')
    await remake()
    await writer.close()
    expect(await answer).toMatchObject(GONE[mode])
    expect(await stored()).toEqual([])
  })

  it('nor in pieces: not begun with the token, not gone on with, not finished', async () => {
    await server.request('POST', `/bucket/${bucket}/empty`)
    const { token } = await signUpload('a.txt', { 'x-upsert': 'true' })
    const tus = new TusRequests(
      server,
      { token: null, headers: { 'x-signature': token } },
      '/storage/v1/upload/resumable/sign',
    )
    const at = { bucket, name: 'a.txt' }
    const begun = await tus.begin(at, 10)
    expect((await tus.patch(begun, 0, 'half of')).status).toBe(204)
    await remake()
    expect((await tus.create(at, 10)).status).toBe(GONE.default.status)
    expect((await tus.create(at, 5, { body: 'whole' })).status).toBe(GONE.default.status)
    expect((await tus.patch(begun, 7, 'it!')).status).toBe(GONE.default.status)

    // Nor does a token for the new one go on with what was begun in the former.
    const renewed = await signUpload('a.txt', { 'x-upsert': 'true' })
    const headers = { 'x-signature': renewed.token }
    expect((await tus.patch(begun, 7, 'it!', { headers })).status).toBe(GONE.default.status)
    expect(await stored()).toEqual([])
  })

  it('a token from before tokens named their bucket counts until it expires', async () => {
    const grant = { bucket, name: 'a.txt', bucketUid: undefined, expiresInSeconds: 60 }
    const { signingSecret } = server.keys
    const { token } = signUrlToken({ ...grant, scope: 'download' }, signingSecret, new Date())
    expect((await open(server, `/object/sign/${bucket}/a.txt?token=${token}`)).status).toBe(200)
    const upload = signUrlToken({ ...grant, scope: 'upload', upsert: true }, signingSecret, new Date())
    const url = `/object/upload/sign/${bucket}/a.txt?token=${upload.token}`
    expect((await open(server, url, { method: 'PUT', body: 'new' })).status).toBe(200)
    expect(await bytesOf('a.txt')).toBe('new')
  })
})

describe('a link that would outlive everything', () => {
  const YEAR = 365 * 86_400
  it.each<[settings: Record<string, string>, most: number]>([
    [{}, YEAR],
    [{ STORAGE_COMPAT: 'supabase' }, 10 * YEAR],
    [{ STORAGE_MAX_SIGNED_EXPIRY: '1h' }, 3600],
    [{ STORAGE_MAX_SIGNED_EXPIRY: '1h', STORAGE_COMPAT: 'supabase' }, 3600],
  ])('is not made with %j: at most %i seconds, and the answer says so', async (settings, most) => {
    const server = await startTestServer(settings)
    try {
      await server.createBucket('docs')
      await put(server, 'docs/a.txt', 'a')
      const ask = (path: string, body: object) => server.request('POST', `/object/sign/${path}`, { body })
      const paths = ['a.txt', 'absent.txt']
      expect((await ask('docs/a.txt', { expiresIn: most })).status).toBe(200)
      expect((await ask('docs', { expiresIn: most, paths })).status).toBe(200)
      for (const refused of [
        await ask('docs/a.txt', { expiresIn: most + 1 }),
        await ask(`docs/a.txt?expires_in=${most + 1}`, {}),
        await ask('docs', { expiresIn: most + 1, paths }),
        await ask('docs', { expiresIn: most + 1, paths: ['absent.txt'] }),
      ]) {
        expect(refused.status).toBe(400)
        expect(await refused.json()).toMatchObject({
          code: 'InvalidParameter',
          message: `expiresIn must be at most ${most} seconds (STORAGE_MAX_SIGNED_EXPIRY)`,
        })
      }
    } finally {
      await server.close()
    }
  })

  it('nor is one to upload', async () => {
    const server = await startTestServer({ STORAGE_MAX_SIGNED_EXPIRY: '60s' })
    try {
      await server.createBucket('docs')
      const response = await server.request('POST', '/object/upload/sign/docs/a.txt')
      const { expires_at } = (await response.json()) as { expires_at: string }
      expect(Date.parse(expires_at) - Date.now()).toBeLessThanOrEqual(60_000)
    } finally {
      await server.close()
    }
  })
})
