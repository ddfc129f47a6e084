import { readFile, truncate, unlink, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { openFiles, pathOf } from '../../support/stored-files.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer(IN_FILES)
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterAll(() => server.close())

const LARGE = Buffer.alloc(20_000_000, 'x')

async function put(name: string, bytes: Buffer | string, to = server): Promise<void> {
  const response = await to.request('PUT', `/object/box/${name}`, { body: bytes as string })
  expect(response.ok).toBe(true)
}

describe('a client that goes away while it is being sent an object', () => {
  it.each([
    ['the whole of it', []],
    ['a part of it', ['Range: bytes=5-']],
  ])('%s: no descriptor stays open', async (_what, headers) => {
    await put('large.bin', LARGE)
    const connections = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const connection = await RawConnection.open(server.url)
        await connection.send(rawRequest('GET', '/object/box/large.bin', [auth, ...headers]))
        await connection.firstBytes()
        return connection
      }),
    )
    expect(await openFiles(server)).toHaveLength(10)
    for (const connection of connections) connection.abort()
    await until(async () => (await openFiles(server)).length === 0, 'every descriptor is closed')
    expect((await server.request('GET', '/status')).status).toBe(200)
  })

  it('before the first byte: no descriptor stays open', async () => {
    for (let n = 0; n < 20; n++) {
      const connection = await RawConnection.open(server.url)
      await connection.send(rawRequest('GET', '/object/box/large.bin', [auth, `X-Request-Id: gone-${n}`]))
      connection.abort()
    }
    const isOver = (n: number) =>
      server.logs.some((line) => line.requestId === `gone-${n}` && line.msg === 'request')
    await until(() => Array.from({ length: 20 }, (_, n) => n).every(isOver), 'all requests are over')
    await until(async () => (await openFiles(server)).length === 0, 'every descriptor is closed')
  })

  it.each(['HEAD', 'GET'])('%s of many whole objects closes what it opens', async (method) => {
    await put('small.bin', 'hello')
    for (let n = 0; n < 3; n++) {
      for (const name of ['small.bin', 'large.bin']) {
        const response = await server.request(method, `/object/box/${name}`)
        await response.arrayBuffer()
      }
    }
    await until(async () => (await openFiles(server)).length === 0, 'every descriptor is closed')
  })
})

describe('a reader during overwrites', () => {
  it.each([1000, 300_000])('of %i bytes gets one version or the other, whole', async (size) => {
    const versions = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(size))
    await put('turning', versions[0] ?? '')
    let writing = true
    const write = async () => {
      for (let n = 1; n <= 12; n++) await put('turning', versions[n % 4] ?? '')
    }
    const writers = Promise.all(Array.from({ length: 4 }, write)).finally(() => {
      writing = false
    })
    const read = async () => {
      let count = 0
      while (writing) {
        const response = await server.request('GET', '/object/box/turning')
        expect(response.status).toBe(200)
        expect(versions.includes(await response.text())).toBe(true)
        count++
      }
      return count
    }
    const counts = await Promise.all([read(), read(), read()])
    await writers
    expect(counts.every((count) => count > 0)).toBe(true)
  })

  it('who began before the overwrite, or the delete, gets the old bytes to their end', async () => {
    await put('old', LARGE)
    const [first, second] = [await RawConnection.open(server.url), await RawConnection.open(server.url)]
    const request = rawRequest('GET', '/object/box/old', [auth])
    await first.send(request)
    await first.firstBytes()
    await put('old', 'new')
    expect(await (await server.request('GET', '/object/box/old')).text()).toBe('new')
    first.goOn()
    expect((await first.response()).body.equals(LARGE)).toBe(true)
    first.abort()

    await put('old', LARGE)
    await second.send(request)
    await second.firstBytes()
    expect((await server.request('DELETE', '/object/box/old')).status).toBe(204)
    second.goOn()
    expect((await second.response()).body.equals(LARGE)).toBe(true)
    second.abort()
  })
})

describe('an object whose bytes are gone', () => {
  const DAMAGE: [what: string, damage: (path: string) => Promise<void>][] = [
    ['removed', unlink],
    ['cut short', (path) => truncate(path, 3)],
    ['made longer', async (path) => writeFile(path, 'more', { flag: 'a' })],
  ]

  it.each(DAMAGE.flatMap(([what, damage]) => [5, 300_000].map((size) => [what, size, damage] as const)))(
    '%s from the disk (%i bytes): 404, never cached, and reported',
    async (what, size, damage) => {
      const name = `${what}-${size}`
      await put(encodeURIComponent(name), Buffer.alloc(size, 'x'))
      await damage(await pathOf(server, name))
      const target = `/object/box/${encodeURIComponent(name)}`
      const response = await exchange(server.url, rawRequest('GET', target, [auth]))
      expect(response.status).toBe(404)
      expect(response.json()).toEqual({
        statusCode: '404',
        error: 'Not found',
        code: 'NoSuchKey',
        message: 'Object not found',
      })
      expect(response.headers['cache-control']).toBe('no-store')
      expect(response.headers.etag).toBeUndefined()
      expect(server.logs).toContainEqual(
        expect.objectContaining({ level: 50, path: name, msg: expect.stringMatching(/^drift: /) }),
      )
      // The row says what it knows; whether its bytes are there is not asked.
      expect((await server.request('HEAD', target)).status).toBe(200)
      // It can be replaced and deleted like any other.
      await put(encodeURIComponent(name), 'again')
      expect(await (await server.request('GET', target)).text()).toBe('again')
      expect((await server.request('DELETE', target)).status).toBe(204)
    },
  )

  it('removed, and asked for in part: 404', async () => {
    await put('part', Buffer.alloc(300_000))
    await unlink(await pathOf(server, 'part'))
    const response = await server.request('GET', '/object/box/part', { headers: { range: 'bytes=0-1' } })
    expect([response.status, response.headers.get('cache-control')]).toEqual([404, 'no-store'])
    expect((await server.request('DELETE', '/object/box/part')).status).toBe(204)
  })

  it('under STORAGE_COMPAT=supabase: HTTP 400 that says 404', async () => {
    const compat = await startTestServer({ ...IN_FILES, STORAGE_COMPAT: 'supabase' })
    try {
      await compat.createBucket('box')
      await put('gone', 'hello', compat)
      await unlink(await pathOf(compat, 'gone'))
      const response = await compat.request('GET', '/object/box/gone')
      expect([response.status, response.headers.get('cache-control')]).toEqual([400, 'no-store'])
      expect(await response.json()).toMatchObject({
        statusCode: '404',
        error: 'Not found',
        code: 'NoSuchKey',
      })
    } finally {
      await compat.close()
    }
  })
})

describe('STORAGE_VERIFY_READS=true', () => {
  let verifying: TestServer

  beforeAll(async () => {
    verifying = await startTestServer({ ...IN_FILES, STORAGE_VERIFY_READS: 'true' })
    await verifying.createBucket('box')
  })

  afterAll(() => verifying.close())

  const request = (name: string) =>
    rawRequest('GET', `/object/box/${name}`, [`Authorization: Bearer ${verifying.keys.serviceKey}`])

  const get = (name: string) => exchange(verifying.url, request(name))

  /** All that comes before the server closes the connection. */
  async function download(name: string): Promise<Buffer> {
    const connection = await RawConnection.open(verifying.url)
    await connection.send(request(name))
    return connection.rest()
  }

  it.each([1, 5000, 262_144, 262_145, 600_000, 5_000_000])('%i good bytes arrive whole', async (size) => {
    const bytes = Buffer.alloc(size, 'good')
    await put('good', bytes, verifying)
    const response = await get('good')
    expect([response.status, response.complete, response.body.equals(bytes)]).toEqual([200, true, true])
  })

  it.each([1, 5000, 262_144])('%i bytes of which one is bad: 500, and none of them', async (size) => {
    await put('bad', Buffer.alloc(size, 'x'), verifying)
    await flipByte(await pathOf(verifying, 'bad'), size - 1)
    const response = await get('bad')
    expect(response.status).toBe(500)
    expect(response.json()).toMatchObject({ statusCode: '500', code: 'InternalError' })
    expect(response.headers.etag).toBeUndefined()
  })

  it.each([262_145, 600_000, 5_000_000])(
    '%i bytes of which one is bad: cut off, never complete',
    async (size) => {
      for (const at of [0, size - 1]) {
        await put('bad', Buffer.alloc(size, 'x'), verifying)
        await flipByte(await pathOf(verifying, 'bad'), at)
        const received = (await download('bad')).toString('latin1')
        // Cut off within what was promised, if anything was said at all.
        const [head = '', body = ''] = received.split('\r\n\r\n')
        if (received !== '') expect(head).toMatch(new RegExp(`^content-length: ${size}$`, 'im'))
        expect(body.length).toBeLessThan(size)
      }
      expect(verifying.logs).toContainEqual(
        expect.objectContaining({ level: 50, path: 'bad', msg: expect.stringMatching(/differ/) }),
      )
      await until(async () => (await openFiles(verifying)).length === 0, 'every descriptor is closed')
    },
  )
})

async function flipByte(path: string, at: number): Promise<void> {
  const bytes = await readFile(path)
  bytes[at] = 255 - (bytes[at] ?? 0)
  await writeFile(path, bytes)
}
