import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { RealtimeClients } from '../../http/realtime/clients.ts'
import { type EventReader, openEvents } from '../../support/event-stream.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** What the policies could not be asked about is announced to those who wanted it, however they listen. */

let server: TestServer
const readers: EventReader[] = []
const clients = new RealtimeClients(() => server)
const bucket = `b-${randomUUID()}`

beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket(bucket, { policy: 'public' })
  // As if PostgreSQL had ended the question for its time, when it comes to this object.
  await server.admin.unsafe(`
    create function public.ends_at(name text) returns boolean language plpgsql as $$
    begin
      if name = 'slow' then raise exception using errcode = 'query_canceled', message = 'took too long'; end if;
      return true;
    end $$`)
})
afterAll(() => server.close())
afterEach(async () => {
  for (const reader of readers.splice(0)) reader.close()
  await clients.close()
})

const POLICY = `create policy "ends" on storage.objects as restrictive for select to authenticated
  using (public.ends_at(name))`

const upload = (name: string) => server.request('POST', `/object/${bucket}/${name}`, { body: name })
async function open(token: string, lastEventId?: number, query = `?bucket=${bucket}`): Promise<EventReader> {
  const reader = await openEvents(server, { token, query, ...(lastEventId !== undefined && { lastEventId }) })
  readers.push(reader)
  return reader
}
const gaps = (reader: EventReader): { after: number; oldest: number }[] =>
  reader.blocks
    .filter(({ event }) => event === 'storage.events.lost')
    .map(({ data = '' }) => JSON.parse(data))

it('over all of them, also to who comes back, and to nobody else', async () => {
  await withPolicies(server.admin, POLICY, async () => {
    const token = await server.token('u1')
    const [user, elsewhere] = [await open(token), await open(token, undefined, '?prefix=other')]
    const service = await open(server.keys.serviceKey)
    const socket = await clients.raw({ apikey: null, headers: { authorization: `Bearer ${token}` } })
    await socket.join(`realtime:storage:${bucket}`)
    const rows = { event: '*', schema: 'storage', table: 'objects', filter: `bucket_id=eq.${bucket}` }
    await socket.join('realtime:rows', { config: { postgres_changes: [rows] } })
    const app = await clients.app({ token })
    const told: unknown[] = []
    const channel = app
      .channel(`storage:${bucket}`)
      .on('broadcast', { event: 'storage.events.lost' }, ({ payload }) => told.push(payload))
    await new Promise<void>((done) => channel.subscribe((status) => status === 'SUBSCRIBED' && done()))

    await upload('slow')
    await service.hears(1)
    const position = service.events()[0]?.id ?? 0
    const gap = { after: position - 1, oldest: position + 1 }
    await until(() => gaps(user).length === 1, 'the stream says so')
    expect(gaps(user)).toEqual([gap])
    expect((await socket.event('storage.events.lost')).payload).toEqual(gap)
    const broadcast = await socket.event('broadcast')
    expect(broadcast.payload).toEqual({ type: 'broadcast', event: 'storage.events.lost', payload: gap })
    const isLost = ({ payload }: { payload: { message?: string } }) => payload.message?.includes('lost')
    await until(() => socket.frames.some(isLost), 'the changes say so')
    expect(socket.frames.find(isLost)).toMatchObject({
      event: 'system',
      topic: 'realtime:rows',
      payload: { channel: 'rows', extension: 'postgres_changes', status: 'error' },
    })
    await until(() => told.length === 1, 'supabase-js says so')
    expect(told).toEqual([gap])

    // From a position at which nothing has been asked yet.
    const back = await open(token, position - 1)
    await until(() => gaps(back).length === 1, 'the replay says so')
    expect(gaps(back)).toEqual([gap])

    // The others go on, and so do they.
    await upload('fast')
    expect(await service.hears(2)).toEqual(['object.created slow', 'object.created fast'])
    for (const reader of [user, back]) expect(await reader.hears(1)).toEqual(['object.created fast'])
    expect([gaps(service), gaps(elsewhere)]).toEqual([[], []])
  })
})
