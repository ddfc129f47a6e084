import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openBackend } from '../../../src/backend/open.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const LARGE = randomBytes(20_000)

describeWithS3('STORAGE_S3_REDIRECT=true', (s3) => {
  let server: TestServer

  beforeAll(async () => {
    server = await startTestServer({
      ...IN_FILES,
      ...(await s3Env(s3)),
      STORAGE_S3_REDIRECT: 'true',
      STORAGE_S3_REDIRECT_MIN_SIZE: '10KB',
      STORAGE_AUDIT: 'all',
    })
    await server.createBucket('docs')
    await server.createBucket('open', { public: true })
    await upload('docs/large.bin', LARGE)
    await upload('docs/small.bin', LARGE.subarray(0, 9999))
    await upload('open/large.bin', LARGE)
    await upload('docs/tab.txt', LARGE, { 'content-type': 'text/plain;\tcharset=utf-8' })
    await upload('docs/latin.txt', LARGE, { 'cache-control': 'no-cache, x="\xe9"' })
    await upload('open/drawing.svg', LARGE, { 'content-type': 'image/svg+xml' })
  })
  afterAll(() => server?.close())

  async function upload(path: string, bytes: Uint8Array, headers: Record<string, string> = {}) {
    const request = {
      body: bytes as unknown as string,
      headers: { 'cache-control': 'max-age=77', ...headers },
    }
    expect((await server.request('POST', `/object/${path}`, request)).status).toBe(201)
  }

  /** Asks without following. */
  function ask(
    path: string,
    { method = 'GET', headers = {}, token = server.keys.serviceKey as string | null } = {},
  ) {
    return fetch(`${server.url}/storage/v1${path}`, {
      method,
      redirect: 'manual',
      headers: { ...(token !== null && { authorization: `Bearer ${token}` }), ...headers },
    })
  }

  async function location(response: Response): Promise<string> {
    expect([response.status, await response.text()]).toEqual([302, ''])
    return response.headers.get('location') ?? ''
  }

  it('sends a large download to the store, which answers with its bytes, type and name', async () => {
    const response = await ask('/object/docs/large.bin?download=mine.bin', {})
    expect(response.headers.get('cache-control')).toBe('no-store')
    const url = await location(response)
    expect(url.startsWith(`${s3.endpoint}/`)).toBe(true)
    const stored = await fetch(url)
    expect(stored.status).toBe(200)
    expect(LARGE.equals(new Uint8Array(await stored.arrayBuffer()))).toBe(true)
    expect(stored.headers.get('content-type')).toBe('application/octet-stream')
    expect(stored.headers.get('content-disposition')).toContain('mine.bin')
    expect(stored.headers.get('cache-control')).toBe('max-age=77')
  })

  it.each([
    [{}, 302],
    [{ once: true }, 200],
    [{ allowed_ip: '127.0.0.0/8' }, 200],
    [{ prefix: true }, 302],
    [{ prefix: true, allowed_ip: '127.0.0.0/8' }, 200],
  ])('sends whoever has a link there, unless that has to be looked at here: %j', async (options, status) => {
    const folder = randomUUID()
    await upload(`docs/${folder}/a`, LARGE) // which is in no memory yet
    const path = 'prefix' in options ? folder : `${folder}/a`
    const signed = await server.request('POST', `/object/sign/docs/${path}`, {
      body: { expiresIn: 60, ...options },
    })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    const token = signedURL.replace(/.*token=/, '')
    const answer = await ask(`/object/sign/docs/${folder}/a?token=${token}`, { token: null })
    await answer.arrayBuffer()
    expect(answer.status).toBe(status)
  })

  it('tells an address that works for a minute, and for nothing else', async () => {
    const url = new URL(await location(await ask('/object/docs/large.bin')))
    expect(url.searchParams.get('X-Amz-Expires')).toBe('60')
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(403)
    url.pathname = url.pathname.replace(/.$/, (last) => (last === '0' ? '1' : '0'))
    expect((await fetch(url)).status).toBe(403)
  })

  it('does so for public objects and signed URLs too', async () => {
    expect(await location(await ask('/object/public/open/large.bin', { token: null }))).toContain(s3.endpoint)
    const signed = await server.request('POST', '/object/sign/docs/large.bin', { body: { expiresIn: 60 } })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    expect(await location(await ask(signedURL, { token: null }))).toContain(s3.endpoint)
  })

  it('lets the client ask the store for a part', async () => {
    const range = { headers: { range: 'bytes=5-9' } }
    const part = await fetch(await location(await ask('/object/docs/large.bin', range)), range)
    expect(part.status).toBe(206)
    expect(LARGE.subarray(5, 10).equals(new Uint8Array(await part.arrayBuffer()))).toBe(true)
  })

  it.each([
    ['a small object', '/object/docs/small.bin', {}, 200],
    ['what a browser could run', '/object/open/drawing.svg', {}, 200],
    ['a header with a tab', '/object/docs/tab.txt', {}, 200],
    ['a header beyond ASCII', '/object/docs/latin.txt', {}, 200],
    ['a HEAD', '/object/docs/large.bin', { method: 'HEAD' }, 200],
    ['a range beyond the end', '/object/docs/large.bin', { headers: { range: 'bytes=90000-' } }, 416],
    ['a conditional request', '/object/docs/large.bin', { headers: { 'if-none-match': '"other"' } }, 200],
    [
      'a resumed download',
      '/object/docs/large.bin',
      { headers: { range: 'bytes=1-2', 'if-range': '"x"' } },
      200,
    ],
    ['a caller who may not read it', '/object/docs/large.bin', { token: null }, 404],
    ['an object that does not exist', '/object/docs/missing.bin', {}, 404],
  ])('answers %s by itself', async (_what, path, request, status) => {
    const response = await ask(path, request)
    expect([response.status, response.headers.get('location')]).toEqual([status, null])
    await response.arrayBuffer()
  })

  it('answers 404 and reports the drift when the store has lost the bytes', async () => {
    await upload('docs/lost.bin', LARGE)
    const [row] =
      await server.admin`select version, bytes_bucket from storage.objects where name = 'lost.bin'`
    const backend = await openBackend('s3', server.config)
    await backend.remove({ bucket: String(row?.bytes_bucket), version: String(row?.version) })
    await backend.close()
    expect((await ask('/object/docs/lost.bin')).status).toBe(404)
    expect(server.logs.some((line) => line.msg?.startsWith('drift') && line.path === 'lost.bin')).toBe(true)
  })

  it('is in the audit log as a download, and its address in no log', async () => {
    const [whole, refused, last] = [randomUUID(), randomUUID(), randomUUID()]
    const withId = (id: string) => ({ headers: { 'x-request-id': id } })
    for (const bucket of ['docs', 'open']) await upload(`${bucket}/told.bin`, LARGE) // which is in no memory
    await location(await ask('/object/docs/told.bin', withId(whole)))
    await (await ask('/object/docs/told.bin', { ...withId(refused), token: null })).arrayBuffer()
    await location(await ask('/object/public/open/told.bin', { ...withId(last), token: null }))
    const told = (id: string) => server.admin<{ all: string }[]>`
      select concat_ws(' ', action, allowed, status, role, via, path, bytes) as all from storage.audit_log
      where request_id = ${id}`
    await until(async () => (await told(last)).length > 0, 'the log is written')
    expect(await told(last)).toEqual([{ all: 'download t 302 anon public told.bin 20000' }])
    expect(await told(whole)).toEqual([{ all: 'download t 302 service_role token told.bin 20000' }])
    expect(await told(refused)).toEqual([{ all: 'download f 404 anon public told.bin' }])
    const rows = await server.admin`select * from storage.audit_log`
    expect(JSON.stringify([server.logs, rows])).not.toContain('X-Amz-Signature')
  })
})

describeWithS3('STORAGE_S3_PUBLIC_ENDPOINT', (s3) => {
  it('is where clients are sent, with a signature for that host', async () => {
    // Another name of the same place, as the store may have inside and outside.
    const outside = s3.endpoint.replace('127.0.0.1', 'localhost')
    const server = await startTestServer({
      ...IN_FILES,
      ...(await s3Env(s3)),
      STORAGE_S3_REDIRECT: 'true',
      STORAGE_S3_REDIRECT_MIN_SIZE: '1',
      STORAGE_S3_PUBLIC_ENDPOINT: outside,
    })
    try {
      await server.createBucket('docs')
      await server.request('POST', '/object/docs/a.txt', { body: 'hello' })
      const followed = await server.request('GET', '/object/docs/a.txt')
      expect([followed.url.startsWith(outside), await followed.text()]).toEqual([true, 'hello'])
    } finally {
      await server.close()
    }
  })
})
