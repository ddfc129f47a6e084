import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let auth: string

const SMALL = 'abcdefghij'
const LARGE = SMALL.repeat(40_000)

describe.each([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s', (_mode, env: Record<string, string>) => {
  beforeAll(async () => {
    server = await startTestServer(env)
    auth = `Authorization: Bearer ${server.keys.serviceKey}`
    await server.createBucket('box')
    await server.request('PUT', '/object/box/small', { body: SMALL })
    await server.request('PUT', '/object/box/large', { body: LARGE })
    await server.request('PUT', '/object/box/empty', { body: '' })
  })

  afterAll(() => server.close())

  function ask(name: string, headers: string[], method = 'GET') {
    const request = rawRequest(method, `/object/box/${name}`, [auth, ...headers])
    return exchange(server.url, request, { headOnly: method === 'HEAD' })
  }

  describe.each([
    ['small', SMALL],
    ['large', LARGE],
  ])('ranges of a %s object', (name, text) => {
    const size = text.length

    it.each<[range: string, start: number, end: number]>([
      ['bytes=0-0', 0, 0],
      ['bytes=2-4', 2, 4],
      ['bytes=0-', 0, size - 1],
      [`bytes=${size - 1}-`, size - 1, size - 1],
      [`bytes=${size - 3}-99999999`, size - 3, size - 1],
      ['bytes=-1', size - 1, size - 1],
      ['bytes=-5', size - 5, size - 1],
      ['bytes=-99999999999999999999999', 0, size - 1],
      ['bytes=3-99999999999999999999999', 3, size - 1],
      ['BYTES=2-4', 2, 4],
      ['bytes= 2-4 ', 2, 4],
    ])('%s: 206 and exactly those bytes', async (range, start, end) => {
      const response = await ask(name, [`Range: ${range}`])
      expect(response.status).toBe(206)
      expect(response.headers).toMatchObject({
        'content-range': `bytes ${start}-${end}/${size}`,
        'content-length': String(end - start + 1),
        'accept-ranges': 'bytes',
      })
      expect(response.body.toString()).toBe(text.slice(start, end + 1))
    })

    it.each([`bytes=${size}-`, `bytes=${size}-${size + 5}`, 'bytes=99999999999999999999999-', 'bytes=-0'])(
      '%.40s: 416, and how long the object is',
      async (range) => {
        const response = await ask(name, [`Range: ${range}`])
        expect(response.status).toBe(416)
        expect(response.headers['content-range']).toBe(`bytes */${size}`)
        expect(response.json()).toMatchObject({
          statusCode: '416',
          code: 'InvalidRange',
          error: 'invalid_range',
        })
      },
    )

    it.each([
      'pages=1-2',
      'bytes=5-2',
      `bytes=${size + 5}-${size}`,
      'bytes=-',
      'bytes=',
      'bytes',
      'bytes=a-b',
      'bytes=-5-',
      'bytes=--5',
      'bytes=0x1-0x2',
      'bytes=1.5-2',
      'bytes=1e1-',
      'bytes=0-1,3-4',
      'bytes=0-0,0-0,0-0,0-0',
      `bytes=${'0-,'.repeat(1000)}0-`,
    ])('%.40s is ignored', async (range) => {
      const response = await ask(name, [`Range: ${range}`])
      expect([response.status, response.body.toString()]).toEqual([200, text])
      expect(response.headers['content-range']).toBeUndefined()
      expect(response.headers['content-length']).toBe(String(size))
    })

    it('HEAD ignores ranges', async () => {
      const response = await ask(name, ['Range: bytes=0-1'], 'HEAD')
      expect([response.status, response.headers['content-length']]).toEqual([200, String(size)])
      expect(response.headers['content-range']).toBeUndefined()
    })

    it('If-Range: the part while the object is the same, the whole once it is not', async () => {
      const { headers } = await ask(name, [], 'HEAD')
      const part = async (validator: string) =>
        (await ask(name, ['Range: bytes=0-1', `If-Range: ${validator}`])).status
      expect(await part(headers.etag ?? '')).toBe(206)
      expect(await part(headers['last-modified'] ?? '')).toBe(206)
      expect(await part('"other"')).toBe(200)
      expect(await part(`W/${headers.etag}`)).toBe(200)
      expect(await part('Thu, 01 Jan 1970 00:00:00 GMT')).toBe(200)
      expect(await part('nonsense')).toBe(200)
      const whole = await ask(name, ['Range: bytes=99999999-', 'If-Range: "other"'])
      expect([whole.status, whole.body.toString()]).toEqual([200, text])
    })

    it.each<[what: string, headers: (etag: string, modified: string) => string[], status: number]>([
      ['If-None-Match with its tag', (etag) => [`If-None-Match: ${etag}`], 304],
      ['If-None-Match with its tag, weak', (etag) => [`If-None-Match: W/${etag}`], 304],
      ['If-None-Match with its tag among others', (etag) => [`If-None-Match: "x", ${etag}`], 304],
      ['If-None-Match: *', () => ['If-None-Match: *'], 304],
      ['If-None-Match with another', () => ['If-None-Match: "x"'], 200],
      ['If-Modified-Since its own time', (_, modified) => [`If-Modified-Since: ${modified}`], 304],
      ['If-Modified-Since long ago', () => ['If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT'], 200],
      ['If-Modified-Since no date', () => ['If-Modified-Since: yesterday'], 200],
      [
        'If-None-Match decides before If-Modified-Since',
        (_, modified) => ['If-None-Match: "x"', `If-Modified-Since: ${modified}`],
        200,
      ],
      ['If-Match with its tag', (etag) => [`If-Match: ${etag}`], 200],
      ['If-Match: *', () => ['If-Match: *'], 200],
      ['If-Match with its tag, weak', (etag) => [`If-Match: W/${etag}`], 412],
      ['If-Match with another', () => ['If-Match: "x"'], 412],
      ['If-Unmodified-Since its own time', (_, modified) => [`If-Unmodified-Since: ${modified}`], 200],
      ['If-Unmodified-Since long ago', () => ['If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT'], 412],
      ['a condition before the range', (etag) => [`If-None-Match: ${etag}`, 'Range: bytes=0-1'], 304],
      ['a condition before a bad range', () => ['If-Match: "x"', 'Range: bytes=9-1'], 412],
    ])('%s, and HEAD says the same', async (_what, headers, status) => {
      const { headers: own } = await ask(name, [], 'HEAD')
      const response = await ask(name, headers(own.etag ?? '', own['last-modified'] ?? ''))
      expect(response.status).toBe(status)
      const head = await ask(name, headers(own.etag ?? '', own['last-modified'] ?? ''), 'HEAD')
      expect(head.status).toBe(status)
      if (status === 200) expect(head.headers['content-length']).toBe(String(size))
      if (status !== 412) expect(head.headers).toMatchObject({ etag: own.etag, 'cache-control': 'no-cache' })
      if (status === 200) expect(response.body.toString()).toBe(text)
      if (status === 412) expect(response.json()).toMatchObject({ statusCode: '412' })
      if (status !== 304) return
      expect(response.headers).toMatchObject({ etag: own.etag, 'cache-control': 'no-cache' })
      expect(response.headers['content-length']).toBeUndefined()
      expect(response.body).toHaveLength(0)
    })
  })

  describe('an empty object', () => {
    it('is sent with length 0', async () => {
      const response = await ask('empty', [])
      expect([response.status, response.headers['content-length'], response.body.length]).toEqual([
        200,
        '0',
        0,
      ])
    })

    it.each(['bytes=0-', 'bytes=0-0', 'bytes=-1'])('%s: 416', async (range) => {
      const response = await ask('empty', [`Range: ${range}`])
      expect([response.status, response.headers['content-range']]).toEqual([416, 'bytes */0'])
    })
  })
})
