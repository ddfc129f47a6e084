import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { type EventReader, openEvents, type ReaderOptions } from '../../support/event-stream.ts'
import { withPolicies } from '../../support/policies.ts'
import { rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
/** A bucket that anonymous readers see by a policy, which counts how often it was asked. */
let bucket: string
const readers: EventReader[] = []
const sockets: Socket[] = []

beforeAll(async () => {
  server = await startTestServer({ STORAGE_EVENTS_KEEPALIVE: '100ms' })
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await server.admin.unsafe(
    `create sequence public."${bucket}";
     grant usage on sequence public."${bucket}" to anon;
     create policy "${bucket}" on storage.objects for select to anon using (
       bucket_id = '${bucket}' and nextval('public."${bucket}"') > 0 and pg_sleep(0.3) is not null)`,
  )
})
afterEach(async () => {
  for (const reader of readers.splice(0)) reader.close()
  for (const socket of sockets.splice(0)) socket.destroy()
  await server.admin.unsafe(`drop policy if exists "${bucket}" on storage.objects`)
})

async function open(options: ReaderOptions = {}) {
  const reader = await openEvents(server, { query: `?bucket=${bucket}`, ...options })
  readers.push(reader)
  return reader
}
const insert = (name: string) =>
  server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, ${name})`

async function timesAsked(): Promise<number> {
  const [row] = await server.admin.unsafe(
    `select case when is_called then last_value::int else 0 end as asked from public."${bucket}"`,
  )
  return row?.asked
}

/** Sends the request for an anonymous stream so many times at once, over one connection. */
async function askFor(streams: number): Promise<Socket> {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  sockets.push(socket)
  await once(socket, 'connect')
  const request = rawRequest('GET', `/storage/v1/events?bucket=${bucket}`, [
    `Authorization: Bearer ${server.keys.anonKey}`,
  ])
  socket.write(Buffer.concat(Array.from({ length: streams }, () => request)))
  return socket
}

it('readers that leave before they are answered are forgotten', async () => {
  for (const socket of await Promise.all(Array.from({ length: 10 }, () => askFor(1)))) socket.end().resume()
  await Promise.all(sockets.map((socket) => once(socket, 'close')))
  const other = await open()
  await insert('a')
  await other.hears(1)
  await insert('b') // handed out once the one before is done with
  await other.hears(2)
  expect(await timesAsked()).toBe(0)
})

it('streams that are asked for behind another one on its connection are forgotten with it', async () => {
  const socket = await askFor(5)
  await once(socket, 'data')
  socket.destroy()
  await once(socket, 'close')
  const other = await open()
  await until(async () => {
    const asked = await timesAsked()
    await insert(randomUUID())
    await other.hears(other.events().length + 1)
    await insert(randomUUID())
    await other.hears(other.events().length + 1)
    return asked === (await timesAsked())
  }, 'nobody asks for the one who has left')
})

it('who is still catching up is not told a position ahead of the events', async () => {
  const live = await open()
  const begin = Number(live.blocks[0]?.id ?? 0)
  await insert('a')
  await insert('b')
  await live.hears(2)
  const late = await open({ token: server.keys.anonKey, lastEventId: begin })
  await late.hears(2)
  const ids = late.blocks.flatMap(({ id }) => (id === undefined ? [] : [Number(id)]))
  expect(ids.slice(0, 3)).toEqual([begin, ...live.events().map(({ id }) => id)])
})

it('an upload does not wait for readers who catch up, however long their policies take', async () => {
  const live = await open()
  const begin = Number(live.blocks[0]?.id ?? 0)
  await insert('a')
  await live.hears(1)
  const rule = `create policy "waits" on storage.objects for select to authenticated using (
    bucket_id = '${bucket}' and (storage.operation() <> 'storage.event.read' or pg_advisory_xact_lock_shared(42) is not null))`
  await withPolicies(server.admin, rule, async () => {
    const late: EventReader[] = []
    await server.admin.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(42)`
      // More than the server has connections.
      for (let user = 0; user < 12; user++) {
        late.push(await open({ token: await server.token(`u${user}`), lastEventId: begin }))
      }
      const headers = { 'content-type': 'text/plain' }
      const uploaded = await server.request('PUT', `/object/${bucket}/b`, { body: 'x', headers })
      expect(uploaded.status).toBe(201)
      expect(late.flatMap((reader) => reader.heard())).toEqual([])
    })
    for (const reader of late) expect(await reader.hears(2)).toEqual(['object.created a', 'object.created b'])
  })
})
