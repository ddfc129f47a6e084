import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RealtimeClients, subscribed } from '../http/realtime/clients.ts'
import { type EventReader, openEvents, type ReaderOptions } from '../support/event-stream.ts'
import { describeWithNats, hear, startNats, startPublishing } from '../support/nats.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

// What concerns no bucket: the service hears of it, and nobody else. A last event that all may hear says when all is heard.

const TYPE = 'storage.backup.completed'
const TIME = /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/

describe.each([
  ['default mode', {}],
  ['STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('the end of a backup, in %s,', (_, env) => {
  let server: TestServer
  const clients = new RealtimeClients(() => server)
  const readers: EventReader[] = []
  beforeAll(async () => {
    server = await startTestServer(env)
    await server.createBucket('open', { public: true, policy: 'public' })
    await server.admin`create policy "all read" on storage.objects for select using (true)`
    await server.admin`create policy "all read" on storage.buckets for select using (true)`
    await server.request('POST', '/storage/v1/object/open/first', { body: 'first' })
  })
  afterEach(async () => {
    for (const reader of readers.splice(0)) reader.close()
    await clients.close()
  })
  afterAll(() => server.close())

  const open = async (options: ReaderOptions = {}) => {
    const reader = await openEvents(server, options)
    readers.push(reader)
    return reader
  }
  const backUp = async (body = {}) => {
    const asked = await server.request('POST', '/storage/v1/backup', { body })
    const { id } = (await asked.json()) as { id: string }
    await until(async () => {
      const job = await server.request('GET', `/storage/v1/backup/${id}`)
      return /completed|failed/.test(((await job.json()) as { status: string }).status)
    }, 'the backup has ended')
    return id
  }
  let uploads = 0
  /** A last one that all hear. Returns its path. */
  const last = async () => {
    const path = `last-${uploads++}`
    await server.request('POST', `/storage/v1/object/open/${path}`, { body: path })
    return path
  }
  const told = (reader: EventReader) =>
    reader.blocks.flatMap(({ event, data }) => (event === TYPE && data ? [JSON.parse(data)] : []))

  it('is told to the service with what became of it, and to nobody else', async () => {
    const mine = await open()
    const chosen = await open({ query: `?type=${TYPE}` })
    const others = [
      await open({ token: server.keys.anonKey }),
      await open({ token: await server.token('6f1f7b1e-0000-4000-8000-000000000001') }),
      await open({ query: '?bucket=open' }),
      await open({ query: '?prefix=' }),
    ]
    const id = await backUp()
    const path = await last()
    for (const reader of [mine, ...others]) {
      await until(() => reader.heard().some((one) => one.endsWith(path)), 'the last one is heard')
    }
    await until(() => told(chosen).length === 1, 'it is heard by who asks for its type')
    const event = {
      id: expect.any(Number),
      type: TYPE,
      timestamp: expect.stringMatching(TIME),
      data: {
        backup_id: id,
        status: 'completed',
        type: 'full',
        object_count: expect.any(Number),
        total_bytes: expect.any(Number),
        started_at: expect.stringMatching(TIME),
        completed_at: expect.stringMatching(TIME),
        error: null,
      },
    }
    expect(told(mine)).toEqual([event])
    expect(told(mine)[0].data.object_count).toBeGreaterThan(0)
    expect(told(mine)).toEqual(told(chosen))
    expect(others.map(told)).toEqual([[], [], [], []])
  })

  it('is told to the service in Realtime, where nobody else hears of it, nor any bucket and no changes of rows', async () => {
    const heard: string[] = []
    const listen = async (who: string, channel: string, app: Awaited<ReturnType<typeof clients.app>>) =>
      subscribed(
        app.channel(channel).on('broadcast', { event: '*' }, ({ event, payload }) => {
          heard.push(`${who} ${event} ${payload.path ?? payload.data.backup_id}`)
        }),
      )
    const service = { key: server.keys.serviceKey }
    await listen('service', 'storage', await clients.app(service))
    await listen('bucket', 'storage:open', await clients.app(service))
    await listen('anon', 'storage', await clients.app())
    const rows = (await clients.app(service))
      .channel('rows')
      .on(
        'postgres_changes',
        { event: '*', schema: 'storage', table: 'objects' },
        ({ eventType, new: row }) => {
          heard.push(`rows ${eventType} ${(row as { name?: string }).name}`)
        },
      )
    await subscribed(rows)
    const id = await backUp()
    const path = await last()
    await until(() => heard.filter((one) => one.endsWith(path)).length === 4, 'the last one is heard by all')
    expect(heard.filter((one) => !one.endsWith(path))).toEqual([`service ${TYPE} ${id}`])
  })

  it('is told when it has failed, with the reason', async () => {
    const reader = await open()
    await server.admin`create or replace function public.elsewhere() returns trigger language plpgsql as $$
      begin new.target = '/dev/null/target'; return new; end $$`
    await server.admin`create trigger elsewhere before insert on storage.backup_jobs
      for each row execute function public.elsewhere()`
    try {
      const id = await backUp({ type: 'incremental' })
      await until(() => told(reader).length === 1, 'it is heard')
      const data = { backup_id: id, status: 'failed', error: expect.any(String) }
      expect(told(reader)).toMatchObject([{ type: TYPE, data }])
    } finally {
      await server.admin`drop trigger elsewhere on storage.backup_jobs`
    }
  })

  it('is sent to webhooks that want it, in the format that has a word for it', async () => {
    const got: { path: string | undefined; body: Record<string, unknown> }[] = []
    const receiver = createServer(async (request, response) => {
      got.push({ path: request.url, body: JSON.parse(await text(request)) })
      response.end()
    })
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`
    const hooks = [
      { url: `${url}/wants`, events: [TYPE] },
      { url: `${url}/all` },
      { url: `${url}/bucket`, bucket: 'open' },
      { url: `${url}/supabase`, format: 'supabase' },
    ]
    try {
      for (const hook of hooks) {
        const made = await server.request('POST', '/storage/v1/webhook', {
          body: { ...hook, allow_private: true },
        })
        expect(made.status).toBeLessThan(300)
      }
      const id = await backUp()
      await last()
      await until(() => new Set(got.map(({ path }) => path)).size === 4, 'all have got something')
      await until(() => got.filter(({ path }) => path === '/all').length === 2, 'both have come to one')
      const backups = got.filter(({ body }) => JSON.stringify(body).includes('backup'))
      expect(backups.map(({ path }) => path).sort()).toEqual(['/all', '/wants'])
      expect(backups[0]?.body).toEqual({
        type: TYPE,
        timestamp: expect.any(String),
        data: expect.objectContaining({ type: TYPE, data: expect.objectContaining({ backup_id: id }) }),
      })
    } finally {
      receiver.closeAllConnections()
      await new Promise((resolve) => receiver.close(resolve))
    }
  })
})

describeWithNats('the end of a backup, by NATS,', () => {
  it('is a subject of its own', async () => {
    const nats = await startNats()
    const server = await startPublishing(`nats://${nats.host}`)
    try {
      const heard = await hear(await nats.client(), TYPE)
      await server.request('POST', '/storage/v1/backup', { body: {} })
      await until(() => heard.length === 1, 'it is heard')
      expect(heard[0]).toMatchObject({ subject: TYPE, event: { type: TYPE, data: { status: 'completed' } } })
    } finally {
      await server.close()
      await nats.remove()
    }
  })
})
