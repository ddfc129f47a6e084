import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { ListenerLimits } from '../../../src/config/limits.ts'
import { ServingSession } from '../../../src/database/queries/serving-session.ts'
import { Outbox } from '../../../src/events/outbox.ts'
import { Subscriptions } from '../../../src/events/subscribers/subscriptions.ts'
import { TokenVerifier } from '../../../src/http/auth/token-verifier.ts'
import { Connections } from '../../../src/http/connection/connections.ts'
import { Listeners } from '../../../src/http/connection/listeners.ts'
import { createHttpServer, drainServer, listen } from '../../../src/http/http-server.ts'
import type { ConnectionLimits } from '../../../src/http/realtime/connection.ts'
import { REALTIME_LIMITS, Realtime } from '../../../src/http/realtime/realtime.ts'
import { realtimeSurface } from '../../../src/http/realtime/surface.ts'
import { PUBLIC_PREFIX } from '../../../src/http/request-target.ts'
import { Surfaces } from '../../../src/http/surface.ts'
import { exchange, rawRequest } from '../../support/raw-http.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { RawClient, RealtimeClients, subscribed } from './clients.ts'

const logger = pino({ level: 'silent' })

let server: TestServer
let bucket: string
/** Another server that a test has, if it has: with limits of its own, or to be stopped. */
let limited: { url: string; close(): Promise<void> } | undefined
const clients = new RealtimeClients(() => ({ ...server, url: limited?.url ?? server.url }) as Served)
beforeAll(async () => {
  // The crowd comes from one address.
  server = await startTestServer({ STORAGE_MAX_LISTENER_SHARE: '1' })
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'public' })
})
afterEach(async () => {
  await clients.close()
  await limited?.close()
  limited = undefined
})

/** A server of its own for realtime, beside the other, since nobody can wait for the real limits. */
async function limit(
  limits: Partial<ConnectionLimits>,
  listening: Partial<ListenerLimits> = {},
): Promise<void> {
  const { database, keys, config } = server
  const session = new ServingSession(database)
  const outbox = new Outbox({ database, session, logger })
  const subscriptions = new Subscriptions({ database, outbox, logger })
  const tokens = new TokenVerifier({ ...config.jwt, secret: keys.jwtSecret })
  const { corsOrigins, supabaseCompat } = config
  const connections = new Connections(config.limits.connections)
  const realtime = new Realtime({
    tokens,
    subscriptions,
    logger,
    corsOrigins,
    trustProxy: false,
    listeners: new Listeners({ ...config.limits.listeners, ...listening }, connections.most, logger),
    rates: undefined,
    limits: { ...REALTIME_LIMITS, ...limits },
  })
  const http = createHttpServer({
    fetch: () => new Response(),
    surfaces: new Surfaces([realtimeSurface(realtime, { tokens, supabaseCompat })], PUBLIC_PREFIX),
    onRequestEnd: [],
    connections,
    limits: config.limits,
    logger,
  })
  const url = await listen(http, { host: '127.0.0.1', port: 0 })
  outbox.start()
  limited = {
    url,
    close: async () => {
      subscriptions.close()
      await Promise.all([drainServer(http, connections, 5000, logger), realtime.close()])
      await outbox.close()
      await session.close()
    },
  }
}

it('a thousand listeners hear one upload, and the policies are asked once', async () => {
  const [hidden, rule] = [`h-${randomUUID()}`, `counted-${randomUUID()}`]
  await server.createBucket(hidden)
  await server.admin.unsafe(
    `create sequence public."${rule}";
     grant usage on sequence public."${rule}" to anon;
     create policy "${rule}" on storage.objects for select to anon
       using (bucket_id = '${hidden}' and nextval('public."${rule}"') > 0)`,
  )
  const crowd: RawClient[] = []
  for (let opened = 0; opened < 1000; opened += 100) {
    crowd.push(...(await Promise.all(Array.from({ length: 100 }, () => clients.raw()))))
  }
  await Promise.all(crowd.map((client) => client.join(`realtime:storage:${hidden}`)))
  await server.request('POST', `/storage/v1/object/${hidden}/a.txt`, { body: 'x' })
  await Promise.all(crowd.map((client) => client.event('broadcast')))
  const [row] = await server.admin.unsafe(`select last_value::int as asked from public."${rule}"`)
  expect(row?.asked).toBe(1)
  await server.admin.unsafe(`drop policy "${rule}" on storage.objects`)
})

it('a listener that reads nothing is dropped, and the others hear all', async () => {
  await limit({ bufferedBytes: 1024 * 1024 })
  const [slow, other] = await Promise.all([clients.raw(), clients.raw()])
  const heavy = { config: { postgres_changes: [{ event: '*', schema: 'storage', table: 'objects' }] } }
  await slow.join('realtime:rows', heavy)
  await other.join(`realtime:storage:${bucket}`)
  slow.socket.pause()
  let rows = 0
  // More than the kernel keeps for a reader.
  for (let round = 0; round < 2; round++) {
    await server.admin`
      insert into storage.objects (bucket_id, name, user_metadata)
      select ${bucket}, ${`${round}-`} || n, jsonb_build_object('text', repeat('x', 60000))
      from generate_series(1, 300) n`
    rows += 300
    const count = () => other.frames.filter(({ event }) => event === 'storage.object.created').length
    await until(() => count() === rows, 'the other hears all')
  }
  slow.socket.resume()
  expect(await slow.closed()).toBe(1006)
  expect(other.code).toBeUndefined()
})

const BURSTS: [what: string, burstBytes: number, code: number | undefined][] = [
  ['is not dropped for what comes at once', REALTIME_LIMITS.burstBytes, undefined],
  ['is dropped when that is more than all its channels may have', 8 * 1024 * 1024, 1006],
]
it.each(BURSTS)('a listener that reads %s', async (_what, burstBytes, code) => {
  await limit({ bufferedBytes: 1024 * 1024, burstBytes })
  const reader = await clients.raw()
  // Each of them is handed the same batch, the later ones while the reader has much before it.
  const topics = ['realtime:1', 'realtime:2', 'realtime:3']
  const heavy = { config: { postgres_changes: [{ event: '*', schema: 'storage', table: 'objects' }] } }
  for (const topic of topics) await reader.join(topic, heavy)
  await server.admin`
    insert into storage.objects (bucket_id, name, user_metadata)
    select ${bucket}, n, jsonb_build_object('text', repeat('x', 60000)) from generate_series(1, 300) n`
  const heard = (topic: string) =>
    reader.frames.filter((frame) => frame.topic === topic && frame.event === 'postgres_changes').length
  const hasAll = () => topics.every((topic) => heard(topic) === 300)
  await until(() => reader.code !== undefined || hasAll(), 'it hears all, or is dropped')
  expect(reader.code).toBe(code)
})

it('a client without a heartbeat is closed, and one with a heartbeat is not', async () => {
  await limit({ idleMs: 500 })
  const [silent, alive] = await Promise.all([clients.raw(), clients.raw()])
  const beats = setInterval(() => alive.send('phoenix', 'heartbeat'), 50)
  try {
    expect(await silent.closed()).toBe(1008)
    expect(alive.code).toBeUndefined()
  } finally {
    clearInterval(beats)
  }
})

it('more connections than a server may have are told to come back later', async () => {
  await limit({}, { connections: 1 })
  const first = await clients.raw()
  const answer = await exchange(
    limited?.url ?? '',
    rawRequest('GET', `/realtime/v1/websocket?apikey=${server.keys.anonKey}`, [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ]),
  )
  expect(answer.status).toBe(503)
  expect(answer.headers['retry-after']).toBeDefined()
  first.socket.terminate()
  await until(async () => {
    const next = new RawClient({ ...server, url: limited?.url ?? '' }, {})
    return next.opened
      .then(
        () => true,
        () => false,
      )
      .finally(() => next.socket.terminate())
  }, 'a place is free')
})

it('a client that leaves work undone again and again is sent away', async () => {
  const client = await clients.raw()
  for (let count = 0; count < 500; count++) client.send('realtime:storage', 'phx_join')
  expect(await client.closed()).toBe(1008)
})

it('stopping the server ends every connection, also of clients that do not answer', async () => {
  limited = await server.beside()
  const app = await clients.app()
  await subscribed(app.channel('storage'))
  const [polite, deaf] = await Promise.all([clients.raw(), clients.raw()])
  await Promise.all([polite.join('realtime:storage'), deaf.join('realtime:storage')])
  deaf.socket.pause()
  await limited.close()
  limited = undefined
  expect(await polite.closed()).toBe(1001)
})
