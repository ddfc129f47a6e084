import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, type RawResponse, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let auth: string

const BODY = 'hello world'
const ETAG = `"sha256-${createHash('sha256').update(BODY).digest('base64url')}"`

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
  await server.createBucket('open', { public: true })
  for (const bucket of ['box', 'open']) {
    const headers = { 'content-type': 'text/css', 'cache-control': 'max-age=60' }
    await server.request('PUT', `/object/${bucket}/a.css`, { body: BODY, headers })
  }
})

afterAll(() => server.close())

function ask(method: string, path: string, headers: string[] = [auth]): Promise<RawResponse> {
  return exchange(server.url, rawRequest(method, path, headers), { headOnly: method === 'HEAD' })
}

async function signedPath(path: string): Promise<string> {
  const response = await server.request('POST', `/object/sign/${path}`, { body: { expiresIn: 600 } })
  return ((await response.json()) as { signedURL: string }).signedURL
}

const HEADERS = {
  'content-type': 'text/css',
  'content-length': String(BODY.length),
  etag: ETAG,
  'last-modified': expect.stringMatching(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/),
  'accept-ranges': 'bytes',
  'cache-control': 'max-age=60',
  'x-robots-tag': 'none',
  'x-content-type-options': 'nosniff',
  'x-request-id': expect.any(String),
  'access-control-allow-origin': '*',
}

describe('HEAD of what GET tells in JSON', () => {
  it.each([
    ['/object/info/box/a.css', true],
    ['/object/info/authenticated/box/a.css', true],
    ['/object/info/public/open/a.css', false],
    ['/object/info/open/a.css', false],
  ])('%s has the headers of the object, and 304 when it is the same', async (path, withToken) => {
    const token = withToken ? [auth] : []
    const response = await ask('HEAD', path, token)
    expect([response.status, response.headers]).toMatchObject([200, HEADERS])
    expect((await ask('HEAD', path, [...token, `If-None-Match: ${ETAG}`])).status).toBe(304)
    expect((await ask('HEAD', `${path}x`, token)).status).toBe(404)
  })
})

describe.each(['GET', 'HEAD'])('%s', (method) => {
  const body = method === 'GET' ? BODY : ''

  it.each([
    ['/object/box/a.css', true],
    ['/storage/v1/object/box/a.css', true],
    ['/object/authenticated/box/a.css', true],
    ['/object/public/open/a.css', false],
    ['/object/open/a.css', false],
  ])('%s has every header a client needs', async (path, withToken) => {
    const response = await ask(method, path, withToken ? [auth] : [])
    expect(response.headers).toMatchObject(HEADERS)
    expect([response.status, response.body.toString()]).toEqual([200, body])
    for (const name of [
      'content-disposition',
      'expires',
      'content-encoding',
      'content-range',
      'x-powered-by',
    ]) {
      expect(response.headers[name]).toBeUndefined()
    }
  })

  it('a signed URL expires instead of being cached', async () => {
    const response = await ask(method, await signedPath('box/a.css'), [])
    const { 'cache-control': _, ...others } = HEADERS
    expect(response.headers).toMatchObject(others)
    expect(response.headers['cache-control']).toBeUndefined()
    const seconds = (Date.parse(response.headers.expires ?? '') - Date.now()) / 1000
    expect(seconds > 500 && seconds <= 601).toBe(true)
    expect(response.body.toString()).toBe(body)
  })

  it.each([
    ['?download', 'attachment;'],
    ['?download=', 'attachment;'],
    ['?download=report.css', "attachment; filename=report.css; filename*=UTF-8''report.css"],
    ['?download=a%20%22b%22.css', "attachment; filename=a%20%22b%22.css; filename*=UTF-8''a%20%22b%22.css"],
    ['?download=%E5%9B%BE', "attachment; filename=%E5%9B%BE; filename*=UTF-8''%E5%9B%BE"],
    [
      '?download=a%0d%0aX-Evil:%20b',
      "attachment; filename=a%0D%0AX-Evil%3A%20b; filename*=UTF-8''a%0D%0AX-Evil%3A%20b",
    ],
    ['?cacheNonce=1&download=x&other=y', "attachment; filename=x; filename*=UTF-8''x"],
    ['?downloads=x', undefined],
  ])('%s: Content-Disposition %s', async (query, disposition) => {
    for (const path of [`/object/box/a.css${query}`, `/object/public/open/a.css${query}`]) {
      const response = await ask(method, path)
      expect([response.status, response.headers['content-disposition']]).toEqual([200, disposition])
      expect(response.headers['x-evil']).toBeUndefined()
    }
  })
})

describe('types that could become pages of our origin', () => {
  const sandbox = expect.stringMatching(/\bsandbox\b/)

  it.each([
    ['text/html', 'text/plain', undefined],
    ['text/html; charset=utf-8', 'text/plain; charset=utf-8', undefined],
    ['TEXT/HTML', 'text/plain', undefined],
    ['application/xhtml+xml', 'text/plain', undefined],
    ['image/svg+xml', 'image/svg+xml', sandbox],
    ['application/xml', 'application/xml', sandbox],
    ['text/xml', 'text/xml', sandbox],
    ['image/png', 'image/png', undefined],
    ['application/pdf', 'application/pdf', undefined],
    ['text/javascript', 'text/javascript', undefined],
  ])('%s is sent as %s, with policy %s', async (stored, sent, policy) => {
    await server.request('PUT', '/object/open/page', {
      body: '<script>alert(1)</script>',
      headers: { 'content-type': stored },
    })
    for (const [method, path] of [
      ['GET', '/object/public/open/page'],
      ['HEAD', '/object/public/open/page'],
      ['GET', await signedPath('open/page')],
    ] as const) {
      const response = await ask(method, path, [])
      expect(response.headers['content-type']).toBe(sent)
      expect(response.headers['content-security-policy']).toEqual(policy)
      expect(response.headers['x-content-type-options']).toBe('nosniff')
    }
  })

  it('no header that plain SQL has put into a row can break the answer', async () => {
    await server.request('PUT', '/object/box/odd', { body: 'hello' })
    await server.admin`
      update storage.objects set metadata = metadata || ${JSON.stringify({
        mimetype: 'text/html\r\nX-Evil: 1',
        cacheControl: 'a\u0001\nX-Evil: 1',
        contentEncoding: '图',
        xRobotsTag: 'x\r\n',
        eTag: 'no quotes',
        lastModified: 'never',
      })}::text::jsonb where name = 'odd'`
    const response = await ask('GET', '/object/box/odd')
    expect([response.status, response.body.toString()]).toEqual([200, 'hello'])
    expect(response.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'cache-control': 'no-cache',
      'x-robots-tag': 'none',
      etag: expect.stringMatching(/^"[0-9a-f-]{36}"$/),
    })
    expect(Object.keys(response.headers)).not.toContain('x-evil')
  })
})

describe('the entity tag', () => {
  const tag = async (path: string) => (await ask('HEAD', `/object/${path}`)).headers.etag

  it('is strong, and stable across an overwrite with the same bytes, a copy and a move', async () => {
    const put = (name: string, body = BODY) => server.request('PUT', `/object/box/${name}`, { body })
    await put('tag')
    expect(await tag('box/tag')).toBe(ETAG)
    await put('tag')
    expect(await tag('box/tag')).toBe(ETAG)
    const to = (destinationKey: string) => ({
      body: { bucketId: 'box', sourceKey: 'tag', destinationKey, destinationBucket: 'open' },
    })
    expect((await server.request('POST', '/object/copy', to('tag-copy'))).status).toBe(200)
    expect(await tag('open/tag-copy')).toBe(ETAG)
    expect((await server.request('POST', '/object/move', to('tag-moved'))).status).toBe(200)
    expect(await tag('open/tag-moved')).toBe(ETAG)
    await put('tag', 'other bytes')
    expect(await tag('box/tag')).not.toBe(ETAG)
  })

  it('is the same however the bytes were sent and are read', async () => {
    const bytes = 'x'.repeat(400_000)
    await server.request('PUT', '/object/open/large', { body: bytes })
    const tags = [
      await tag('open/large'),
      (await ask('GET', '/object/open/large')).headers.etag,
      (await ask('GET', '/object/public/open/large', ['Range: bytes=1-2'])).headers.etag,
      (await ask('GET', await signedPath('open/large'), [])).headers.etag,
    ]
    expect(new Set(tags)).toEqual(
      new Set([`"sha256-${createHash('sha256').update(bytes).digest('base64url')}"`]),
    )
  })
})
