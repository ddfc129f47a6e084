import { randomUUID } from 'node:crypto'
import type { RealtimeChannel } from '@supabase/supabase-js'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { mintToken } from '../../../src/server/keys.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { RealtimeClients, subscribed } from './clients.ts'

let server: TestServer
/** Anyone may read it. */
let open: string
/** Nobody but the service, and owners of objects. */
let closed: string
const clients = new RealtimeClients(() => server)
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  open = `open-${randomUUID()}`
  closed = `closed-${randomUUID()}`
  await server.createBucket(open, { policy: 'public' })
  await server.createBucket(closed)
})
afterEach(() => clients.close())

const upload = async (place: string, { token = server.keys.serviceKey, method = 'POST' } = {}) => {
  const response = await server.request(method, `/storage/v1/object/${place}`, { token, body: place })
  expect(response.status).toBeLessThan(300)
}

/** A last event that all hear who hear anything: what they have not heard by then, they never will. */
const LAST = 'the-last'

/** Collects what a channel hears, until the last. */
class Heard {
  readonly names: string[] = []

  /** An event's payload, as both kinds of listeners get it. */
  readonly add = ({ type, bucket, path }: { type?: string; bucket?: string; path?: string }) =>
    this.names.push(`${type?.split('.')[2]} ${bucket}/${path}`)

  async untilLast(place: string): Promise<string[]> {
    await upload(place)
    await until(() => this.names.some((name) => name.endsWith(place)), 'the last is heard')
    return this.names.filter((name) => !name.endsWith(place))
  }
}

type RawListener = (type: string, filter: object, listener: (payload: object) => void) => RealtimeChannel

/** Raw names of events, for which the client has no type. */
const on = (channel: RealtimeChannel): RawListener => channel.on.bind(channel) as unknown as RawListener

describe.each(['1.0.0', '2.0.0'])('supabase-js with version %s of the serializer hears', (vsn) => {
  it('by broadcast, of what happens to all that it may see', async () => {
    const app = await clients.app({ vsn })
    const heard = new Heard()
    const metas: { id: string }[] = []
    const channel = app.channel('storage').on('broadcast', { event: '*' }, (message) => {
      heard.add(message.payload)
      metas.push(message.meta as { id: string })
    })
    await subscribed(channel)
    await upload(`${closed}/hidden.txt`)
    await upload(`${open}/a.txt`)
    await upload(`${open}/a.txt`, { method: 'PUT' })
    await server.request('DELETE', `/storage/v1/object/${open}/a.txt`)
    const all = await heard.untilLast(`${open}/${LAST}`)
    expect(all).toEqual([`created ${open}/a.txt`, `updated ${open}/a.txt`, `deleted ${open}/a.txt`])
    const ids = metas.map(({ id }) => Number(id))
    expect(ids).toEqual([...ids].sort((a, b) => a - b))
  })

  it('by the type of the event, on a channel of any name', async () => {
    const app = await clients.app({ vsn })
    const [named, any] = [new Heard(), new Heard()]
    const channel = app.channel(`storage:${open}`)
    on(channel)('storage.object.created', { bucket: open }, named.add)
    const other = app.channel('whatever')
    on(other)('storage.object.created', {}, any.add)
    await Promise.all([subscribed(channel), subscribed(other)])
    await upload(`${closed}/hidden.txt`)
    await upload(`${open}/a.txt`)
    expect(await named.untilLast(`${open}/${LAST}`)).toEqual([`created ${open}/a.txt`])
    expect(await any.untilLast(`${open}/${LAST}-2`)).toContain(`created ${open}/a.txt`)
    expect(any.names.join()).not.toContain('hidden')
  })

  it('of changes of rows: inserted, updated and deleted, those that match its filter', async () => {
    const app = await clients.app({ vsn })
    const other = `other-${randomUUID()}`
    await server.createBucket(other, { policy: 'public' })
    const changes: string[] = []
    const inserts: string[] = []
    const rows: Record<string, unknown>[] = []
    const channel = app
      .channel('rows')
      .on(
        'postgres_changes',
        { event: '*', schema: 'storage', table: 'objects', filter: `bucket_id=eq.${open}` },
        (change) => {
          const { eventType, new: now, old } = change
          changes.push(`${eventType} ${'name' in now ? now.name : ''} ${'name' in old ? old.name : ''}`)
          rows.push(now as Record<string, unknown>)
        },
      )
      .on(
        'postgres_changes',
        { event: 'INSERT', schema: 'storage', table: 'objects', filter: `bucket_id=in.(${open},${other})` },
        ({ new: now }) => inserts.push(`${now.bucket_id}/${now.name}`),
      )
    await subscribed(channel)
    await upload(`${open}/a.txt`)
    await upload(`${other}/b.txt`)
    await upload(`${open}/a.txt`, { method: 'PUT' })
    await server.request('DELETE', `/storage/v1/object/${open}/a.txt`)
    await until(() => changes.length === 3, 'three changes come')
    expect(changes).toEqual(['INSERT a.txt ', 'UPDATE a.txt ', 'DELETE  a.txt'])
    expect(inserts).toEqual([`${open}/a.txt`, `${other}/b.txt`])
    expect(rows[0]).toMatchObject({
      bucket_id: open,
      owner_id: null,
      metadata: { mimetype: expect.any(String) },
    })
  })
})

describe('a channel', () => {
  it('for a folder hears of what is in it, and of nothing beside it', async () => {
    const app = await clients.app()
    const heard = new Heard()
    const channel = app.channel(`storage:${open}/users/1`)
    channel.on('broadcast', { event: 'storage.object.created' }, ({ payload }) => heard.add(payload))
    await subscribed(channel)
    for (const path of ['users/1/a.txt', 'users/10/b.txt', 'users/2/c.txt', 'users/1'])
      await upload(`${open}/${path}`)
    const all = await heard.untilLast(`${open}/users/1/${LAST}`)
    expect(all).toEqual([`created ${open}/users/1/a.txt`, `created ${open}/users/1`])
  })

  it('that asks for rows of another table is refused, and its client told why', async () => {
    const app = await clients.app()
    const channel = app.channel('rows')
    channel.on('postgres_changes', { event: '*', schema: 'public', table: 'todos' }, () => {})
    await expect(subscribed(channel)).rejects.toThrow('changes of public.todos cannot be heard here')
  })

  it('learns of the end of a token, and is closed', async () => {
    const app = await clients.app({ token: await server.token('ann') })
    const messages: string[] = []
    const channel = app.channel('storage')
    channel.on('system', {}, ({ message }: { message: string }) => messages.push(message))
    let isClosed = false
    await new Promise<void>((resolve) => {
      channel.subscribe((status) => {
        isClosed ||= status === 'CLOSED'
        if (status === 'SUBSCRIBED') resolve()
      })
    })
    await app.realtime.setAuth(await shortToken(3))
    await until(() => isClosed, 'the channel is closed')
    expect(messages).toEqual([expect.stringContaining('Token has expired')])
  })

  it('goes on when its token is renewed in time, as whoever the new one names', async () => {
    const members = `members-${randomUUID()}`
    await server.createBucket(members, { policy: 'authenticated' })
    const app = await clients.app()
    const heard = new Heard()
    const channel = app.channel('storage')
    channel.on('broadcast', { event: '*' }, ({ payload }) => heard.add(payload))
    const messages: string[] = []
    channel.on('system', {}, ({ message }: { message: string }) => messages.push(message))
    await subscribed(channel)
    const short = await shortToken(4)
    await app.realtime.setAuth(short)
    let probes = 0
    await until(async () => {
      await upload(`${members}/ann-${++probes}.txt`)
      return heard.names.some((name) => name.includes(members))
    }, 'ann is who listens')
    await app.realtime.setAuth(await mintToken(server.keys.jwtSecret, { role: 'service_role' }, 3600))
    await until(() => Date.now() >= expiryOf(short), 'the first token has expired')
    await heard.untilLast(`${closed}/${LAST}`)
    expect(messages).toEqual([])
  })
})

/** Has at least a second less to live, since tokens count whole ones. */
const shortToken = (seconds: number) =>
  mintToken(server.keys.jwtSecret, { role: 'authenticated', subject: 'ann' }, seconds)

const expiryOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).exp * 1000

it('whoever may read an object by a policy hears of it, and nobody else', async () => {
  const rule = `own-${randomUUID()}`
  await server.admin.unsafe(
    `create policy "${rule}" on storage.objects for select to authenticated
       using (bucket_id = '${closed}' and (storage.foldername(name))[1] = auth.uid()::text)`,
  )
  const [ann, bob] = [randomUUID(), randomUUID()]
  const heard = await Promise.all(
    [ann, bob].map(async (user) => {
      const app = await clients.app({ token: await server.token(user) })
      const own = new Heard()
      await subscribed(
        app.channel('storage').on('broadcast', { event: '*' }, ({ payload }) => own.add(payload)),
      )
      return own
    }),
  )
  await upload(`${closed}/${ann}/a.txt`)
  await upload(`${closed}/${bob}/b.txt`)
  const all = await Promise.all(heard.map((own, index) => own.untilLast(`${open}/${LAST}-${index}`)))
  const places = all.map((names) => names.filter((name) => name.includes(closed)))
  expect(places).toEqual([[`created ${closed}/${ann}/a.txt`], [`created ${closed}/${bob}/b.txt`]])
})

it('an upload that was taken back is never heard of', async () => {
  const app = await clients.app({ key: server.keys.serviceKey })
  const heard = new Heard()
  await subscribed(
    app.channel(`storage:${open}`).on('broadcast', { event: '*' }, ({ payload }) => heard.add(payload)),
  )
  await server.admin
    .begin(async (sql) => {
      await sql`insert into storage.objects (bucket_id, name) values (${open}, 'taken-back')`
      throw new Error('changed my mind')
    })
    .catch(() => {})
  expect(await heard.untilLast(`${open}/${LAST}`)).toEqual([])
})

it('clients cannot broadcast to each other, by WebSocket or by HTTP', async () => {
  const [speaker, listener] = await Promise.all([clients.app(), clients.app()])
  const messages: string[] = []
  const speaking = speaker.channel('storage', { config: { broadcast: { ack: true } } })
  speaking.on('system', {}, ({ message }: { message: string }) => messages.push(message))
  const heard = new Heard()
  const listening = listener
    .channel('storage')
    .on('broadcast', { event: '*' }, ({ payload }) => heard.add(payload))
  await Promise.all([subscribed(speaking), subscribed(listening)])
  const said = { type: 'broadcast', event: 'storage.object.created', payload: { path: 'forged' } } as const
  expect(await speaking.send(said)).toBe('error')
  expect(await speaking.track({ online: true })).toBe('error')
  expect(messages).toEqual([
    expect.stringContaining("does not pass on a client's broadcast"),
    expect.stringContaining("does not pass on a client's presence"),
  ])
  const unsubscribed = speaker.channel('other')
  await expect(unsubscribed.httpSend('shout', { a: 1 })).rejects.toThrow(
    "Clients' broadcasts are not passed on",
  )
  const forged = await heard.untilLast(`${open}/${LAST}`)
  expect(forged.filter((name) => name.includes('forged'))).toEqual([])
})
