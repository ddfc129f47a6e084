import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Random } from '../../faults/random.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Behaviour, type Receiver, startReceiver, verified } from '../../support/webhook-receiver.ts'
import {
  EAGER_WEBHOOKS,
  eventsOf,
  type HookJson,
  hookState,
  makeHook,
  takenEvents,
} from '../../support/webhooks.ts'

let server: TestServer
let receiver: Receiver
let bucket: string
beforeAll(async () => {
  server = await startTestServer(EAGER_WEBHOOKS)
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  receiver = await startReceiver()
})
afterEach(async () => {
  const hooks = (await (await server.request('GET', '/webhook')).json()) as HookJson[]
  for (const { id } of hooks) await server.request('DELETE', `/webhook/${id}`)
  await receiver.close()
})

const put = async (name: string, body = name) => {
  const response = await server.request('PUT', `/object/${bucket}/${name}`, {
    body,
    headers: { 'content-type': 'text/plain' },
  })
  expect(response.ok).toBe(true)
}
const move = (from: string, to: string) =>
  server.request('POST', '/object/move', { body: { bucketId: bucket, sourceKey: from, destinationKey: to } })

/** Waits until each event of the bucket was taken, and checks that nothing of one place came out of order. */
async function allIsTaken() {
  const events = await eventsOf(server, bucket)
  const ids = new Set(events.map(({ id }) => id))
  await until(
    () => takenEvents(receiver).filter(({ id }) => ids.has(id)).length === ids.size,
    'all was taken',
  )
  return events
}

function expectOrder() {
  const last = new Map<string, number>()
  for (const { data } of receiver.taken()) {
    const { id, path, old_path } = data as { id: number; path: string; old_path: string | null }
    for (const place of [path, old_path ?? path]) {
      expect(id).toBeGreaterThanOrEqual(last.get(place) ?? 0)
      last.set(place, id)
    }
  }
}

describe('a webhook', () => {
  it('gets what happens, signed as the standard’s own library wants it', async () => {
    const { secret } = await makeHook(server, `${receiver.url}/hook?a=1`)
    await put('a.txt', 'hello')
    const events = await allIsTaken()
    const [delivery] = receiver.deliveries
    if (!delivery) throw new Error('nothing came')
    expect(delivery.path).toBe('/hook?a=1')
    expect(delivery.headers['webhook-id']).toBe(`evt_${events[0]?.id}`)
    expect(verified(delivery, secret)).toMatchObject({
      type: 'storage.object.created',
      timestamp: expect.any(String),
      data: {
        id: events[0]?.id,
        bucket,
        bucket_id: bucket,
        path: 'a.txt',
        size: 5,
        content_type: 'text/plain',
        old_path: null,
        object_id: expect.stringMatching(/^[\da-f-]{36}$/),
      },
    })
    const other = `whsec_${Buffer.alloc(32).toString('base64')}`
    expect(() => verified(delivery, other)).toThrow()
  })

  it('gets nothing that happened before it was made, and only what it asks for', async () => {
    await put('before.txt')
    await makeHook(server, receiver.url, { events: ['storage.object.deleted'], bucket })
    await makeHook(server, `${receiver.url}/elsewhere`, { bucket: 'elsewhere' })
    await put('a.txt')
    await server.request('DELETE', `/object/${bucket}/before.txt`)
    await until(() => receiver.deliveries.length > 0, 'the deletion came')
    expect(receiver.deliveries.map(({ path, json }) => [path, json.type])).toEqual([
      ['/', 'storage.object.deleted'],
    ])
  })

  it('can be changed: it goes on where it was', async () => {
    receiver.behaviour = ({ path }) => (path === '/old' ? 500 : 200)
    const hook = await makeHook(server, `${receiver.url}/old`, { bucket })
    await put('a.txt')
    await until(async () => (await hookState(server, hook.id)).pending === 1, 'it failed')
    const body = { url: `${receiver.url}/new` }
    expect((await server.request('PATCH', `/webhook/${hook.id}`, { body })).status).toBe(200)
    await put('b.txt')
    await allIsTaken()
    expect(new Set(receiver.deliveries.filter(({ isTaken }) => isTaken).map(({ path }) => path))).toEqual(
      new Set(['/new']),
    )
  })
})

/** A receiver takes nothing at first, for a reason that its webhook says, and then everything. */
async function getsAllLater(behaviour: Behaviour, sentence: string): Promise<void> {
  const hook = await makeHook(server, receiver.url)
  let isBroken = true
  receiver.behaviour = () => (isBroken ? behaviour : 200)
  for (let round = 0; round < 2; round++) for (const name of ['a', 'b', 'c']) await put(name, `${round}`)
  await move('a', 'd')
  await put('a', 'another one')
  await until(async () => (await hookState(server, hook.id)).last_error === sentence, `it ${sentence}`)
  expect(receiver.taken()).toEqual([])
  isBroken = false
  await allIsTaken()
  expectOrder()
  expect(receiver.deliveries.every(({ path }) => path === '/')).toBe(true)
  await until(async () => (await hookState(server, hook.id)).pending === 0, 'nothing is pending')
  expect(await hookState(server, hook.id)).toMatchObject({ dead: 0, last_error: null, last_status: null })
}

describe('a receiver that', () => {
  it.each<[what: string, behaviour: Behaviour, sentence: string]>([
    ['answers with an error', 500, 'answers 500'],
    ['breaks the connection', 'drops', 'cannot be reached: UND_ERR_SOCKET'],
    [
      'redirects',
      { status: 307, headers: { location: '/elsewhere' } },
      'redirects with 307, which is not followed',
    ],
  ])('%s gets it all later, in order for each object', (_what, behaviour, sentence) =>
    getsAllLater(behaviour, sentence),
  )

  it('fails at random gets everything, in order for each object', async () => {
    const random = new Random(6)
    await makeHook(server, receiver.url)
    receiver.behaviour = () => random.pick([200, 200, 200, 500, 'drops'])
    const names = ['a', 'b', 'c', 'd', 'e', 'f'] as const
    await Promise.all(
      names.map(async (name) => {
        for (let round = 0; round < 5; round++) await put(name, `${round}`)
        await move(name, `moved-${name}`)
        await server.request('DELETE', `/object/${bucket}/moved-${name}`)
      }),
    )
    expect(await allIsTaken()).toHaveLength(42)
    expectOrder()
  })

  it('cannot take one object gets all others meanwhile', async () => {
    const hook = await makeHook(server, receiver.url)
    receiver.behaviour = ({ json }) => ((json.data as { path: string }).path === 'bad' ? 422 : 200)
    await put('bad', '1')
    await put('bad', '2')
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']) await put(name)
    await until(() => takenEvents(receiver).length === 9, 'the others were taken')
    const ids = receiver.deliveries.map(({ json }) => json.data as { id: number; path: string })
    const [first, second] = (await eventsOf(server, bucket)).map(({ id }) => id)
    expect(ids.some(({ id }) => id === first)).toBe(true)
    expect(ids.some(({ id }) => id === second)).toBe(false)
    expect(await hookState(server, hook.id)).toMatchObject({ pending: 2, last_status: 422 })
  })

  it('wants to be left alone for an hour is, until its webhook is changed', async () => {
    const hook = await makeHook(server, receiver.url)
    receiver.behaviour = () => ({ status: 429, headers: { 'retry-after': '3600' } })
    await put('a')
    await until(async () => (await hookState(server, hook.id)).last_status === 429, 'it was asked once')
    receiver.behaviour = () => 200
    await makeHook(server, `${receiver.url}/other`)
    const other = () => receiver.deliveries.filter(({ path }) => path === '/other')
    for (const [index, name] of ['b', 'c', 'd'].entries()) {
      await put(name)
      await until(() => other().length > index, 'the other webhook has it')
    }
    expect(receiver.deliveries.filter(({ path }) => path === '/')).toHaveLength(1)
    const [wait] = await server.admin`
      select next_attempt_at > now() + interval '50 minutes' as is_long from storage.webhook_deliveries`
    expect(wait?.is_long).toBe(true)
    await server.request('PATCH', `/webhook/${hook.id}`, { body: { events: [] } })
    await until(() => receiver.taken().length === 7, 'the first has them all')
    expectOrder()
  })

  it('is down is asked now and then, and its uploads and other webhooks go on', async () => {
    const other = await startReceiver()
    try {
      const hook = await makeHook(server, receiver.url)
      await makeHook(server, other.url)
      receiver.behaviour = () => 500
      for (let i = 0; i < 60; i++) await put(`file-${i}`)
      await until(() => takenEvents(other).length === 60, 'the other has all')
      const isNoticed = () =>
        server.logs.some(({ msg, webhook }) => webhook === hook.id && msg?.includes('takes nothing'))
      await until(isNoticed, 'it is noticed')
      // Those that were under way then, and the few that see whether it is back.
      await until(async () => (await hookState(server, hook.id)).pending > 0, 'something is pending')
      expect((await hookState(server, hook.id)).pending).toBeLessThan(30)
      receiver.behaviour = () => 200
      await allIsTaken()
      expectOrder()
    } finally {
      await other.close()
    }
  })
})

describe('a receiver that does not answer, and a server that is soon tired of it', () => {
  let patient: TestServer
  beforeAll(async () => {
    patient = server
    server = await startTestServer({ ...EAGER_WEBHOOKS, STORAGE_WEBHOOK_TIMEOUT: '300ms' })
  })
  afterAll(async () => {
    await server.close()
    server = patient
  })

  it('gets it all later, in order for each object', () => getsAllLater('stalls', 'does not answer in time'))
})

it('a receiver that is back gets at once all that had to wait for it', async () => {
  const hook = await makeHook(server, receiver.url)
  receiver.behaviour = () => 500
  for (let i = 0; i < 8; i++) await put(`file-${i}`)
  const isNoticed = () =>
    server.logs.some(({ msg, webhook }) => webhook === hook.id && msg?.includes('takes nothing'))
  await until(isNoticed, 'it is down')
  await until(async () => (await hookState(server, hook.id)).pending >= 5, 'some are pending')
  await server.admin`update storage.webhook_deliveries set next_attempt_at = now() + interval '1 day'`
  receiver.behaviour = () => 200
  await put('one-more')
  await allIsTaken()
})

it('an event of a rolled-back change never comes', async () => {
  await makeHook(server, receiver.url)
  await server.admin
    .begin(async (sql) => {
      await sql`insert into storage.objects (bucket_id, name) values (${bucket}, 'never')`
      throw new Error('changed my mind')
    })
    .catch(() => {})
  await server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'by-sql')`
  await allIsTaken()
  expect(takenEvents(receiver).map(({ path }) => path)).toEqual(['by-sql'])
})
