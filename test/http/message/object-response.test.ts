import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Env } from '../../../src/http/env.ts'
import { type SendOptions, sendRepresentation } from '../../../src/http/message/object-response.ts'
import { StorageError } from '../../../src/model/errors.ts'
import type { OpenBytes, Representation } from '../../../src/storage/reading/representation.ts'

const BYTES = Buffer.from('<svg>0123456789</svg>')
const CHANGED = 'Sat, 28 Nov 2026 10:00:00 GMT'

let server: Server
let url: string
let opened: Parameters<Representation['open']>[]
let bytesOf: (bytes: Buffer) => OpenBytes
let options: SendOptions

/** A picture that was made of an object, say: no row names it, and no backend has its bytes. */
const derived: Representation = {
  etag: '"derived"',
  lastModified: new Date(CHANGED),
  size: BYTES.length,
  contentType: 'image/svg+xml',
  cacheControl: 'max-age=60',
  contentEncoding: null,
  robotsTag: null,
  checksum: null,
  async open(...wanted) {
    opened.push(wanted)
    const [part] = wanted
    return bytesOf(part === 'whole' ? BYTES : BYTES.subarray(part.start, part.end + 1))
  },
}

beforeAll(async () => {
  const app = new Hono<Env>()
    .use(async (c, next) => {
      c.env.notes = {}
      await next()
    })
    .get('/', (c) => sendRepresentation(c, derived, options))
    .onError((error, c) => {
      if (!(error instanceof StorageError)) throw error
      return c.text(error.code, error.status as 412, error.headers)
    })
  server = createServer(getRequestListener(app.fetch)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})

afterAll(async () => {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
})

beforeEach(() => {
  opened = []
  options = {}
})

const get = (headers: Record<string, string> = {}, method = 'GET') => fetch(url, { method, headers })

describe('a representation of which no row knows', () => {
  describe.each<[how: string, as: typeof bytesOf]>([
    ['a buffer', (bytes) => new Uint8Array(bytes)],
    ['a stream', (bytes) => Readable.from([bytes])],
  ])('with its bytes in %s', (_how, as) => {
    beforeEach(() => {
      bytesOf = as
    })

    it('is sent whole, with what is told of it', async () => {
      const response = await get()
      expect(response.status).toBe(200)
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'content-type': 'image/svg+xml',
        'content-length': String(BYTES.length),
        etag: '"derived"',
        'last-modified': CHANGED,
        'cache-control': 'max-age=60',
        'accept-ranges': 'bytes',
        'x-robots-tag': 'none',
      })
      expect(await response.text()).toBe(BYTES.toString())
    })

    it.each([{}, { 'If-Range': '"derived"' }, { 'If-Range': CHANGED }])(
      'is sent in part, with %j',
      async (valid) => {
        const response = await get({ ...valid, Range: 'bytes=5-9' })
        expect(response.status).toBe(206)
        expect(response.headers.get('content-range')).toBe(`bytes 5-9/${BYTES.length}`)
        expect(response.headers.get('content-length')).toBe('5')
        expect(await response.text()).toBe('01234')
        expect(opened.map(([part]) => part)).toEqual([{ start: 5, end: 9 }])
      },
    )

    it('is sent whole when the range is of another', async () => {
      const response = await get({ 'If-Range': '"other"', Range: 'bytes=5-9' })
      expect(response.status).toBe(200)
      expect(await response.text()).toBe(BYTES.toString())
    })
  })

  it('has its length told for HEAD', async () => {
    const { headers } = await get({}, 'HEAD')
    expect(headers.get('content-length')).toBe(String(BYTES.length))
  })

  it.each<[what: string, status: number, headers: Record<string, string>, method?: string]>([
    ['for HEAD', 200, { Range: 'bytes=5-9' }, 'HEAD'],
    ['for somebody who has it', 304, { 'If-None-Match': 'W/"derived"' }],
    ['for somebody who has it since', 304, { 'If-Modified-Since': CHANGED }],
    ['for somebody who has another', 412, { 'If-Match': '"other"' }],
    ['for a part that it has not', 416, { Range: `bytes=${BYTES.length}-` }],
  ])('is not opened %s', async (_what, status, headers, method) => {
    const response = await get(headers, method)
    expect(response.status).toBe(status)
    expect(opened).toEqual([])
  })

  it('can do no harm as a page, and so is never sent by a store in our place', async () => {
    bytesOf = (bytes) => new Uint8Array(bytes)
    const response = await get()
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(opened).toEqual([['whole', undefined]])
  })

  it('is where the store has it, if it has an address there', async () => {
    bytesOf = () => new URL('https://store.example/derived')
    const response = await fetch(url, { redirect: 'manual' })
    expect(response.status).toBe(302)
    expect(response.headers.get('location')).toBe('https://store.example/derived')
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  it('is sent under a link and a name', async () => {
    bytesOf = (bytes) => new Uint8Array(bytes)
    options = { download: 'a.svg', expiresAt: new Date(CHANGED) }
    const { headers } = await get()
    expect(headers.get('expires')).toBe(CHANGED)
    expect(headers.get('cache-control')).toBeNull()
    expect(headers.get('content-disposition')).toContain('filename=a.svg')
  })
})
