import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { type EventReader, openEvents } from '../support/event-stream.ts'
import { type Mishap, openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

let proxy: PostgresProxy
let server: TestServer
let bucket: string
const readers: EventReader[] = []

beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
})
afterAll(async () => {
  await server?.close()
  await proxy?.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { public: true })
})
afterEach(() => {
  proxy.decide = undefined
  for (const reader of readers.splice(0)) reader.close()
})

async function open(token = server.keys.serviceKey) {
  const reader = await openEvents(server, { token, query: `?bucket=${bucket}` })
  readers.push(reader)
  return reader
}
const insert = (name: string) =>
  server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, ${name})`

it('listeners with equal claims cost one question together', async () => {
  const anonymous = await Promise.all(Array.from({ length: 40 }, () => open(server.keys.anonKey)))
  const users = await Promise.all(['u1', 'u2'].map(async (user) => open(await server.token(user))))
  proxy.arm(0)
  await insert('a')
  for (const reader of [...anonymous, ...users]) await reader.hears(1)
  const questions = proxy.roundTrips.filter((about) => about.includes('readable_events')).length
  expect(questions).toBeGreaterThanOrEqual(3) // the anonymous ones, and two users
  expect(questions).toBeLessThanOrEqual(6) // each connection prepares the first of its questions
})

it('what happens while the database cannot be reached is heard afterwards, once', async () => {
  const reader = await open()
  await insert('before')
  await reader.hears(1)
  proxy.mode = 'refuse'
  proxy.cutAll()
  await insert('meanwhile')
  proxy.mode = 'pass'
  await insert('after')
  expect(await reader.hears(3)).toEqual(
    ['before', 'meanwhile', 'after'].map((name) => `object.created ${name}`),
  )
  await insert('end')
  expect(await reader.hears(4)).toHaveLength(4)
})

it.each<[question: string, kind: Exclude<Mishap['kind'], 'error'>]>([
  ['order_events', 'after'],
  ['read_events', 'before'],
  ['readable_events', 'behind'],
])('an answer that is lost loses no event and doubles none: %s, %s', async (question, kind) => {
  const reader = await open()
  let isLost = false
  proxy.decide = (about) => {
    if (isLost || !about.includes(question)) return undefined
    isLost = true
    return { kind }
  }
  await insert('a')
  await insert('b')
  expect(await reader.hears(2)).toEqual(['object.created a', 'object.created b'])
  await insert('c')
  expect(await reader.hears(3)).toHaveLength(3)
  expect(isLost).toBe(true)
})
