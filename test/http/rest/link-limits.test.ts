import { once } from 'node:events'
import { get } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, type Signed, sign, tokenOf } from '../../support/signed.ts'
import { until } from '../../support/wait.ts'

/** Signed URLs that work a number of times, or from some addresses, or under a name (docs/links.md). */

const LARGE = 'x'.repeat(8 * 1024 * 1024)
const TEXT = 'a text to be read'

let server: TestServer
let other: Served
beforeAll(async () => {
  server = await startTestServer({ STORAGE_TRUST_PROXY: 'true' })
  other = await server.beside()
  await server.createBucket('docs')
  await put(server, 'docs/a.txt', TEXT)
  await put(server, 'docs/large', LARGE)
})
afterAll(async () => {
  await other.close()
  await server.close()
})

interface Asking {
  from?: string
  at?: Served
  method?: string
  headers?: Record<string, string>
}

const ask = (
  { signedURL }: Signed,
  { from = '192.0.2.1', at = server, method = 'GET', headers }: Asking = {},
) => open(at, `/storage/v1${signedURL}`, { method, headers: { 'x-forwarded-for': from, ...headers } })
const statusOf = async (signed: Signed, asking: Asking = {}) => (await ask(signed, asking)).status
const range = (text: string) => ({ headers: { range: `bytes=${text}` } })

describe('a URL that works a number of times', () => {
  it.each([1, 3])('gives %i of one more at the same moment, over two servers', async (most) => {
    const signed = await sign(server, 'docs/a.txt', 60, { max_downloads: most })
    const asked = Array.from({ length: 12 }, (_, index) =>
      statusOf(signed, { at: index % 2 ? server : other }),
    )
    const statuses = (await Promise.all(asked)).sort()
    expect(statuses).toEqual([...Array(most).fill(200), ...Array(12 - most).fill(403)])
    expect(await ask(signed)).toMatchObject({ code: 'LinkExhausted' })
  })

  it('goes on with what was begun by ranges, from where it was begun alone', async () => {
    const signed = await sign(server, 'docs/a.txt', 60, { once: true })
    expect(await ask(signed, range('0-3'))).toMatchObject({ status: 206, text: 'a te' })
    expect(await ask(signed, { ...range('4-'), at: other })).toMatchObject({
      status: 206,
      text: TEXT.slice(4),
    })
    expect(await statusOf(signed)).toBe(403)
    expect(await statusOf(signed, { ...range('4-'), from: '192.0.2.2' })).toBe(403)
  })

  it('does not count HEAD, what the client has, what is not there, nor what cannot be', async () => {
    const signed = await sign(server, 'docs/a.txt', 60, { once: true })
    const { headers } = await ask(signed, { method: 'HEAD' })
    expect(await statusOf(signed, { headers: { 'if-none-match': String(headers.get('etag')) } })).toBe(304)
    expect(await statusOf(signed, range('1000-'))).toBe(416)
    expect(await statusOf(signed)).toBe(200)
    await put(server, 'docs/gone', 'x')
    const gone = await sign(server, 'docs/gone', 60, { once: true })
    await server.request('DELETE', '/object/docs/gone')
    expect(await statusOf(gone)).toBe(404)
    await put(server, 'docs/gone', 'y')
    expect(await statusOf(gone)).toBe(200)
  })

  it('lets who was cut off try again, once for each time, and nobody else', async () => {
    const signed = await sign(server, 'docs/large', 60, { once: true })
    const headers = { 'x-forwarded-for': '192.0.2.1' }
    const begun = get(`${server.url}/storage/v1${signed.signedURL}`, { headers })
    await once(begun, 'response')
    begun.destroy()
    const broken = async () => {
      const rows =
        await server.admin`select from storage.link_downloads where link_id = ${signed.id} and retries = 1`
      return rows.length === 1
    }
    await until(broken, 'the server has seen it break off')
    expect(await statusOf(signed, { from: '192.0.2.2' })).toBe(403)
    expect(await statusOf(signed)).toBe(200)
    expect(await statusOf(signed)).toBe(403)
    // A minute later that is another download.
    await server.admin`update storage.link_downloads set free_until = now(), retries = 1 where link_id = ${signed.id}`
    expect(await statusOf(signed)).toBe(403)
    expect(await statusOf(signed, range('1-'))).toBe(403)
  })

  it('writes nothing before it is used, and what it has written is forgotten with it', async () => {
    const rows = async ({ id }: Signed) =>
      server.admin`select used from storage.link_uses where link_id = ${id}`
    const signed = await sign(server, 'docs/a.txt', 60, { max_downloads: 2 })
    expect(await rows(signed)).toHaveLength(0)
    await ask(signed)
    expect(await rows(signed)).toMatchObject([{ used: 1 }])
    await server.admin`update storage.link_uses set expires_at = now() - interval '1 second'`
    await server.admin`select storage.forget_links(100)`
    expect(await rows(signed)).toHaveLength(0)
    const plain = await sign(server, 'docs/a.txt', 60)
    await ask(plain)
    expect(await rows(plain)).toHaveLength(0)
  })

  it('is kept by no cache, and signed one of many', async () => {
    const signed = await sign(server, 'docs/a.txt', 60, { once: true })
    const { headers } = await ask(signed)
    expect([headers.get('cache-control'), headers.get('expires')]).toEqual(['private, no-store', null])
    const many = await server.request('POST', '/object/sign/docs', {
      body: { expiresIn: 60, paths: ['a.txt', 'large'], once: true },
    })
    for (const one of (await many.json()) as Signed[]) {
      expect([await statusOf(one), await statusOf(one)]).toEqual([200, 403])
    }
  })
})

describe('a URL for some addresses', () => {
  it.each([
    ['192.0.2.0/24', '192.0.2.200', 200],
    ['192.0.2.0/24', '192.0.3.1', 403],
    [['2001:db8::/32', '198.51.100.7'], '2001:db8::1', 200],
    [['2001:db8::/32', '198.51.100.7'], '198.51.100.7', 200],
    [['2001:db8::/32', '198.51.100.7'], '198.51.100.8', 403],
    ['192.0.2.0/24', '::ffff:192.0.2.1', 200],
    // What stands before the last one anybody may have written; what is no address counts as that of the proxy.
    ['192.0.2.0/24', '192.0.2.1, 198.51.100.1', 403],
    ['192.0.2.0/24', 'nonsense', 403],
    ['127.0.0.0/8', 'nonsense', 200],
  ])('%j is used from %s: %i', async (networks, from, status) => {
    const signed = await sign(server, 'docs/a.txt', 60, { allowed_ip: networks })
    expect(await statusOf(signed, { from })).toBe(status)
    expect(await statusOf(signed, { from, method: 'HEAD' })).toBe(status)
  })

  it('believes no header where no proxy is trusted', async () => {
    const alone = await server.beside({ STORAGE_TRUST_PROXY: 'false' })
    try {
      const signed = await sign(server, 'docs/a.txt', 60, { allowed_ip: '192.0.2.1' })
      expect(await statusOf(signed, { at: alone })).toBe(403)
    } finally {
      await alone.close()
    }
  })
})

describe('a URL that says how it is shown', () => {
  it.each([
    [{ disposition: 'inline' }, 'inline'],
    [{ disposition: 'attachment' }, 'attachment;'],
    [
      { disposition: 'attachment', file_name: 'Ü"\r\nx.txt' },
      /^attachment; filename=%C3%9C%22%0D%0Ax\.txt; /,
    ],
    [{ disposition: 'inline', file_name: 'b.txt' }, "inline; filename=b.txt; filename*=UTF-8''b.txt"],
  ])('%j', async (options, told) => {
    const signed = await sign(server, 'docs/a.txt', 60, options)
    const { status, headers } = await ask({ ...signed, signedURL: `${signed.signedURL}&download=evil.exe` })
    expect(status).toBe(200)
    if (typeof told === 'string') expect(headers.get('content-disposition')).toBe(told)
    else expect(headers.get('content-disposition')).toMatch(told)
  })
})

describe('what is asked of a URL', () => {
  it.each([
    { once: true, max_downloads: 2 },
    { max_downloads: 0 },
    { max_downloads: 1.5 },
    { max_downloads: 1_000_001 },
    { allowed_ip: [] },
    { allowed_ip: 'example.com' },
    { allowed_ip: '10.1/8' },
    { allowed_ip: Array(21).fill('192.0.2.1') },
    { disposition: 'none' },
    { file_name: 'a' },
    { stable: true, once: true },
    { stable: 'sometimes' },
    { once_only: true },
  ])('makes sense: %j does not', async (options) => {
    const answer = await server.request('POST', '/object/sign/docs/a.txt', {
      body: { expiresIn: 60, ...options },
    })
    expect(answer.status).toBe(400)
  })

  it('is in the token, where nobody changes it, and where servers that do not know it refuse it', async () => {
    const signed = await sign(server, 'docs/a.txt', 60, { once: true, allowed_ip: '192.0.2.1' })
    const [header, claims = '', signature] = tokenOf(signed).split('.')
    const said = JSON.parse(Buffer.from(claims, 'base64url').toString())
    expect(said).toMatchObject({ scope: 'limited', max_downloads: 1, allowed_ip: ['192.0.2.1/32'] })
    const changed = Buffer.from(JSON.stringify({ ...said, scope: 'download', max_downloads: 9 }))
    const forged = `${header}.${changed.toString('base64url')}.${signature}`
    expect(await open(server, `/object/docs/a.txt?token=${forged}`)).toMatchObject({ code: 'InvalidJWT' })
  })
})

describe('under STORAGE_COMPAT=supabase', () => {
  it('answers as Supabase does, and holds all the same', async () => {
    const compat = await startTestServer({ STORAGE_COMPAT: 'supabase' })
    try {
      await compat.createBucket('docs')
      await put(compat, 'docs/a.txt', TEXT)
      const signed = await sign(compat, 'docs/a.txt', 60, { once: true })
      expect(Object.keys(signed)).toEqual(['signedURL'])
      const statuses = [1, 2].map(async () => (await ask(signed, { at: compat })).status)
      expect((await Promise.all(statuses)).sort()).toEqual([200, 400])
      expect(await ask(signed, { at: compat })).toMatchObject({ code: 'LinkExhausted', statusCode: '403' })
      const plain = await sign(compat, 'docs/a.txt')
      const body = { bucket: 'docs', path: 'a.txt' }
      expect((await compat.request('POST', '/object/sign/revoke', { body })).status).toBe(200)
      expect(await ask(plain, { at: compat })).toMatchObject({ status: 400, code: 'InvalidJWT' })
    } finally {
      await compat.close()
    }
  })
})
