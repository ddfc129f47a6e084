import { randomUUID } from 'node:crypto'
import { EventSource } from 'eventsource'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type EventReader, openEvents, type ReaderOptions } from '../../support/event-stream.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let bucket: string
const readers: EventReader[] = []

beforeAll(async () => {
  server = await startTestServer({ STORAGE_EVENTS_KEEPALIVE: '100ms' })
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close()
})

async function open(options: ReaderOptions = {}) {
  const reader = await openEvents(server, { query: `?bucket=${bucket}`, ...options })
  readers.push(reader)
  return reader
}
const put = (name: string, body = 'one', to = bucket) =>
  server.request('PUT', `/object/${to}/${name}`, { body, headers: { 'content-type': 'text/plain' } })
const remove = (name: string) => server.request('DELETE', `/object/${bucket}/${name}`)

describe('a stream of events', () => {
  it('of a bucket that is not there is 404, but for who comes back and may hear that it is gone', async () => {
    for (const method of ['GET', 'HEAD']) {
      const response = await server.request(method, '/events?bucket=nowhere')
      expect([method, response.status]).toEqual([method, 404])
    }
    const answer = await (await server.request('GET', '/events?bucket=nowhere')).json()
    expect(answer).toMatchObject({ code: 'NoSuchBucket' })
    // Existence is all that is asked: who may not see a bucket may still see objects in it.
    expect((await open({ token: server.keys.anonKey })).response.status).toBe(200)
    const reader = await open()
    const gone = `?bucket=${bucket}`
    await server.request('DELETE', `/bucket/${bucket}`)
    await reader.hears(1)
    const position = Number(reader.events()[0]?.id)
    const back = await open({ query: gone, lastEventId: position - 1 })
    expect(await back.hears(1)).toEqual([`bucket.deleted ${bucket}`])
  })

  it('tells each change once it is committed, in order, with all that is known of it', async () => {
    const reader = await open()
    expect(reader.response.headers.get('content-type')).toBe('text/event-stream')
    const stored = (await (await put('a.txt')).json()) as Record<string, string>
    await put('a.txt', 'twelve')
    await server.request('POST', '/object/move', {
      body: { bucketId: bucket, sourceKey: 'a.txt', destinationKey: 'b.txt' },
    })
    await remove('b.txt')
    expect(await reader.hears(4)).toEqual([
      'object.created a.txt',
      'object.updated a.txt',
      'object.updated b.txt',
      'object.deleted b.txt',
    ])
    const [created, , moved] = reader.events()
    expect(created).toEqual({
      id: expect.any(Number),
      type: 'storage.object.created',
      bucket,
      bucket_id: bucket,
      path: 'a.txt',
      object_id: stored.Id,
      old_bucket: null,
      old_path: null,
      size: 3,
      content_type: 'text/plain',
      checksum: stored.checksum,
      version: expect.stringMatching(/^[\da-f-]{36}$/),
      owner_id: null,
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
    })
    expect(moved).toMatchObject({ old_bucket: bucket, old_path: 'a.txt' })
    // One object, whatever it is called and holds.
    expect(reader.events().map((event) => event.object_id)).toEqual(Array(4).fill(stored.Id))
    const ids = reader.events().map((event) => event.id)
    expect(ids).toEqual(ids.toSorted((a, b) => a - b))
    expect(reader.blocks.filter((block) => block.data).map((block) => Number(block.id))).toEqual(ids)
  })

  it('hears of what plain SQL has done, and not of what was taken back', async () => {
    const reader = await open()
    await server.admin
      .begin(async (sql) => {
        await sql`insert into storage.objects (bucket_id, name) values (${bucket}, 'never.txt')`
        throw new Error('changed my mind')
      })
      .catch(() => {})
    await server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'sql.txt')`
    expect(await reader.hears(1)).toEqual(['object.created sql.txt'])
  })

  it('names the objects by their ids, whoever has made or removed them', async () => {
    const reader = await open()
    for (const name of ['a', 'b', 'c', 'd']) await put(name)
    await server.request('POST', '/object/copy', {
      body: { bucketId: bucket, sourceKey: 'a', destinationKey: 'e' },
    })
    await server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'f')`
    const rows = await server.admin<{ id: string; name: string }[]>`
      select id, name from storage.objects where bucket_id = ${bucket} order by name`
    await server.admin`delete from storage.objects where bucket_id = ${bucket} and name = 'f'`
    await server.request('DELETE', `/object/${bucket}`, { body: { prefixes: ['a', 'b'] } })
    await server.request('POST', `/bucket/${bucket}/empty`)
    await reader.hears(12)
    const places = (type: string) =>
      reader.events().flatMap((event) => (event.type === type ? [[event.path, event.object_id]] : []))
    const all = rows.map(({ id, name }) => [name, id])
    expect(all).toHaveLength(6)
    expect(new Set(rows.map(({ id }) => id)).size).toBe(6)
    expect(places('storage.object.created')).toEqual(all)
    expect(places('storage.object.deleted').toSorted()).toEqual(all)
  })

  it('says of a bucket that it is no object, and of an event from before there were ids that it has none', async () => {
    const reader = await open()
    await server.admin`insert into storage.events (type, bucket_id, name)
      values ('storage.object.deleted', ${bucket}, 'old.txt')`
    await server.request('DELETE', `/bucket/${bucket}`)
    await reader.hears(2)
    expect(reader.events()).toMatchObject([
      { path: 'old.txt', object_id: null, bucket_id: bucket },
      { path: null, object_id: null, bucket_id: bucket },
    ])
  })

  it('narrows by bucket, prefix and type', async () => {
    const other = `o-${randomUUID()}`
    const all = await open({ query: '' })
    const here = await open()
    const below = await open({ query: `?bucket=${bucket}&prefix=${encodeURIComponent('users/1/')}` })
    const gone = await open({ query: `?bucket=${bucket}&type=storage.object.deleted,storage.bucket.deleted` })
    await server.createBucket(other)
    await put('x.txt', 'x', other)
    await put('users/1/a.txt')
    await put('users/10/a.txt')
    await remove('users/1/a.txt')
    expect(await all.hears(5)).toEqual([
      `bucket.created ${other}`,
      'object.created x.txt',
      'object.created users/1/a.txt',
      'object.created users/10/a.txt',
      'object.deleted users/1/a.txt',
    ])
    expect(await here.hears(3)).toEqual(all.heard().slice(2))
    expect(await below.hears(2)).toEqual(['object.created users/1/a.txt', 'object.deleted users/1/a.txt'])
    expect(await gone.hears(1)).toEqual(['object.deleted users/1/a.txt'])
  })

  it('goes on after the last event that its reader has had', async () => {
    const first = await open()
    await put('1.txt')
    await put('2.txt')
    await first.hears(2)
    first.close()
    await put('3.txt')
    await remove('1.txt')
    const [one] = first.events()
    const second = await open({ lastEventId: one?.id ?? 0 })
    await put('4.txt')
    expect(await second.hears(4)).toEqual([
      'object.created 2.txt',
      'object.created 3.txt',
      'object.deleted 1.txt',
      'object.created 4.txt',
    ])
  })

  it('names its position before the first event, so that a line lost early loses nothing', async () => {
    const first = await open()
    await until(() => first.blocks.length > 0, 'the stream has begun')
    const { id, data } = first.blocks[0] ?? {}
    first.close()
    expect(data).toBeUndefined()
    await put('meanwhile.txt')
    const second = await open({ lastEventId: id ?? '' })
    expect(await second.hears(1)).toEqual(['object.created meanwhile.txt'])
  })

  it('moves its position on while it is quiet', async () => {
    const reader = await open({ query: `?bucket=${bucket}&type=storage.object.deleted` })
    await until(() => reader.blocks.length > 0, 'the stream has begun')
    const begin = Number(reader.blocks[0]?.id)
    await put('not-asked-for.txt')
    await until(() => reader.blocks.some(({ id }) => Number(id) > begin), 'a later position is told')
    expect(reader.heard()).toEqual([])
  })

  it('says what is lost when a reader comes back after the events were trimmed', async () => {
    const reader = await open({ lastEventId: 999_999_999 })
    await put('a.txt')
    await reader.hears(1)
    expect(reader.blocks.find((block) => block.event === 'storage.events.lost')?.data).toMatch(/999999999/)
  })

  it('speaks to an EventSource, with the key in the URL', async () => {
    const url = `${server.url}/storage/v1/events?bucket=${bucket}&apikey=${server.keys.serviceKey}`
    const source = new EventSource(url)
    try {
      const heard: string[] = []
      source.addEventListener('storage.object.created', ({ data }) => heard.push(JSON.parse(data).path))
      await until(() => source.readyState === source.OPEN, 'the stream is open')
      await put('hello.txt')
      await until(() => heard.length > 0, 'the event is heard')
      expect(heard).toEqual(['hello.txt'])
    } finally {
      source.close()
    }
    expect(JSON.stringify(server.logs)).not.toContain(server.keys.serviceKey)
  })

  it.each([
    ['without a token', { token: null }, /401/],
    ['with a token of nobody', { token: 'x.y.z' }, /40[01]/],
    ['with an unknown type', { query: '?type=storage.object.eaten' }, /400.*type/],
    ['with an id that is none', { lastEventId: 'abc' }, /400.*last-event-id/],
  ])('is refused %s', async (_case, options, message) => {
    await expect(open(options)).rejects.toThrow(message)
  })

  it('ends with its token', async () => {
    const { mintToken } = await import('../../../src/server/keys.ts')
    const token = await mintToken(server.keys.jwtSecret, { role: 'service_role', subject: 'x' }, 2) // whole seconds: 1 may be over already
    const reader = await open({ token })
    await reader.ended
    await put('late.txt')
    expect(reader.heard()).toEqual([])
  })
})
