import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open } from '../../support/signed.ts'

/** Of `dist/browser/openapi-explorer.min.js` in the registry's package. */
const VIEWER = '6bb3f4f29b0d740f1fc0970cd4245e01d2c1346df5a26ecd20a2f7a5dda5f837'

describe.each(['', 'supabase'])('with STORAGE_COMPAT=%j the documentation', (compat) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer(compat === '' ? {} : { STORAGE_COMPAT: compat })
  })
  afterAll(() => server.close())

  it.each(['', '/storage/v1'])('is a page at %j/documentation whose parts are all here', async (prefix) => {
    for (const path of [`${prefix}/documentation`, `${prefix}/documentation/`]) {
      const { status, text, headers } = await open(server, path)
      expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8'])
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      const parts = [...text.matchAll(/(?:src|spec-url)="([^"]*)"/g)].map(([, part]) => String(part))
      expect(parts).toHaveLength(2)
      for (const part of parts) {
        const url = new URL(part, `${server.url}${path}`)
        expect(url.pathname).toMatch(new RegExp(`^${prefix}/documentation/`))
        expect((await fetch(url)).status).toBe(200)
      }
    }
  })

  it('lets the page run its own script and nothing else', async () => {
    const { text, headers } = await open(server, '/documentation')
    const policy = headers.get('content-security-policy')
    for (const part of [
      "default-src 'none'",
      "script-src 'self';",
      "connect-src 'self';",
      "frame-ancestors 'none'",
    ]) {
      expect(policy).toContain(part)
    }
    expect(text).not.toMatch(/<script(?! type="module" src=)|<style|https?:/)
  })

  it.each([
    ['json', 'application/json', 'no-cache'],
    ['openapi-explorer-2.4.820.js', 'text/javascript; charset=utf-8', 'public, max-age=31536000, immutable'],
  ])('/documentation/%s has a tag, and is not sent again to who has it', async (name, type, caching) => {
    const path = `/documentation/${name}`
    const first = await server.request('GET', path, { token: null })
    const etag = first.headers.get('etag') ?? ''
    expect([first.status, first.headers.get('content-type'), first.headers.get('cache-control')]).toEqual([
      200,
      type,
      caching,
    ])
    expect(first.headers.get('x-content-type-options')).toBe('nosniff')
    const sent = Buffer.from(await first.arrayBuffer())
    expect(etag).toBe(`"sha256-${createHash('sha256').update(sent).digest('base64url')}"`)
    const again = await server.request('GET', path, { token: null, headers: { 'if-none-match': etag } })
    expect([again.status, await again.text()]).toEqual([304, ''])
    const head = await server.request('HEAD', path, { token: null })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })
})

it('the viewer is the one of the package, as it is', async () => {
  const server = await startTestServer()
  try {
    const response = await server.request('GET', '/documentation/openapi-explorer-2.4.820.js')
    const bytes = Buffer.from(await response.arrayBuffer())
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(VIEWER)
  } finally {
    await server.close()
  }
})

describe('with STORAGE_DOCUMENTATION=false', () => {
  it('there is none, and no link to it', async () => {
    const server = await startTestServer({ STORAGE_DOCUMENTATION: 'false' })
    try {
      for (const path of ['/documentation', '/documentation/json', '/storage/v1/documentation/json']) {
        expect((await server.request('GET', path)).status).toBe(404)
      }
      expect((await open(server, '/')).text).not.toContain('documentation')
    } finally {
      await server.close()
    }
  })
})

describe('with STORAGE_PUBLIC_URL', () => {
  it('the document is for that address, and the page may call it', async () => {
    const server = await startTestServer({ STORAGE_PUBLIC_URL: 'https://files.example.com/a' })
    try {
      const document = await (await server.request('GET', '/documentation/json')).json()
      expect(document).toMatchObject({ servers: [{ url: 'https://files.example.com/a/storage/v1' }] })
      const { headers } = await open(server, '/documentation')
      expect(headers.get('content-security-policy')).toContain(
        "connect-src 'self' https://files.example.com;",
      )
    } finally {
      await server.close()
    }
  })
})
