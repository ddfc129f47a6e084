import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { exchange, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'
import { until } from '../support/wait.ts'

const MOST = 10
/** As many as there are beyond the limit, and then again. */
const FLOOD = 5 * MOST

describe.each<[string, Record<string, string>]>([
  ['by default', {}],
  ['as Supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s', (_mode, env) => {
  let server: TestServer
  let auth: string
  let open: RawConnection[] = []
  beforeAll(async () => {
    server = await startTestServer({ ...env, STORAGE_MAX_CONNECTIONS: String(MOST) })
    auth = `Authorization: Bearer ${server.keys.serviceKey}`
    await server.createBucket('box', { public: true })
    await server.request('PUT', '/object/box/here.txt', { body: 'here' })
    // So that it is sent from memory.
    for (let round = 0; round < 6; round++) await server.request('GET', '/object/public/box/here.txt')
  })
  afterEach(async () => {
    for (const connection of open) connection.abort()
    open = []
    await until(async () => (await ask('/object/box/here.txt')).status === 200, 'the server has room again')
    await expectNoDrift(server)
  })
  afterAll(() => server.close())

  const ask = (path: string) => exchange(server.url, rawRequest('GET', path, [auth]))

  async function send(request: Buffer | string): Promise<RawConnection> {
    const connection = await RawConnection.open(server.url)
    open.push(connection)
    await connection.send(request)
    return connection
  }

  /** Every connection has an upload that does not come. */
  async function takeAll(): Promise<void> {
    for (let index = 0; index < MOST; index++) {
      const headers = [auth, 'Content-Type: text/plain', 'Content-Length: 400000']
      await send(rawRequest('PUT', `/object/box/stalled-${index}`, headers))
    }
    await until(async () => {
      const [row] = await server.admin`select count(*)::int as n from storage.uploads`
      return row?.n === MOST
    }, 'all connections are busy')
  }

  async function expectHealth(): Promise<void> {
    for (const path of [
      '/status',
      '/version',
      '/health',
      '/health/live',
      '/health/ready',
      '/health/detailed',
    ]) {
      expect((await ask(path)).status).toBe(200)
      expect((await ask(`/storage/v1${path}`)).status).toBe(200)
    }
  }

  const upgrade = () =>
    rawRequest('GET', `/realtime/v1/websocket?apikey=${server.keys.anonKey}`, [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ])

  it.each<[string, () => Buffer | string]>([
    ['says nothing', () => ''],
    ['dribbles its headers', () => 'GET /status HTTP/1.1\r\nHost:'],
    ['asks for WebSockets', upgrade],
    ['begins uploads', () => rawRequest('PUT', '/object/box/late', [auth, 'Content-Length: 400000'])],
    [
      'asks for health, and does not read',
      () => Buffer.concat(Array(500).fill(rawRequest('GET', '/version'))),
    ],
    ['asks for events', () => rawRequest('GET', '/events', [auth])],
  ])('health is told when all connections are taken, and a crowd beside them %s', async (_what, request) => {
    await takeAll()
    for (let index = 0; index < FLOOD; index++) {
      await send(request())
      if (index % MOST === 0) await expectHealth()
    }
    await expectHealth()
    const refused = await ask('/object/box/here.txt')
    expect([refused.status, refused.headers['retry-after']]).toEqual([503, '2'])
    expect((await ask('/object/public/box/here.txt')).status).toBe(503)
    expect((await exchange(server.url, upgrade())).status).toBe(503)
  })

  it('who has begun to ask is answered, though others come in the meantime', async () => {
    await takeAll()
    const checking = await send('GET /status HTTP/1.1\r\nHost: test\r\n')
    for (let index = 0; index < MOST - 1; index++) await send('')
    await checking.send('\r\n')
    expect((await checking.response()).status).toBe(200)
    expect((await checking.rest()).length).toBe(0)
  })

  it('WebSockets and streams of events leave half of the connections to others', async () => {
    for (let index = 0; index < 3 * MOST; index++) {
      await send(index % 2 ? upgrade() : rawRequest('GET', '/events', [auth]))
    }
    await expectHealth()
    expect((await ask('/object/box/here.txt')).body.toString()).toBe('here')
    const stored = await server.request('PUT', '/object/box/new.txt', { body: 'new' })
    expect(stored.ok).toBe(true)
    await server.request('DELETE', '/object/box/new.txt')
  })
})
