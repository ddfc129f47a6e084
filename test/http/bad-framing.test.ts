import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chunk, exchange, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../support/traces.ts'
import { until } from '../support/wait.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

const TARGET = '/storage/v1/object/box/never.txt'

describe('requests that are no proper HTTP', () => {
  it.each<[what: string, headers: (string | Buffer)[], body?: string | Buffer]>([
    ['a NUL in a header', ['X-Note: a\0b']],
    ['a control character in a header', ['X-Note: a\x01b']],
    ['a line feed alone in a header', ['X-Note: a\nX-Upsert: true']],
    ['a header without a name', [': a']],
    ['a space before the colon', ['X-Note : a']],
    ['a folded header', ['X-Note: a\r\n b: c\r\n : d']],
    ['two lengths that differ', ['Content-Length: 5', 'Content-Length: 6'], 'hello!'],
    ['two lengths that agree', ['Content-Length: 5', 'Content-Length: 5'], 'hello'],
    ['a list of lengths', ['Content-Length: 5, 5'], 'hello'],
    ['a negative length', ['Content-Length: -1'], 'hello'],
    ['a length with a sign', ['Content-Length: +5'], 'hello'],
    ['a length in words', ['Content-Length: five'], 'hello'],
    ['a hexadecimal length', ['Content-Length: 0x5'], 'hello'],
    ['a length with a fraction', ['Content-Length: 5.0'], 'hello'],
    ['an empty length', ['Content-Length: '], 'hello'],
    ['a length past 64 bits', ['Content-Length: 99999999999999999999999'], 'hello'],
    ['chunks and a length', ['Content-Length: 5', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
    ['a length behind chunks', ['Transfer-Encoding: chunked', 'Content-Length: 5'], '0\r\n\r\n'],
    ['a space before the colon of chunked', ['Transfer-Encoding : chunked'], '0\r\n\r\n'],
    ['a chunk size that is no number', ['Transfer-Encoding: chunked'], 'zz\r\nhello\r\n0\r\n\r\n'],
    ['a negative chunk size', ['Transfer-Encoding: chunked'], '-5\r\nhello\r\n0\r\n\r\n'],
    ['a chunk size past 64 bits', ['Transfer-Encoding: chunked'], 'fffffffffffffffff\r\nhello'],
    ['a chunk longer than its size', ['Transfer-Encoding: chunked'], '3\r\nhello\r\n0\r\n\r\n'],
    ['two hosts that differ', ['Host: a', 'Host: b']],
    ['two hosts that agree', ['Host: a', 'host: a']],
    ['a host that is none', ['Host: a b']],
    ['a host with a path', ['Host: x/y/../z']],
    ['a host with an account', ['Host: user:pass@x']],
    ['a port out of range', ['Host: x:99999']],
  ])('%s: 400', async (_what, headers, body = '') => {
    await expectNothingWritten(server, async () => {
      const response = await exchange(server.url, rawRequest('POST', TARGET, [auth, ...headers], body))
      expect(response.status).toBe(400)
      expect(response.json()).toMatchObject({ statusCode: '400', code: 'InvalidRequest' })
      expect(response.headers['x-content-type-options']).toBe('nosniff')
    })
  })

  it.each([
    ['a coding before chunked', ['Transfer-Encoding: gzip, chunked']],
    [
      'a coding before chunked, in a line of its own',
      ['Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'],
    ],
    ['a coding alone', ['Transfer-Encoding: gzip']],
    ['no coding', ['Transfer-Encoding: identity']],
    ['chunks twice', ['Transfer-Encoding: chunked, chunked']],
    ['chunks that are not the last coding', ['Transfer-Encoding: chunked, gzip']],
    ['chunks said twice', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity']],
    ['a hidden chunked', ['Transfer-Encoding: xchunked']],
  ])('%s: 501, and the connection is closed', async (_what, headers) => {
    for (const method of ['POST', 'GET']) {
      await expectNothingWritten(server, async () => {
        const connection = await RawConnection.open(server.url)
        await connection.send(rawRequest(method, TARGET, [auth, ...headers], '5\r\nhello\r\n0\r\n\r\n'))
        const response = await connection.response()
        expect(response.status).toBe(501)
        expect(response.json()).toMatchObject({ statusCode: '501', code: 'InvalidRequest' })
        expect(await connection.rest()).toHaveLength(0)
      })
    }
  })

  it('a public object that is in memory: refused as by the route', async () => {
    await server.createBucket('open', { public: true })
    await server.request('PUT', '/object/open/here.txt', { body: 'here' })
    const get = (...headers: string[]) =>
      exchange(server.url, rawRequest('GET', '/object/public/open/here.txt', headers))
    for (const status of [200, 200, 200]) expect((await get()).status).toBe(status)
    expect((await get('Host: a', 'Host: b')).status).toBe(400)
    expect((await get('Host: user:pass@x')).status).toBe(400)
    expect((await get('Host: x:99999')).status).toBe(400)
    expect((await get('Transfer-Encoding: gzip, chunked')).status).toBe(501)
    expect((await get('Content-Length: 5', 'Transfer-Encoding: chunked')).status).toBe(400)
    expect((await get('Content-Length: 5')).status).toBe(200)
  })

  it('no host at all: 400', async () => {
    const bare = Buffer.from(`POST ${TARGET} HTTP/1.1\r\n${auth}\r\nContent-Length: 5\r\n\r\nhello`)
    const response = await expectNothingWritten(server, () => exchange(server.url, bare))
    expect(response.status).toBe(400)
  })

  it.each([
    'HELO x\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'GET / HTTP/9.9\r\n\r\n',
    '\0\0\0\0',
  ])('bytes of another protocol, %j: 400, and the connection is closed', async (bytes) => {
    const connection = await RawConnection.open(server.url)
    await connection.send(Buffer.from(bytes, 'latin1'))
    expect((await connection.response()).status).toBe(400)
    expect(await connection.rest()).toHaveLength(0)
  })

  it('a raw UTF-8 path: 400, and the answer says what to do', async () => {
    const path = '/storage/v1/object/box/naïve.txt'
    const response = await expectNothingWritten(server, () =>
      exchange(server.url, rawRequest('POST', path, [auth], 'hello')),
    )
    expect(response.json().message).toMatch(/percent-encoded/)
    expect(response.status).toBe(400)
  })

  it('HTTP/1.0 without a host is served: load balancers ask for health that way', async () => {
    const connection = await RawConnection.open(server.url)
    await connection.send('GET /status HTTP/1.0\r\n\r\n')
    expect((await connection.response()).status).toBe(200)
    expect(await connection.rest()).toHaveLength(0)
  })

  it('a header of 70 KB: 431, and the connection is closed', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      await connection.send(rawRequest('POST', TARGET, [auth, `X-Note: ${'a'.repeat(70_000)}`], 'hello'))
      const response = await connection.response()
      expect(response.status).toBe(431)
      expect(response.json()).toMatchObject({ statusCode: '431', code: 'InvalidRequest' })
      expect(await connection.rest()).toHaveLength(0)
    })
  })

  it('five thousand short headers are too few to refuse, or to leave out the last one', async () => {
    const many = Array.from({ length: 5000 }, (_, index) => `X-${index}: a`)
    const response = await expectNothingWritten(server, () =>
      exchange(server.url, rawRequest('GET', TARGET, [...many, auth])),
    )
    expect(response.status).toBe(404)
  })

  it('an expectation that nobody knows: 417', async () => {
    const response = await expectNothingWritten(server, () =>
      exchange(server.url, rawRequest('POST', TARGET, [auth, 'Expect: the-unexpected'], 'hello')),
    )
    expect(response.status).toBe(417)
  })
})

describe('lengths that are not true', () => {
  it('a body longer than declared: what was declared is stored, the rest is no request', async () => {
    const connection = await RawConnection.open(server.url)
    const target = '/storage/v1/object/box/three.txt'
    await connection.send(rawRequest('POST', target, [auth, 'Content-Length: 3'], 'hello world'))
    const [first, second] = [await connection.response(), await connection.response()]
    expect([first.status, first.json().size, second.status]).toEqual([201, 3, 400])
    expect(await connection.rest()).toHaveLength(0)
    expect(await (await server.request('GET', target)).text()).toBe('hel')
  })

  it.each([
    ['a small body', 10, 'hello'],
    ['a large body', 2_000_000, 'x'.repeat(1_000_000)],
  ])('%s shorter than declared: 400, and nothing is written', async (_what, length, body) => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      await connection.send(rawRequest('POST', TARGET, [auth, `Content-Length: ${length}`], body))
      connection.halfClose()
      expect((await connection.response()).status).toBe(400)
      expect(await connection.rest()).toHaveLength(0)
    })
  })

  it('chunks without their end: 400, and nothing is written', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      const request = rawRequest('POST', TARGET, [auth, 'Transfer-Encoding: chunked'])
      await connection.send(request, chunk('x'.repeat(300_000)), '5\r\nhel')
      connection.halfClose()
      expect((await connection.response()).status).toBe(400)
      expect(await connection.rest()).toHaveLength(0)
    })
  })

  it('a request hidden in the body of another is never served', async () => {
    const hidden = rawRequest('POST', '/storage/v1/object/box/hidden.txt', [auth], 'gotcha')
    const target = '/storage/v1/object/box/outer.txt'
    const response = await exchange(server.url, rawRequest('POST', target, [auth], hidden))
    expect([response.status, response.json().size]).toEqual([201, hidden.length])
    expect((await server.request('GET', '/object/box/hidden.txt')).status).toBe(404)
  })
})

describe('several requests on one connection', () => {
  it('requests that are sent together are answered in their order', async () => {
    await server.request('PUT', '/object/box/first.txt', { body: 'first' })
    const connection = await RawConnection.open(server.url)
    await connection.send(
      rawRequest('GET', '/object/box/first.txt', [auth]),
      rawRequest('GET', '/object/box/missing.txt', [auth]),
      rawRequest('GET', '/status'),
      rawRequest('HEAD', '/object/box/missing.txt', [auth]),
    )
    const statuses = []
    for (const headOnly of [false, false, false, true]) {
      statuses.push((await connection.response({ headOnly })).status)
    }
    expect(statuses).toEqual([200, 404, 200, 404])
    connection.abort()
  })

  it('an upload behind another begins only when that one is answered, and a read behind it sees it', async () => {
    const name = (method: string, body = '') => rawRequest(method, '/object/box/pipelined', [auth], body)
    for (let round = 0; round < 20; round++) {
      const connection = await RawConnection.open(server.url)
      await connection.send(
        name('GET'),
        name('PUT', 'first'),
        name('PUT', 'second'),
        name('GET'),
        name('DELETE'),
        name('GET'),
        name('PUT', 'third'),
      )
      const responses = []
      for (let count = 0; count < 7; count++) responses.push(await connection.response())
      expect(responses.map(({ status }) => status)).toEqual([404, 201, 200, 200, 204, 404, 201])
      expect(responses[3]?.body.toString()).toBe('second')
      connection.abort()
      await server.request('DELETE', '/object/box/pipelined')
    }
  })

  it('an upload behind one whose client goes away never begins', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      await server.admin.begin(async (tx) => {
        await tx`lock table storage.objects in exclusive mode`
        const put = (name: string) => rawRequest('PUT', `/object/box/${name}`, [auth], 'x')
        await connection.send(put('never-1'), put('never-2'))
        await until(async () => {
          const [row] = await server.admin`
            select count(*)::int as n from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'`
          return row?.n === 1
        }, 'the first one waits for the lock')
        connection.abort()
      })
      await until(
        async () => (await server.request('DELETE', '/object/box/never-1')).ok,
        'the first is stored',
      )
      expect((await server.request('GET', '/object/box/never-2')).status).toBe(404)
    })
  })

  it('a refused upload leaves the connection fit for the next request', async () => {
    const connection = await RawConnection.open(server.url)
    for (const target of [
      '/object/nowhere/a.txt',
      '/object/box/..',
      '/object/box/a%00b',
      '/nothing/at/all',
    ]) {
      await connection.send(rawRequest('POST', target, [auth], 'x'.repeat(100_000)))
      expect((await connection.response()).status).toBeGreaterThanOrEqual(400)
    }
    await connection.send(rawRequest('GET', '/status'))
    expect((await connection.response()).status).toBe(200)
    connection.abort()
  })

  it('garbage behind a request never gets into the download that is being sent', async () => {
    const bytes = Buffer.alloc(4_000_000, 'x')
    await server.request('PUT', '/object/box/large.bin', { body: bytes as unknown as string })
    const connection = await RawConnection.open(server.url)
    await connection.send(rawRequest('GET', '/object/box/large.bin', [auth]))
    await connection.firstBytes()
    await connection.send('this is no request\r\n\r\n')
    connection.goOn()
    const { body, complete } = await connection.response()
    // It may be cut off, which the client sees by its length; but not one byte of it may be another's.
    expect(body.equals(bytes.subarray(0, body.length))).toBe(true)
    expect(complete).toBe(body.length === bytes.length)
    connection.abort()
  })
})
