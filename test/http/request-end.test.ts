import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { type RequestEnd, RequestEnds } from '../../src/http/request-end.ts'
import type { Exchange } from '../../src/http/surface.ts'
import { chunk, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

interface Heard extends RequestEnd {
  surface: string
  operation: string | undefined
  path: string | undefined
  size: number | undefined
  role: string | undefined
}

let server: TestServer
let auth: string
const heard: (Heard & { id: string })[] = []
let open: RawConnection[] = []

beforeAll(async () => {
  server = await startTestServer(
    { STORAGE_REQUEST_TIMEOUT: '1s', STORAGE_IDLE_TIMEOUT: '1s' },
    {
      extensions: {
        onRequestEnd: ({ requestId: id, surface, notes }, end) => {
          const { operation, path, size, role } = notes
          heard.push({ id, surface: surface.name, operation, path, size, role, ...end })
        },
      },
    },
  )
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box', { public: true })
  for (const [name, body] of Object.entries({ 'small.txt': 'hello', large: 'x'.repeat(30_000_000) })) {
    await server.request('PUT', `/object/box/${name}`, { body })
  }
})
afterAll(() => server.close())
afterEach(() => {
  for (const connection of open) connection.abort()
  open = []
})

async function connect(): Promise<RawConnection> {
  const connection = await RawConnection.open(server.url)
  open.push(connection)
  return connection
}

/** Asks, reads the whole answer, and waits until the connection has nothing left to say. */
async function ask(request: Buffer): Promise<RawConnection> {
  const connection = await connect()
  await connection.send(request)
  await connection.response()
  return connection
}

const ofId = (id: string) => heard.filter((one) => one.id === id)

/** What is heard of one request, once another that came later has been heard, too. */
async function heardOf(id: string): Promise<Heard[]> {
  await until(() => ofId(id).length > 0, `request ${id} is over`)
  const later = randomUUID()
  await server.request('GET', '/status', { headers: { 'x-request-id': later } })
  await until(() => ofId(later).length > 0, 'a later request is over')
  return ofId(id)
}

const WEBSOCKET = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
]
const socketPath = (key: string) => `/realtime/v1/websocket?vsn=1.0.0&apikey=${key}`

it.each<[how: string, run: (id: string) => Promise<unknown>, expected: Partial<Heard>]>([
  [
    'was answered',
    (id) => ask(rawRequest('PUT', '/object/box/new.txt', [auth, id], 'hello')),
    {
      surface: 'rest',
      operation: 'storage.object.upload_update',
      path: 'new.txt',
      size: 5,
      role: 'service_role',
      status: 201,
    },
  ],
  ['is for nobody', (id) => ask(rawRequest('GET', '/nowhere', [id])), { surface: 'rest', status: 404 }],
  [
    'is refused by a protocol',
    (id) => ask(rawRequest('POST', '/upload/resumable', [auth, id])),
    { surface: 'tus', operation: 'storage.tus.upload.create', status: 412 },
  ],
  [
    'was streamed',
    (id) => ask(rawRequest('GET', '/object/box/large', [auth, id])),
    { path: 'large', size: 30_000_000, status: 200 },
  ],
  [
    'was answered from memory',
    async (id) => {
      const request = rawRequest('GET', '/object/public/box/small.txt', [id])
      await until(async () => {
        // Only the last one, which is answered before routing, has the id.
        await server.request('GET', '/object/public/box/small.txt')
        return heard.at(-1)?.isRepeated === true
      }, 'the object is in memory')
      await ask(request)
    },
    { operation: 'storage.object.get_public', path: 'small.txt', size: 5, role: 'anon', isRepeated: true },
  ],
  [
    'was broken off by its client in its body',
    async (id) => {
      const connection = await connect()
      const head = rawRequest('PUT', '/object/box/broken', [auth, 'Transfer-Encoding: chunked', id])
      await connection.send(head, chunk('x'.repeat(100_000)))
      await until(
        async () => (await server.admin`select from storage.uploads`).length === 1,
        'the upload has begun',
      )
      connection.abort()
    },
    { path: 'broken', status: 499, aborted: true },
  ],
  [
    'was broken off by its client in its answer',
    async (id) => {
      const connection = await connect()
      await connection.send(rawRequest('GET', '/object/box/large', [auth, id]))
      await connection.firstBytes()
      connection.abort()
    },
    { path: 'large', status: 200, aborted: true },
  ],
  [
    'waited behind another when its client went',
    async (id) => {
      const connection = await connect()
      const unread = rawRequest('GET', '/object/box/large', [auth])
      await connection.send(unread, rawRequest('DELETE', '/object/box/small.txt', [auth, id]))
      await connection.firstBytes()
      connection.abort()
    },
    { status: 499, aborted: true },
  ],
  [
    'has a host that is none',
    (id) => ask(rawRequest('GET', '/status', ['Host: a b', id])),
    { surface: 'rest', status: 400 },
  ],
  [
    'has a coding that nobody knows',
    (id) =>
      ask(rawRequest('PUT', '/object/box/x', [auth, 'Transfer-Encoding: gzip, chunked', id], '0\r\n\r\n')),
    { status: 501 },
  ],
  [
    'is refused by the parser in its body',
    (id) => ask(rawRequest('PUT', '/object/box/x', [auth, 'Transfer-Encoding: chunked', id], 'zz\r\n')),
    { status: 400 },
  ],
  [
    'stalls in its body',
    (id) => ask(rawRequest('PUT', '/object/box/x', [auth, 'Content-Length: 900000', id])),
    { path: 'x', status: 408 },
  ],
  [
    'asks for an upgrade that nobody knows',
    (id) => ask(rawRequest('GET', '/status', ['Connection: Upgrade', 'Upgrade: h2c', id])),
    { surface: 'rest', status: 200 },
  ],
  [
    'has become a WebSocket',
    (id) => ask(rawRequest('GET', socketPath(server.keys.anonKey), [...WEBSOCKET, id])),
    { surface: 'realtime', role: 'anon', status: 101 },
  ],
  [
    'may not become a WebSocket',
    (id) => ask(rawRequest('GET', socketPath('none'), [...WEBSOCKET, id])),
    { surface: 'realtime', status: 401 },
  ],
  [
    'cannot become a WebSocket',
    (id) => ask(rawRequest('GET', socketPath(server.keys.anonKey), [...WEBSOCKET.slice(0, 3), id])),
    { surface: 'realtime', status: 400 },
  ],
])('a request that %s is heard of once', async (_how, run, expected) => {
  const id = randomUUID()
  await run(`X-Request-Id: ${id}`)
  const ends = await heardOf(id)
  expect(ends).toHaveLength(1)
  expect(ends[0]).toMatchObject({ aborted: false, isRepeated: false, ...expected })
  expect(ends[0]?.ms).toBeGreaterThanOrEqual(0)
  const lines = server.logs.filter(({ requestId, msg }) => requestId === id && msg === 'request')
  // A WebSocket has a line of its own, when it is closed.
  expect(lines.map(({ status }) => status)).toEqual(expected.status === 101 ? [] : [ends[0]?.status])
})

it('is heard by the others when one of those who hear fails, and the failure is logged', () => {
  const told: string[] = []
  const logged: string[] = []
  const fails = () => {
    throw new Error('no room for it')
  }
  const logger = pino({}, { write: (line) => logged.push(line) })
  const ends = new RequestEnds([fails, ({ requestId }) => told.push(requestId)], logger)
  ends.answeredAtOnce({ requestId: 'one' } as Exchange)
  expect(told).toEqual(['one'])
  expect(logged).toEqual([expect.stringContaining('no room for it')])
})
