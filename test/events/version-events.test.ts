import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { orderEvents } from '../../src/database/queries/events.ts'
import { type EventReader, openEvents } from '../support/event-stream.ts'
import { describeWithNats, hear, startNats, startPublishing } from '../support/nats.ts'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { VersionSteps } from '../support/version-steps.ts'
import { until } from '../support/wait.ts'
import { startReceiver } from '../support/webhook-receiver.ts'
import { EAGER_WEBHOOKS, makeHook } from '../support/webhooks.ts'

/** What is told where versions are kept (docs/events.md). */

let server: TestServer
let steps: VersionSteps
let bucket: string
const readers: EventReader[] = []
beforeAll(async () => {
  server = await startTestServer(EAGER_WEBHOOKS)
  steps = new VersionSteps(server)
})
beforeEach(async () => {
  bucket = await steps.newBucket()
})
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close()
})
afterAll(() => server.close())

async function listen(query = '', token?: string): Promise<EventReader> {
  const reader = await openEvents(server, {
    query: `?bucket=${bucket}${query}`,
    ...(token !== undefined && { token }),
  })
  readers.push(reader)
  return reader
}

it('what is overwritten or deleted is told of as a version, behind what has become of the name', async () => {
  const reader = await listen()
  const [first, second] = await steps.uploaded('a', 'one', 'twelve')
  await steps.ask('DELETE', `/object/${bucket}/a`)
  expect(await reader.hears(5)).toEqual([
    'object.created a',
    'object.updated a',
    'version.created a',
    'object.deleted a',
    'version.created a',
  ])
  const [created, , one, , two] = reader.events()
  expect([one?.version, two?.version]).toEqual([first, second])
  expect(one).toMatchObject({
    object_id: created?.object_id,
    size: 3,
    checksum: created?.checksum,
    data: {
      version_number: 1,
      is_versioned: true,
      comment: null,
      created_at: expect.any(String),
      archived_at: expect.any(String),
    },
  })
  expect(two).toMatchObject({ size: 6, data: { version_number: 2 } })
})

it('a move leaves a version where it was', async () => {
  await steps.uploaded('a', 'one')
  const reader = await listen()
  const body = { bucketId: bucket, sourceKey: 'a', destinationKey: 'b' }
  await steps.json('POST', '/object/move', { body })
  expect(await reader.hears(2)).toEqual(['object.updated b', 'version.created a'])
  expect(reader.events()[0]).toMatchObject({ old_path: 'a' })
})

it('plain SQL does, too, and what is kept nowhere is none', async () => {
  await steps.uploaded('a', 'one')
  await steps.setStatus('SUSPENDED')
  await steps.uploaded('null', 'one')
  const reader = await listen()
  await steps.uploaded('null', 'two')
  await server.admin`delete from storage.objects where bucket_id = ${bucket} and name = 'a'`
  await orderEvents(server.database)
  expect(await reader.hears(3)).toEqual(['object.updated null', 'object.deleted a', 'version.created a'])
})

it('a version that is deleted for good, over one that moves up, is a change of what the name has', async () => {
  const [first, second] = await steps.uploaded('a', 'one', 'two')
  const reader = await listen()
  await steps.json('DELETE', `/object/${bucket}/a?versionId=${second}`)
  await steps.json('DELETE', `/object/${bucket}/a?versionId=${first}`)
  expect(await reader.hears(2)).toEqual(['object.updated a', 'object.deleted a'])
  expect(reader.events().map(({ version }) => version)).toEqual([first, first])
})

it('a marker that is taken back brings the name back; one that is left below tells nothing', async () => {
  const [first] = await steps.uploaded('a', 'one')
  await steps.ask('DELETE', `/object/${bucket}/a`)
  const reader = await listen()
  const markers = async () =>
    server.admin<{ version: string }[]>`
      select version from storage.object_versions where bucket_id = ${bucket} and is_delete_marker`
  await steps.json('DELETE', `/object/${bucket}/a?versionId=${(await markers())[0]?.version}`)
  expect(await reader.hears(1)).toEqual(['object.created a'])
  await steps.ask('DELETE', `/object/${bucket}/a`)
  const [second] = await steps.uploaded('a', 'two')
  await steps.json('DELETE', `/object/${bucket}/a?versionId=${second}`)
  expect(await reader.hears(5)).toEqual([
    'object.created a',
    'object.deleted a',
    'version.created a',
    'object.created a',
    'object.deleted a',
  ])
  expect(reader.events()[4]?.version).not.toBe(first)
})

it('is heard by who may read the object, and can be asked for alone', async () => {
  const mine = `create policy mine on storage.objects for select to authenticated using (name like 'open/%')`
  await withPolicies(server.admin, mine, async () => {
    const reader = await listen('&type=storage.version.created', await server.token('somebody'))
    await steps.uploaded('closed/a', 'one', 'two')
    await steps.uploaded('open/a', 'one', 'two')
    expect(await reader.hears(1)).toEqual(['version.created open/a'])
  })
})

it('goes to webhooks that ask for it, and not as Supabase tells of objects', async () => {
  const receiver = await startReceiver()
  const other = await startReceiver()
  try {
    await makeHook(server, receiver.url, { events: ['storage.version.created'], bucket })
    await makeHook(server, other.url, { format: 'supabase', secret: 'hunter2', bucket })
    const [first] = await steps.uploaded('a', 'one', 'two')
    await until(() => receiver.deliveries.length > 0 && other.deliveries.length >= 2, 'both have heard')
    await steps.uploaded('b', 'one')
    await until(() => other.deliveries.length >= 3, 'the last one is told')
    expect(receiver.deliveries.map(({ json }) => json)).toMatchObject([
      { type: 'storage.version.created', data: { path: 'a', version: first } },
    ])
    expect(other.deliveries).toHaveLength(3)
  } finally {
    await receiver.close()
    await other.close()
  }
})

describeWithNats('NATS', () => {
  it('has a subject for it', async () => {
    const nats = await startNats()
    const publishing = await startPublishing(`nats://${nats.host}`)
    try {
      const heard = await hear(await nats.client(), 'storage.version.>')
      const there = new VersionSteps(publishing)
      await there.newBucket()
      const [first] = await there.uploaded('a', 'one', 'two')
      await until(() => heard.length > 0, 'it is heard')
      expect(heard).toMatchObject([
        { subject: 'storage.version.created', event: { path: 'a', version: first } },
      ])
    } finally {
      await publishing.close()
      await nats.remove()
    }
  })
})
