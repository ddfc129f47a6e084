import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chunk, exchange, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'

let server: TestServer
let headers: string[]

beforeAll(async () => {
  server = await startTestServer()
  headers = [`Authorization: Bearer ${server.keys.serviceKey}`, 'Content-Type: application/json']
  await server.createBucket('box')
  await server.request('POST', '/object/box/a.txt', { body: 'hello' })
})

afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

function send(method: string, path: string, body: string | Buffer) {
  return exchange(server.url, rawRequest(method, `/storage/v1${path}`, headers, body))
}

/** Every route that reads a JSON body. */
const ROUTES = [
  ['POST', '/bucket'],
  ['PUT', '/bucket/box'],
  ['PATCH', '/bucket/box'],
  ['POST', '/object/move'],
  ['POST', '/object/copy'],
  ['DELETE', '/object/box'],
  ['POST', '/object/list/box'],
  ['POST', '/object/list-v2/box'],
  ['POST', '/object/sign/box'],
  ['POST', '/object/sign/box/a.txt'],
] as const

/** They name many objects. */
const BULK = new Set<string>(['/object/box', '/object/sign/box'])

describe.each(ROUTES)('%s %s', (method, path) => {
  it.each<[what: string, body: string | Buffer]>([
    ['JSON cut off', '{"name":'],
    ['two documents', '{}{}'],
    ['a comma too many', '{"name":"x",}'],
    ['single quotes', "{'name':'x'}"],
    ['a comment', '{/* */}'],
    ['a form', 'name=x&public=true'],
    ['a list', '[]'],
    ['null', 'null'],
    ['a text', '"text"'],
    ['a number', '1'],
    ['NaN', 'NaN'],
    ['white space', ' '],
    ['a NUL', '\0'],
    ['invalid UTF-8', Buffer.from('{"name":"\xff"}', 'latin1')],
    ['UTF-8 cut short', Buffer.from('{"name":"\xe5\x9b"}', 'latin1')],
    ['UTF-16', Buffer.from('\ufeff{"name":"x"}', 'utf16le')],
    ['a list nested 60 000 deep', '['.repeat(60_000)],
    ['a closed list nested 33 deep', `${'['.repeat(33)}${']'.repeat(33)}`],
    ['21 000 lists in a list', `[${'[],'.repeat(21_000)}[]]`],
  ])('%s: 400', async (_what, body) => {
    const response = await expectNothingWritten(server, () => send(method, path, body))
    expect(response.json()).toMatchObject({ statusCode: '400', error: 'Error', code: 'InvalidRequest' })
    expect(response.json().message).toMatch(/^body/)
    expect(response.status).toBe(400)
  })

  const [limit, bytes] = BULK.has(path) ? ['2 MiB', 2 * 1024 * 1024] : ['64 KiB', 64 * 1024]
  it(`more than ${limit}: 413, declared or in chunks`, async () => {
    await expectNothingWritten(server, async () => {
      const text = JSON.stringify({ name: 'x'.repeat(bytes) })
      expect((await send(method, path, text)).status).toBe(413)
      const chunked = rawRequest(method, path, [...headers, 'Transfer-Encoding: chunked'])
      const response = await exchange(server.url, Buffer.concat([chunked, chunk(text), chunk('')]))
      expect(response.json()).toMatchObject({ statusCode: '413', code: 'EntityTooLarge' })
    })
  })
})

const move = (changes: Record<string, unknown>) => ({
  bucketId: 'box',
  sourceKey: 'a.txt',
  destinationKey: 'b.txt',
  ...changes,
})

/** What a route of many names needs besides. */
function ofRoute(method: string) {
  return method === 'POST' ? { expiresIn: 60 } : {}
}

describe('wrong types and values', () => {
  it.each<[method: string, path: string, body: unknown, place: string]>([
    ['POST', '/bucket', {}, 'body/name'],
    ['POST', '/bucket', { name: 1 }, 'body/name'],
    ['POST', '/bucket', { name: ['x'] }, 'body/name'],
    ['POST', '/bucket', { name: null }, 'body/name'],
    ['POST', '/bucket', { name: 'new', id: 1 }, 'body/id'],
    ['POST', '/bucket', { name: 'new', public: 'yes' }, 'body/public'],
    ['POST', '/bucket', { name: 'new', policy: 'open' }, 'body/policy'],
    ['POST', '/bucket', { name: 'new', file_size_limit: true }, 'body/file_size_limit'],
    ['POST', '/bucket', { name: 'new', file_size_limit: -1 }, 'file_size_limit'],
    ['POST', '/bucket', { name: 'new', file_size_limit: 1.5 }, 'file_size_limit'],
    ['POST', '/bucket', { name: 'new', file_size_limit: 'five' }, 'file_size_limit'],
    ['POST', '/bucket', { name: 'new', max_file_size: {} }, 'body/max_file_size'],
    ['POST', '/bucket', { name: 'new', allowed_mime_types: [1] }, 'body/allowed_mime_types/0'],
    ['POST', '/bucket', { name: 'new', allowed_mime_types: Array(101).fill('a/b') }, 'allowed_mime_types'],
    ['PUT', '/bucket/box', { allowed_mime_types: Array(101).fill('a/b') }, 'allowed_mime_types'],
    ['POST', '/bucket', { name: 'new', type: 'VECTOR' }, 'body/type'],
    ['PUT', '/bucket/box', {}, 'body'],
    ['PUT', '/bucket/box', { id: 'box', name: 'box' }, 'body'],
    ['PUT', '/bucket/box', { public: 2 }, 'body/public'],
    ['PATCH', '/bucket/box', { file_size_limit: [] }, 'body/file_size_limit'],
    ['POST', '/object/move', move({ bucketId: 1 }), 'body/bucketId'],
    ['POST', '/object/move', move({ sourceKey: undefined }), 'body/sourceKey'],
    ['POST', '/object/move', move({ destinationKey: {} }), 'body/destinationKey'],
    ['POST', '/object/move', move({ destinationBucket: 7 }), 'body/destinationBucket'],
    ['POST', '/object/copy', move({ copyMetadata: 'no' }), 'body/copyMetadata'],
    ['POST', '/object/copy', move({ metadata: 'x' }), 'body/metadata'],
    ['POST', '/object/copy', move({ metadata: { mimetype: 1 } }), 'body/metadata/mimetype'],
    ['DELETE', '/object/box', {}, 'body/prefixes'],
    ['DELETE', '/object/box', { prefixes: [] }, 'body/prefixes'],
    ['DELETE', '/object/box', { prefixes: 1 }, 'body/prefixes'],
    ['DELETE', '/object/box', { prefixes: ['a.txt', 1] }, 'body/prefixes/1'],
    ['DELETE', '/object/box', { prefixes: { length: 1, 0: 'a.txt' } }, 'body/prefixes'],
    ['POST', '/object/list/box', {}, 'body/prefix'],
    ['POST', '/object/list/box', { prefix: 1 }, 'body/prefix'],
    ['POST', '/object/list/box', { prefix: '', limit: 0 }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: '', limit: -1 }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: '', limit: 1.5 }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: '', limit: '10s' }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: '', limit: 1e308 }, 'body/limit'],
    ['POST', '/object/list/box', { prefix: '', offset: -1 }, 'body/offset'],
    ['POST', '/object/list/box', { prefix: '', offset: 1e15 }, 'body/offset'],
    ['POST', '/object/list/box', { prefix: '', sortBy: { column: 'owner' } }, 'body/sortBy/column'],
    ['POST', '/object/list/box', { prefix: '', sortBy: { order: 'up; drop' } }, 'body/sortBy/order'],
    ['POST', '/object/list/box', { prefix: 'x'.repeat(5000) }, 'body/prefix'],
    ['POST', '/object/list-v2/box', { limit: '10s' }, 'body/limit'],
    ['POST', '/object/list-v2/box', { cursor: 1 }, 'body/cursor'],
    ['POST', '/object/list-v2/box', { with_delimiter: 'yes' }, 'body/with_delimiter'],
    ['POST', '/object/list-v2/box', { sortBy: 'name' }, 'body/sortBy'],
    ['POST', '/object/sign/box', { expiresIn: 60 }, 'body/paths'],
    ['POST', '/object/sign/box', { expiresIn: 60, paths: [] }, 'body/paths'],
    ['POST', '/object/sign/box', { expiresIn: 60, paths: [null] }, 'body/paths/0'],
    ['POST', '/object/sign/box', { expiresIn: 60, paths: Array(1001).fill('a') }, 'body/paths'],
    ['POST', '/object/sign/box/a.txt', {}, 'body/expiresIn'],
    ['POST', '/object/sign/box/a.txt', { expiresIn: 0 }, 'body/expiresIn'],
    ['POST', '/object/sign/box/a.txt', { expiresIn: -60 }, 'body/expiresIn'],
    ['POST', '/object/sign/box/a.txt', { expiresIn: 1.5 }, 'body/expiresIn'],
    ['POST', '/object/sign/box/a.txt', { expiresIn: '60s' }, 'body/expiresIn'],
    ['POST', '/object/sign/box/a.txt?expires_in=soon', {}, 'body/expiresIn'],
    ['POST', '/object/sign/box/a.txt?expires_in=-1', {}, 'body/expiresIn'],
  ])('%s %s %j: 400, and the message begins with the place', async (method, path, body, place) => {
    const response = await expectNothingWritten(server, () => send(method, path, JSON.stringify(body)))
    expect(response.json()).toMatchObject({ statusCode: '400', code: 'InvalidRequest' })
    expect(response.json().message).toMatch(new RegExp(`^${place} `))
    expect(response.status).toBe(400)
  })

  it.each([
    ['DELETE', 'prefixes', 10_001, 10_000, 'a.txt'],
    ['POST', 'paths', 1001, 1000, 'a.txt'],
    // What is too long is not looked into: else this would be about the first of them.
    ['DELETE', 'prefixes', 19_000, 10_000, 1],
    ['POST', 'paths', 19_000, 1000, 1],
  ])('%s with %s of %i names, not %i, such as %j: 400, and the number is told', async (...row) => {
    const [method, field, count, most, name] = row
    const path = method === 'DELETE' ? '/object/box' : '/object/sign/box'
    const body = JSON.stringify({ ...ofRoute(method), [field]: Array(count).fill(name) })
    const response = await expectNothingWritten(server, () => send(method, path, body))
    expect(response.json().message).toBe(`body/${field} must name at most ${most} objects`)
    expect(response.status).toBe(400)
  })

  it.each([
    ['DELETE', '/object/box', 'prefixes'],
    ['POST', '/object/sign/box', 'paths'],
    ['POST', '/object/sign/box?expires_in=60', 'paths'],
  ])('%s %s takes a thousand names of 1024 bytes, whoever sends them', async (method, path, field) => {
    const names = Array.from({ length: 1000 }, (_, i) => `${i}/`.padEnd(1024, 'x'))
    const response = await send(method, path, JSON.stringify({ ...ofRoute(method), [field]: names }))
    expect(response.status).toBe(200)
  })

  it.each(['/object/box', '/object/sign/box'])('600 000 values for %s: 400', async (path) => {
    const method = path === '/object/box' ? 'DELETE' : 'POST'
    const body = JSON.stringify({ prefixes: Array(600_000).fill(1) })
    const response = await expectNothingWritten(server, () => send(method, path, body))
    expect(response.json().message).toBe('body must not hold more than 20000 values')
    expect(response.status).toBe(400)
  })

  it.each([1e15, Number.MAX_SAFE_INTEGER])('a link that lives %d seconds: 400', async (expiresIn) => {
    const response = await send('POST', '/object/sign/box/a.txt', JSON.stringify({ expiresIn }))
    expect(response.status).toBe(400)
  })

  it.each([
    '?limit=0',
    '?limit=-1',
    '?limit=ten',
    '?offset=-1',
    '?sortColumn=owner',
    '?sortOrder=up',
    '?limit=1e3',
  ])('GET /bucket%s: 400', async (query) => {
    const response = await server.request('GET', `/bucket${query}`)
    const { message } = (await response.json()) as { message: string }
    expect([response.status, message]).toEqual([400, expect.stringMatching(/^querystring\//)])
  })
})

describe('texts that PostgreSQL cannot hold', () => {
  it.each<[method: string, path: string, body: unknown, status: number]>([
    ['POST', '/object/list/box', { prefix: 'a\0' }, 400],
    ['POST', '/object/list/box', { prefix: '', search: '\0' }, 400],
    ['POST', '/object/list/box', { prefix: '\ud800' }, 200],
    ['POST', '/object/list-v2/box', { prefix: 'a\0' }, 400],
    ['POST', '/object/list-v2/box', { prefix: '\udc00' }, 200],
    ['POST', '/object/list-v2/box', { cursor: '\0' }, 400],
    ['POST', '/object/list-v2/box', { cursor: 'bm90IGEgY3Vyc29y' }, 400],
    ['POST', '/object/move', move({ bucketId: 'b\0x' }), 400],
    ['POST', '/object/move', move({ bucketId: '\ud800' }), 404],
    ['POST', '/object/move', move({ destinationBucket: 'b\0x' }), 400],
    ['POST', '/object/copy', move({ destinationBucket: '\ud800' }), 404],
    ['POST', '/object/copy', move({ copyMetadata: false, metadata: { mimetype: 'a\0/b' } }), 415],
    ['POST', '/object/copy', move({ copyMetadata: false, metadata: { cacheControl: 'a\r\nX: b' } }), 400],
    ['POST', '/object/copy', move({ copyMetadata: false, metadata: { contentEncoding: '\ud800' } }), 400],
    ['DELETE', '/object/b%00x', { prefixes: ['a.txt'] }, 400],
    ['POST', '/object/sign/b%00x', { expiresIn: 60, paths: ['a.txt'] }, 400],
    ['POST', '/object/sign/box', { expiresIn: 60, paths: ['a\0', '\ud800', '..', ''] }, 200],
    ['POST', '/bucket', { name: 'new', allowed_mime_types: ['image/\0*'] }, 415],
    ['POST', '/bucket', { name: 'new', allowed_mime_types: ['\ud800/*'] }, 415],
  ])('%s %s %j: %i, and nothing is written', async (method, path, body, status) => {
    const response = await expectNothingWritten(server, () => send(method, path, JSON.stringify(body)))
    expect([response.status, response.body.toString().includes('request ')]).toEqual([status, false])
  })

  it('GET /bucket?search=%00: 400', async () => {
    expect((await server.request('GET', '/bucket?search=%00')).status).toBe(400)
  })
})

describe('keys that JavaScript means something by', () => {
  it.each<[method: string, path: string, body: string]>([
    ['POST', '/bucket', '{"__proto__":{"name":"sneaky","public":true}}'],
    ['POST', '/bucket', '{"constructor":{"name":"sneaky"}}'],
    ['PUT', '/bucket/box', '{"__proto__":{"public":true}}'],
    ['POST', '/object/list/box', '{"__proto__":{"prefix":""}}'],
    ['POST', '/object/move', '{"__proto__":{"bucketId":"box","sourceKey":"a.txt","destinationKey":"b.txt"}}'],
  ])('%s %s %s stands for nothing: 400', async (method, path, body) => {
    const response = await expectNothingWritten(server, () => send(method, path, body))
    expect(response.status).toBe(400)
    expect('public' in {} || 'name' in {}).toBe(false)
  })
})
