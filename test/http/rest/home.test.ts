import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageVersion } from '../../../src/lib/package-version.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open } from '../../support/signed.ts'

const BROWSER = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }

describe.each(['', 'supabase'])('with STORAGE_COMPAT=%j the address of the server', (compat) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer(compat === '' ? {} : { STORAGE_COMPAT: compat })
  })
  afterAll(() => server.close())

  it.each(['', '/', '/storage/v1', '/storage/v1/'])('shows a page that says it runs, at %j', async (path) => {
    const { status, text, headers } = await open(server, path, { headers: BROWSER })
    expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8'])
    expect(text).toContain(`Strongroom ${packageVersion()} is running`)
  })

  it('shows the page to who does not say what it wants, as curl', async () => {
    const { headers } = await open(server, '/', { headers: { accept: '*/*' } })
    expect(headers.get('content-type')).toContain('text/html')
    expect(headers.get('vary')).toContain('Accept')
  })

  it.each(['', '/storage/v1'])('has links that lead somewhere, under %j too', async (prefix) => {
    const { text } = await open(server, `${prefix}/`, { headers: BROWSER })
    const links = [...text.matchAll(/href="([^"]*)"/g)].map(([, url]) => String(url))
    expect(links).toEqual(
      ['health', 'status', 'version', 'documentation'].map((name) => `${server.url}${prefix}/${name}`),
    )
    for (const link of links) {
      const { status } = await server.request('GET', link.slice(server.url.length))
      expect([link, status]).toEqual([link, 200])
    }
  })

  it('answers JSON to who asks for it', async () => {
    const { status, text, headers } = await open(server, '/', { headers: { accept: 'application/json' } })
    expect([status, headers.get('content-type')]).toEqual([200, 'application/json'])
    expect(JSON.parse(text)).toMatchObject({
      name: 'Strongroom',
      version: packageVersion(),
      links: { health: `${server.url}/health` },
    })
  })

  it('lets its page fetch and run nothing, and apply its own style alone', async () => {
    const { text, headers } = await open(server, '/', { headers: BROWSER })
    const style = /<style>([\s\S]*)<\/style>/.exec(text)?.[1] ?? ''
    const hash = createHash('sha256').update(style).digest('base64')
    const policy = headers.get('content-security-policy')
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain(`style-src 'sha256-${hash}'`)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(text).not.toMatch(/<script|<img|<link|url\(/)
  })

  it('is kept by no cache: its links are to the host that the request names', async () => {
    for (const accept of ['text/html', 'application/json']) {
      const { headers } = await open(server, '/', { headers: { accept } })
      expect(headers.get('cache-control')).toBe('no-store')
    }
  })

  it('is not for writing', async () => {
    const response = await server.request('POST', '/', { body: {} })
    expect(response.status).toBe(compat === '' ? 405 : 404)
    expect((await server.request('HEAD', '/')).status).toBe(200)
  })
})

describe('an answer in JSON', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer()
    await server.createBucket('lines')
  })
  afterAll(() => server.close())

  it.each([
    ['GET', '/bucket', 200],
    ['GET', '/bucket/lines', 200],
    ['PUT', '/object/lines/a.txt', 201],
    ['GET', '/object/info/lines/a.txt', 200],
    ['GET', '/health', 200],
    ['GET', '/no/such/route', 404],
    ['GET', '/bucket/absent', 404],
  ])("to %s %s ends with a line's end", async (method, path, status) => {
    const body = method === 'PUT' ? { body: 'text', headers: { 'content-type': 'text/plain' } } : {}
    const response = await server.request(method, path, body)
    const text = await response.text()
    expect([response.status, response.headers.get('content-type')]).toEqual([status, 'application/json'])
    expect(text).toMatch(/[\]}]\n$/)
    expect(() => JSON.parse(text)).not.toThrow()
  })

  it('is as it was uploaded when it is an object', async () => {
    await server.request('PUT', '/object/lines/a.json', {
      body: '{"a":1}',
      headers: { 'content-type': 'application/json' },
    })
    expect(await (await server.request('GET', '/object/lines/a.json')).text()).toBe('{"a":1}')
  })
})

describe('under STORAGE_COMPAT=supabase an answer in JSON', () => {
  it("has no line's end, as Supabase's has none", async () => {
    const server = await startTestServer({ STORAGE_COMPAT: 'supabase' })
    try {
      expect(await (await server.request('GET', '/bucket')).text()).toBe('[]')
      expect(await (await server.request('GET', '/bucket/absent')).text()).toMatch(/}$/)
    } finally {
      await server.close()
    }
  })
})
