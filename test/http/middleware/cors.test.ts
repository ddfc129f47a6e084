import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, sign } from '../../support/signed.ts'

const APP = 'https://app.example.com'
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** Wire §1.1. */
const SENT = `authorization, apikey, x-client-info, content-type, cache-control, range, if-none-match, x-upsert,
  x-metadata, x-signature, x-robots-tag, tus-resumable, upload-length, upload-metadata, upload-offset,
  upload-defer-length, x-amz-content-sha256, x-amz-date, x-amz-security-token, content-encoding`

const EXPOSED = `etag, content-range, content-length, content-disposition, location, upload-offset, upload-length,
  upload-expires, upload-metadata, tus-resumable, tus-version, tus-extension, tus-max-size, allow, www-authenticate,
  retry-after, x-request-id, x-robots-tag`

const PATHS = [
  '/bucket',
  '/bucket/docs',
  '/bucket/docs/empty',
  '/object/docs/a.txt',
  '/object/docs',
  '/object/public/docs/a.txt',
  '/object/authenticated/docs/a.txt',
  '/object/info/docs/a.txt',
  '/object/sign/docs/a.txt?token=x',
  '/object/sign/docs',
  '/object/upload/sign/docs/a.txt?token=x',
  '/object/list/docs',
  '/object/list-v2/docs',
  '/object/move',
  '/object/copy',
  '/upload/resumable',
  '/status',
  '/health',
]

const list = (text: string | null) => (text ?? '').split(',').map((item) => item.trim().toLowerCase())

let server: TestServer
let choosy: TestServer

beforeAll(async () => {
  server = await startTestServer()
  choosy = await startTestServer({ STORAGE_CORS_ORIGINS: `${APP}/, http://localhost:3000` })
  for (const each of [server, choosy]) {
    await each.createBucket('docs', { policy: 'public' })
    await put(each, 'docs/a.txt', 'a')
    await put(each, 'docs/large.txt', 'x'.repeat(3_000_000))
  }
})
afterAll(() => Promise.all([server.close(), choosy.close()]))

function preflight(target: TestServer, path: string, origin = APP, asked = 'authorization,x-upsert') {
  return open(target, path, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'PUT',
      'access-control-request-headers': asked,
    },
  })
}

/** Answers of every kind: from memory, streamed past the framework, without a body, and errors of each layer. */
const ANSWERS: [
  name: string,
  status: number,
  method: string,
  path: string,
  headers?: Record<string, string>,
][] = [
  ['a small body', 200, 'GET', '/object/public/docs/a.txt'],
  ['a streamed body', 200, 'GET', '/object/public/docs/large.txt'],
  ['a part of one', 206, 'GET', '/object/public/docs/large.txt', { range: 'bytes=0-1999999' }],
  ['a head', 200, 'HEAD', '/object/public/docs/large.txt'],
  ['JSON', 200, 'GET', '/object/info/public/docs/a.txt'],
  ['nothing', 200, 'GET', '/status'],
  ['an object that is not there', 404, 'GET', '/object/public/docs/absent'],
  ['a range that cannot be', 416, 'GET', '/object/public/docs/a.txt', { range: 'bytes=9-' }],
  ['a request without authentication', 401, 'GET', '/bucket'],
  ['a malformed path', 400, 'GET', '/object/public/docs/%ff'],
  ['a link that does not hold', 403, 'GET', '/object/sign/docs/a.txt?token=x'],
  ['an unknown route', 404, 'GET', '/nowhere'],
  ['a method that the route does not have', 405, 'PROPFIND', '/object/docs/a.txt'],
]

describe('a preflight', () => {
  it.each(PATHS)('for %s allows every method and header that clients use, to anyone', async (path) => {
    for (const prefix of ['', '/storage/v1']) {
      const { status, text, headers } = await preflight(server, `${prefix}${path}`)
      expect([status, text]).toEqual([204, ''])
      expect(headers.get('access-control-allow-origin')).toBe('*')
      expect(list(headers.get('access-control-allow-methods')).sort()).toEqual(
        METHODS.map((m) => m.toLowerCase()).sort(),
      )
      expect(list(headers.get('access-control-allow-headers'))).toEqual(expect.arrayContaining(list(SENT)))
      expect(Number(headers.get('access-control-max-age'))).toBeGreaterThan(0)
      // Tokens say who asks; a cookie must never.
      expect(headers.get('access-control-allow-credentials')).toBeNull()
    }
  })

  it.each([APP, 'http://localhost:3000'])('allows the configured origin %s by its name', async (origin) => {
    const { status, headers } = await preflight(choosy, '/object/docs/a.txt', origin)
    expect(status).toBe(204)
    expect(headers.get('access-control-allow-origin')).toBe(origin)
    expect(list(headers.get('access-control-allow-headers'))).toContain('authorization')
    expect(list(headers.get('vary'))).toContain('origin')
  })

  it.each(PATHS)('for %s allows the headers that a page has of its own', async (path) => {
    const own = ['baggage', 'sentry-trace', 'traceparent', 'x-my-header', 'x-supabase-api-version']
    for (const each of [server, choosy]) {
      const { headers } = await preflight(each, path, APP, own.join(','))
      const allowed = list(headers.get('access-control-allow-headers'))
      expect(allowed).toEqual(expect.arrayContaining([...own, ...list(SENT)]))
      expect(allowed).toHaveLength(new Set(allowed).size)
      expect(list(headers.get('vary'))).toContain('access-control-request-headers')
    }
  })

  it('repeats nothing that is no name of a header', async () => {
    const asked = 'X-Fine , bad name,"quoted",a/b,, (x),X-FINE,\u00e9,x:y'
    const { status, headers } = await preflight(server, '/object/docs/a.txt', APP, asked)
    const usual = await preflight(server, '/object/docs/a.txt')
    const names = (text: string | null) => list(text).filter((name) => !list(SENT).includes(name))
    const more = names(headers.get('access-control-allow-headers')).filter(
      (name) => !list(usual.headers.get('access-control-allow-headers')).includes(name),
    )
    expect([status, more]).toEqual([204, ['x-fine']])
  })

  it.each([
    'https://evil.example',
    'https://app.example.com.evil.example',
    'http://app.example.com',
    'null',
    '*',
  ])('allows nothing to %s when origins are configured without it', async (origin) => {
    const { headers } = await preflight(choosy, '/object/docs/a.txt', origin)
    const allowed = [...headers.keys()].filter((name) => name.startsWith('access-control-'))
    expect(allowed).toEqual([])
    // A cache in between must not hand this answer to an origin that is allowed.
    expect(list(headers.get('vary'))).toContain('origin')
  })
})

describe.each(ANSWERS)('%s (%d)', (_, status, method, path, headers = {}) => {
  it('may be read by a page of any origin, with the headers that clients look at', async () => {
    const answer = await open(server, path, { method, headers: { origin: APP, ...headers } })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('access-control-allow-origin')).toBe('*')
    expect(list(answer.headers.get('access-control-expose-headers'))).toEqual(
      expect.arrayContaining(list(EXPOSED)),
    )
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    expect(answer.headers.get('x-request-id')).toMatch(/^[\w-]{36}$/)
  })

  it('may be read by a page of a configured origin, and of no other', async () => {
    const ask = (origin: string) => open(choosy, path, { method, headers: { origin, ...headers } })
    const allowed = await ask(APP)
    expect([allowed.status, allowed.headers.get('access-control-allow-origin')]).toEqual([status, APP])
    expect(list(allowed.headers.get('access-control-expose-headers'))).toContain('etag')
    const other = await ask('https://evil.example')
    expect([other.status, other.headers.get('access-control-allow-origin')]).toEqual([status, null])
    expect(list(other.headers.get('vary'))).toContain('origin')
  })
})

it('a signed link may be read by a page too', async () => {
  const { signedURL } = await sign(server, 'docs/a.txt')
  const { status, headers } = await open(server, signedURL, { headers: { origin: APP } })
  expect([status, headers.get('access-control-allow-origin')]).toEqual([200, '*'])
})
