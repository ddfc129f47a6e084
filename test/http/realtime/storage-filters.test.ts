import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { readBlocks } from '../../docs/blocks.ts'
import { newFolder } from '../../support/command.ts'
import { removeAtEnd } from '../../support/daemon.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type RawClient, RealtimeClients, subscribed } from './clients.ts'

let server: TestServer
let bucket: string
let other: string
/** Nobody but the service may read it. */
let hidden: string
const clients = new RealtimeClients(() => server)
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  const run = randomUUID()
  ;[bucket, other, hidden] = [`b-${run}`, `o-${run}`, `h-${run}`]
  await server.createBucket(bucket, { policy: 'public' })
  await server.createBucket(other, { policy: 'public' })
  await server.createBucket(hidden)
})
afterEach(() => clients.close())

async function upload(place: string): Promise<void> {
  const response = await server.request('POST', `/storage/v1/object/${place}`, { body: place })
  expect(response.status).toBe(201)
}

async function remove(place: string): Promise<void> {
  expect((await server.request('DELETE', `/storage/v1/object/${place}`)).ok).toBe(true)
}

interface Told {
  type: string
  bucket: string
  path: string
}

const placeOf = ({ type, bucket: at, path }: Told) => `${type.split('.')[2]} ${at}/${path}`

describe('the helper of docs/events.md', () => {
  type StorageChannel = (client: SupabaseClient, name: string, storage: object[]) => RealtimeChannel
  let storageChannel: StorageChannel
  let removeFolder: () => Promise<void>
  beforeAll(async () => {
    const block = readBlocks('docs/events.md').find(({ text }) => text.includes('function storageChannel('))
    const folder = await newFolder()
    removeFolder = removeAtEnd(folder)
    const path = join(folder, 'storage-channel.mjs')
    await writeFile(path, `${block?.text}\nexport { storageChannel }\n`)
    storageChannel = (await import(pathToFileURL(path).href)).storageChannel
  })
  afterAll(() => removeFolder?.())

  it('lets supabase-js hear of one bucket, of one folder, by kind; also with a fresh token, and once it is back', async () => {
    const app = await clients.app()
    const heard: string[] = []
    const channel = storageChannel(app, 'photos', [
      { event: 'storage.object.created', bucket, prefix: 'users/1/' },
      { event: '*', bucket: other },
      { event: '*', bucket: hidden },
    ]).on('broadcast', { event: '*' }, ({ payload }) => heard.push(placeOf(payload as Told)))
    await subscribed(channel)
    const change = async (round: number) => {
      heard.length = 0
      await upload(`${bucket}/users/1/${round}.txt`)
      await upload(`${bucket}/users/2/${round}.txt`)
      await remove(`${bucket}/users/1/${round}.txt`)
      await upload(`${hidden}/${round}.txt`)
      await upload(`${other}/${round}.txt`)
      await remove(`${other}/${round}.txt`)
      await until(() => heard.includes(`deleted ${other}/${round}.txt`), 'the last is heard')
      expect(heard).toEqual([
        `created ${bucket}/users/1/${round}.txt`,
        `created ${other}/${round}.txt`,
        `deleted ${other}/${round}.txt`,
      ])
    }
    await change(1)
    await app.realtime.setAuth(await server.token('ann'))
    await change(2)
    await app.realtime.disconnect()
    app.realtime.connect()
    await until(() => app.realtime.isConnected() && channel.state === 'joined', 'it has joined again')
    await change(3)
  })

  it('tells its app why a list is refused', async () => {
    const app = await clients.app()
    const channel = storageChannel(app, 'photos', [{ event: 'created' }])
    await expect(subscribed(channel)).rejects.toThrow('payload/config/storage/0/event')
  })
})

describe('of a join with config.storage', () => {
  /** What is sent by raw names on a topic, until a last event that this client hears in another way. */
  async function sent(client: RawClient, topic: string, work: () => Promise<void>): Promise<string[]> {
    const last = `last-${randomUUID()}`
    await client.join('realtime:storage')
    await work()
    await upload(`${other}/${last}`)
    await client.frame(
      ({ topic: at, payload }) => at === 'realtime:storage' && payload.path === last,
      'the last',
    )
    return client.frames
      .filter((frame) => frame.topic === topic && frame.event.startsWith('storage.object'))
      .map(({ payload }) => placeOf(payload))
  }

  it('nothing else is sent, and what is sent comes by its name and as a broadcast', async () => {
    const client = await clients.raw()
    await client.join('realtime:x', {
      config: {
        storage: [
          { bucket, event: null },
          { bucket, prefix: 'a' },
        ],
      },
    })
    const told = await sent(client, 'realtime:x', async () => {
      await upload(`${other}/a.txt`)
      await upload(`${bucket}/a.txt`)
    })
    expect(told).toEqual([`created ${bucket}/a.txt`])
    const frames = client.frames.filter(({ topic }) => topic === 'realtime:x').map(({ event }) => event)
    expect(frames).toEqual(['phx_reply', 'broadcast', 'storage.object.created'])
  })

  it('a channel of a bucket hears what both its name and its list say', async () => {
    const client = await clients.raw()
    const topic = `realtime:storage:${bucket}`
    const storage = [{ prefix: 'a' }, { event: 'storage.object.deleted' }]
    await client.join(topic, { config: { storage } })
    const told = await sent(client, topic, async () => {
      await upload(`${other}/a.txt`)
      await upload(`${bucket}/a.txt`)
      await upload(`${bucket}/b.txt`)
      await remove(`${bucket}/b.txt`)
    })
    expect(told).toEqual([`created ${bucket}/a.txt`, `deleted ${bucket}/b.txt`])
  })

  it('changes of rows beside it are narrowed by their own filters alone', async () => {
    const client = await clients.raw()
    const postgres_changes = [
      { event: '*', schema: 'storage', table: 'objects', filter: `bucket_id=eq.${other}` },
    ]
    await client.join('realtime:x', { config: { postgres_changes, storage: [{ bucket }] } })
    const told = await sent(client, 'realtime:x', async () => {
      await upload(`${bucket}/a.txt`)
      await upload(`${other}/b.txt`)
    })
    expect(told).toEqual([`created ${bucket}/a.txt`])
    const rows = client.frames.flatMap(({ payload }) => payload.data?.record?.name ?? [])
    expect(rows).toContain('b.txt')
    expect(rows).not.toContain('a.txt')
  })

  it('a move is told at both of its places, and as a deletion where the new one is hidden', async () => {
    const client = await clients.raw()
    await client.join('realtime:x', { config: { storage: [{ bucket }] } })
    const move = (name: string, to: string) =>
      server.request('POST', '/storage/v1/object/move', {
        body: { bucketId: bucket, sourceKey: name, destinationBucket: to, destinationKey: name },
      })
    const told = await sent(client, 'realtime:x', async () => {
      await upload(`${bucket}/a.txt`)
      await upload(`${bucket}/b.txt`)
      await move('a.txt', other)
      await move('b.txt', hidden)
    })
    expect(told).toEqual([
      `created ${bucket}/a.txt`,
      `created ${bucket}/b.txt`,
      `updated ${other}/a.txt`,
      `deleted ${bucket}/b.txt`,
    ])
    expect(JSON.stringify(client.frames)).not.toContain(hidden)
  })
})

describe('whoever joins with more than anybody needs', () => {
  const reasonOf = (frame: { payload: { response: { reason?: string } } }) => frame.payload.response.reason

  it('of filters, in one join or in many, is told so, and everybody else is served', async () => {
    const [greedy, listener] = [await clients.raw(), await clients.raw()]
    await listener.join(`realtime:storage:${bucket}`)
    // Not far from as many as a frame may hold.
    for (const one of ['{}', 'null', '[]', '1', `{"bucket":"${'x'.repeat(1025)}"}`]) {
      const list = JSON.parse(`[${Array(Math.min(9000, Math.floor(60_000 / (one.length + 1)))).fill(one)}]`)
      const reply = await greedy.join('realtime:x', { config: { storage: list } })
      expect(reasonOf(reply), one.slice(0, 10)).toContain('payload/config/storage')
    }
    const many = { config: { storage: Array(100).fill({ bucket }) } }
    const replies = [
      await greedy.join('realtime:1', many),
      await greedy.join('realtime:2', many),
      await greedy.join('realtime:3', { config: { storage: [{}] } }),
    ]
    expect(replies.map(reasonOf)).toEqual([
      undefined,
      undefined,
      expect.stringContaining('at most 200 values'),
    ])
    await upload(`${bucket}/a.txt`)
    await listener.event('storage.object.created')
  })

  it('of long names fills its own memory alone, and too large a frame ends its connection', async () => {
    const client = await clients.raw()
    const long = { config: { storage: Array(50).fill({ prefix: 'x'.repeat(1000) }) } }
    const reasons: (string | undefined)[] = []
    for (let count = 0; count < 5; count++)
      reasons.push(reasonOf(await client.join(`realtime:${count}`, long)))
    expect(reasons).toEqual([...Array(4).fill(undefined), expect.stringContaining('at most 200 values')])
    expect(await closedFor(client, Array(80).fill({ prefix: 'x'.repeat(1000) }))).toBe(1009)
    expect(await closedFor(await clients.raw(), Array(21_000).fill({}))).toBe(1007)
  })

  async function closedFor(client: RawClient, storage: object[]): Promise<number | undefined> {
    client.socket.on('error', () => {})
    client.send('realtime:x', 'phx_join', { config: { storage } })
    return client.closed()
  }
})
