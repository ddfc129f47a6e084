import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openEvents } from '../../support/event-stream.ts'
import { exchange, RawConnection, type RawResponse, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift } from '../../support/traces.ts'
import { until } from '../../support/wait.ts'

const MOST = 4

let server: TestServer
let auth: string
let open: RawConnection[] = []

beforeAll(async () => {
  server = await startTestServer({ STORAGE_MAX_CONNECTIONS: String(MOST) })
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
  await server.request('PUT', '/object/box/here.txt', { body: 'here' })
})

afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await until(async () => (await get()).status === 200, 'the server has room again')
  await expectNoDrift(server)
})

afterAll(() => server.close())

/** Each on a connection of its own. */
const get = (path = '/object/box/here.txt'): Promise<RawResponse> =>
  exchange(server.url, rawRequest('GET', path, [auth]))

async function connect(): Promise<RawConnection> {
  const connection = await RawConnection.open(server.url)
  open.push(connection)
  return connection
}

async function occupy(count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const connection = await connect()
    const headers = [auth, 'Content-Type: text/plain', 'Content-Length: 400000']
    await connection.send(rawRequest('PUT', `/object/box/stalled-${index}`, headers))
  }
  await until(async () => {
    const [row] = await server.admin`select count(*)::int as n from storage.uploads`
    return row?.n === count
  }, 'all connections are busy')
}

describe('beyond STORAGE_MAX_CONNECTIONS', () => {
  it.each([
    ['say nothing', ''],
    ['dribble their headers', 'GET / HTTP/1.1\r\nHost:'],
    ['have had their answers', 'GET /status HTTP/1.1\r\nHost: test\r\n\r\n'],
  ])('connections that %s make room for others', async (_what, sent) => {
    const crowd: RawConnection[] = []
    for (let index = 0; index < 10 * MOST; index++) {
      const connection = await connect()
      crowd.push(connection)
      await connection.send(sent)
      if (sent.endsWith('\r\n\r\n')) expect((await connection.response()).status).toBe(200)
      if (index % MOST === 0) expect((await get()).body.toString()).toBe('here')
    }
    expect((await crowd[0]?.rest())?.length).toBe(0)
    expect((await get()).status).toBe(200)
  })

  it('a stream of events and an upload are not sent away for others', async () => {
    const stream = await openEvents(server)
    const upload = await connect()
    await upload.send(rawRequest('PUT', '/object/box/slow', [auth, 'Content-Length: 400000']))
    for (let index = 0; index < 10 * MOST; index++) await connect()
    await upload.send(Buffer.alloc(400_000))
    expect((await upload.response()).status).toBe(201)
    expect(await stream.hears(1)).toEqual(['object.created slow'])
    stream.close()
    await server.request('DELETE', '/object/box/slow')
  })

  it('who is still reading answers from memory is not cut off for others', async () => {
    await server.createBucket('open', { public: true })
    await server.request('PUT', '/object/open/large.txt', { body: 'x'.repeat(200_000) })
    const asked = rawRequest('GET', '/object/public/open/large.txt')
    for (let round = 0; round < 6; round++)
      expect((await get('/object/public/open/large.txt')).status).toBe(200)
    const slow = await connect()
    await slow.send(Buffer.concat(Array.from({ length: 60 }, () => asked))) // more than the kernel takes
    await slow.firstBytes()
    for (let index = 0; index < 3 * MOST; index++) {
      await connect()
      expect((await get('/status')).status).toBe(200)
    }
    slow.goOn()
    for (let index = 0; index < 60; index++) expect((await slow.response()).complete).toBe(true)
    await server.request('DELETE', '/object/open/large.txt')
  })

  it('when all are busy, a new one is told to come back, and health checks are answered', async () => {
    await occupy(MOST)
    const refused = await get()
    expect([refused.status, refused.headers['retry-after'] !== undefined, refused.json()]).toEqual([
      503,
      true,
      expect.objectContaining({ statusCode: '503', code: 'SlowDown' }),
    ])
    for (const path of ['/status', '/health/live', '/health/ready', '/health']) {
      expect((await get(path)).status).toBe(200)
    }
    open[0]?.abort()
    await until(async () => (await get()).status === 200, 'there is room again')
  })
})

describe('a connection on which very many requests are sent without waiting for answers', () => {
  it('is closed, and the others are served', async () => {
    const connection = await connect()
    const request = rawRequest('GET', '/object/box/here.txt', [auth])
    await connection.send(Buffer.concat(Array.from({ length: 5000 }, () => request)))
    await connection.rest()
    expect((await get()).body.toString()).toBe('here')
  })
})
