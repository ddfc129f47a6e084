import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RawConnection, type RawResponse, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'
import { until } from '../../support/wait.ts'

const MOST = 3
const BYTES = Buffer.alloc(400_000, 'x')
const BUSY = {
  statusCode: '503',
  error: 'SlowDown',
  message: 'The server has too many requests at once; try again soon',
  code: 'SlowDown',
}

let server: TestServer
let auth: string
let open: RawConnection[] = []

beforeAll(async () => {
  server = await startTestServer({ STORAGE_MAX_REQUESTS: String(MOST) })
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box', { public: true })
  await server.request('PUT', '/object/box/here.txt', { body: 'here' })
})

afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await isFree()
  await expectNoDrift(server)
})

afterAll(() => server.close())

// Not by the public route, which answers from memory whoever is busy.
const get = () => server.request('GET', '/object/box/here.txt?download=')

async function connect(): Promise<RawConnection> {
  const connection = await RawConnection.open(server.url)
  open.push(connection)
  return connection
}

/** Begins an upload, and leaves it there. */
async function stall(name: string): Promise<RawConnection> {
  const connection = await connect()
  await connection.send(
    rawRequest('PUT', `/object/box/${name}`, [
      auth,
      'Content-Type: text/plain',
      `Content-Length: ${BYTES.length}`,
    ]),
    BYTES.subarray(0, 10),
  )
  return connection
}

/** Takes all places but one. */
async function fill(): Promise<RawConnection[]> {
  const stalled = await Promise.all(Array.from({ length: MOST }, (_, index) => stall(`stalled-${index}`)))
  await uploadsUnderWay(server, MOST)
  return stalled
}

async function uploadsUnderWay(where: TestServer, count: number): Promise<void> {
  await until(async () => {
    const [row] = await where.admin`select count(*)::int as n from storage.uploads`
    return row?.n === count
  }, `${count} uploads are under way`)
}

/** Waits until as many requests as ever can be under way. */
async function isFree(): Promise<void> {
  await until(async () => {
    const all = await Promise.all(Array.from({ length: MOST }, get))
    return all.every(({ status }) => status === 200)
  }, 'all places are free')
}

describe('beyond STORAGE_MAX_REQUESTS', () => {
  it('requests are answered at once with 503, and when to come back', async () => {
    await fill()
    const refused = await server.request('GET', '/object/box/here.txt', {
      headers: { origin: 'http://a.test' },
    })
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(refused.headers.get('access-control-allow-origin')).toBe('*')
    expect(refused.headers.has('x-request-id')).toBe(true)
    expect(await refused.json()).toEqual(BUSY)
    expect(server.logs.filter(({ level }) => level >= 50)).toEqual([])
  })

  it('health checks and preflights are answered as ever', async () => {
    await fill()
    const paths = ['/status', '/version', '/health', '/health/live', '/health/ready']
    for (const path of [...paths, ...paths.map((path) => `/storage/v1${path}`)]) {
      expect((await server.request('GET', path)).status).toBe(200)
    }
    expect((await server.request('OPTIONS', '/object/box/x')).status).toBe(204)
  })

  it('an upload is refused before its body is asked for', async () => {
    await fill()
    const connection = await connect()
    const headers = [auth, 'Content-Type: text/plain', 'Content-Length: 1000000', 'Expect: 100-continue']
    await connection.send(rawRequest('PUT', '/object/box/never', headers))
    expect((await connection.response()).status).toBe(503)
  })

  it('a resumable upload is told so in a way that its client goes on with it later', async () => {
    await fill()
    const path = '/upload/resumable/eHh4'
    expect((await server.request('HEAD', path)).status).toBe(423)
    const refused = await server.request('PATCH', path)
    expect([refused.status, refused.headers.get('tus-resumable')]).toEqual([503, '1.0.0'])
  })

  it.each<
    [how: string, end: (connection: RawConnection) => Promise<RawResponse | undefined>, status?: number]
  >([
    [
      'is finished',
      async (connection) => {
        await connection.send(BYTES.subarray(10))
        return connection.response()
      },
      201,
    ],
    [
      'is reset by its client',
      async (connection) => {
        connection.abort()
        return undefined
      },
    ],
    [
      'is ended by its client',
      async (connection) => {
        connection.halfClose()
        return undefined
      },
    ],
  ])('the next one gets the place of one that %s', async (_how, end, status) => {
    const [first] = await fill()
    const answer = first && (await end(first))
    expect(answer?.status).toBe(status)
    await until(async () => (await get()).status === 200, 'there is a place again')
    expect(await (await get()).text()).toBe('here')
    for (let index = 0; index < MOST; index++) await server.request('DELETE', `/object/box/stalled-${index}`)
  })

  it('errors of all kinds give their places back', async () => {
    const requests = [
      () => server.request('GET', '/object/box/missing'),
      () => server.request('GET', '/nowhere'),
      () => server.request('POST', '/object/move', { body: 'no json' }),
      () => server.request('POST', '/object/box/a%zz', { body: 'x' }),
      () => server.request('PUT', '/object/missing/x', { body: 'x' }),
      () => server.request('HEAD', '/upload/resumable/eHh4'),
    ]
    for (const request of requests) {
      for (let round = 0; round <= MOST; round++) expect((await request()).status).not.toBe(503)
    }
  })

  it('a download gives its place back once it has gone out, or its reader has', async () => {
    await server.request('PUT', '/object/box/large', { body: 'x'.repeat(30_000_000) })
    for (let round = 0; round <= MOST; round++) {
      const connection = await connect()
      await connection.send(rawRequest('GET', '/object/public/box/large'))
      await connection.firstBytes()
      if (round % 2 === 0) connection.abort()
      else {
        connection.goOn()
        expect((await connection.response()).complete).toBe(true)
      }
    }
    await isFree()
    await server.request('DELETE', '/object/box/large')
  })

  it('requests that wait behind an unread download give their places back when their connection goes', async () => {
    await server.request('PUT', '/object/box/large', { body: 'x'.repeat(30_000_000) })
    const connection = await connect()
    const request = rawRequest('GET', '/object/public/box/large')
    await connection.send(request, request, request)
    await connection.firstBytes()
    await until(async () => (await get()).status === 503, 'all three have a place')
    connection.abort()
    await isFree()
    await server.request('DELETE', '/object/box/large')
  })

  it('streams of events do not count', async () => {
    const streams = await Promise.all(Array.from({ length: MOST + 2 }, connect))
    for (const connection of streams) {
      await connection.send(rawRequest('GET', '/events', [auth]))
      await connection.firstBytes()
      connection.goOn()
    }
    await isFree()
  })
})

describe('beyond STORAGE_MAX_UPLOADS', () => {
  it.each([{}, { STORAGE_COMPAT: 'supabase' }])('uploads are refused, and nothing else (%o)', async (env) => {
    const other = await startTestServer({ ...env, STORAGE_MAX_UPLOADS: '1' })
    try {
      await other.createBucket('box')
      const upload = (method: string) => other.request(method, '/object/box/here.txt', { body: 'here' })
      expect((await upload('POST')).ok).toBe(true)
      const connection = await RawConnection.open(other.url)
      await connection.send(
        rawRequest('PUT', '/object/box/stalled', [
          `Authorization: Bearer ${other.keys.serviceKey}`,
          'Content-Type: text/plain',
          'Content-Length: 400000',
        ]),
      )
      await uploadsUnderWay(other, 1)
      const refused = await upload('PUT')
      expect([refused.status, refused.headers.has('retry-after'), await refused.json()]).toEqual([
        503,
        true,
        { ...BUSY, message: 'Too many uploads at once; try again soon' },
      ])
      expect(await (await other.request('GET', '/object/box/here.txt')).text()).toBe('here')
      connection.abort()
      await until(async () => (await upload('PUT')).ok, 'there is a place again')
      await expectNoDrift(other)
    } finally {
      await other.close()
    }
  })
})
