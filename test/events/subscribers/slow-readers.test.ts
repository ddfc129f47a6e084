import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { RawClient } from '../../http/realtime/clients.ts'
import { openEvents } from '../../support/event-stream.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** With the longest names they are more than the kernel keeps for a reader, and what the server does besides. */
const EVENTS = 14_000

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server?.close())

it('a reader who does not keep up is cut off, while others hear all, and reads on when it comes back', async () => {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  const query = `?bucket=${bucket}`
  const request = get(`${server.url}/storage/v1/events${query}`, {
    headers: { authorization: `Bearer ${server.keys.serviceKey}` },
  })
  const [slow] = (await once(request, 'response')) as [IncomingMessage]
  const other = await openEvents(server, { query })

  await server.admin`
    insert into storage.objects (bucket_id, name)
    select ${bucket}, n || '-' || repeat('x', 1000) from generate_series(1, ${EVENTS}::int) n`
  await other.hears(EVENTS)

  // Only now it reads, what the kernel has kept.
  let text = ''
  slow.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  const [error] = (await once(slow, 'error')) as [NodeJS.ErrnoException]
  expect(error.code).toBe('ECONNRESET')
  const whole = text.slice(0, text.lastIndexOf('\n\n'))
  const had = [...whole.matchAll(/^id: (\d+)\nevent: /gm)].map(([, id]) => Number(id))
  expect(had.length).toBeLessThan(EVENTS)

  const returned = await openEvents(server, { query, lastEventId: had.at(-1) ?? 0 })
  await returned.hears(EVENTS - had.length)
  const ids = [...had, ...returned.events().map(({ id }) => id)]
  expect(ids).toEqual(other.events().map(({ id }) => id))
  for (const reader of [other, returned]) reader.close()
})

it('who reads is not cut off by events that are more at once than anybody may leave unread', async () => {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  const reader = await openEvents(server, { query: `?bucket=${bucket}` })
  await server.admin`
    insert into storage.objects (bucket_id, name, metadata)
    select ${bucket}, n, jsonb_build_object('mimetype', repeat('x', 20000)) from generate_series(1, 400) n`
  await reader.hears(400)
  reader.close()
})

it('who reads is not cut off, though far more goes by than all together may leave unread', async () => {
  const small = await startTestServer({ STORAGE_MAX_UNREAD: '4MB' })
  const events = 2000 // each told in three forms of a kilobyte and more
  const bucket = `b-${randomUUID()}`
  await small.createBucket(bucket)
  const streams = await Promise.all([1, 2, 3].map(() => openEvents(small, { query: `?bucket=${bucket}` })))
  const sockets = [1, 2, 3].map(() => new RawClient(small, { apikey: small.keys.serviceKey }))
  try {
    for (const socket of sockets) {
      await socket.opened
      await socket.join(`realtime:storage:${bucket}`)
    }
    await small.admin`
      insert into storage.objects (bucket_id, name)
      select ${bucket}, n || '-' || repeat('x', 1000) from generate_series(1, ${events}::int) n`
    for (const stream of streams) await stream.hears(events)
    const told = (socket: RawClient) => socket.frames.filter(({ event }) => event === 'broadcast').length
    await until(() => sockets.every((socket) => told(socket) === events), 'the WebSockets hear all')
    expect(small.logs.filter(({ msg }) => msg?.includes('cut off'))).toEqual([])
  } finally {
    for (const { socket } of sockets) socket.terminate()
    for (const stream of streams) stream.close()
    await small.close()
  }
})
