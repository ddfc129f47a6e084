import { afterEach, beforeEach, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { type Served, serveOn } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Receiver, startReceiver } from '../../support/webhook-receiver.ts'
import { hookState, makeHook, takenEvents } from '../../support/webhooks.ts'

let database: TestDatabase
let receiver: Receiver
const servers = new Set<Served>()
beforeEach(async () => {
  database = await createTestDatabase()
  receiver = await startReceiver()
})
afterEach(async () => {
  for (const server of servers) await stop(server)
  await receiver.close()
  await database.drop()
})

/** Servers that have nothing in common but the database. */
async function start(): Promise<Served> {
  const server = await serveOn(database.connect())
  servers.add(server)
  return server
}
async function stop(server: Served) {
  servers.delete(server)
  await server.close()
}

/** By plain SQL, so that it can be done when no server runs. */
async function put(...names: string[]) {
  await database.admin`insert into storage.buckets (id, name) values ('files', 'files') on conflict do nothing`
  for (const name of names) {
    await database.admin`insert into storage.objects (bucket_id, name) values ('files', ${name})`
  }
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}-${i}`)
const paths = () => takenEvents(receiver).flatMap(({ path }) => path ?? [])
const untilTaken = (wanted: string[]) =>
  until(() => wanted.every((path) => paths().includes(path)), 'all was taken')

it('two servers send each event once, and one goes on when the other stops', async () => {
  const first = await start()
  await makeHook(first, receiver.url)
  await put('zero')
  await untilTaken(['zero'])
  const second = await start()
  await put(...names('both', 20))
  await untilTaken(names('both', 20))
  await stop(first)
  await put(...names('one', 20))
  await untilTaken(names('one', 20))
  expect(receiver.deliveries).toHaveLength(takenEvents(receiver).length)
  expect(await hookState(second, (await hooks(second))[0] ?? '')).toMatchObject({ pending: 0, dead: 0 })
})

it('a server that stops waits for what is under way, which no other sends again', async () => {
  const first = await start()
  await makeHook(first, receiver.url, { events: ['storage.object.created'] })
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  receiver.behaviour = async () => {
    await released
    return 200
  }
  const all = names('file', 30)
  await put(...all)
  await until(() => receiver.deliveries.length > 0, 'something is under way')
  const stopping = stop(first)
  release()
  await stopping
  const sent = receiver.deliveries.length
  expect(sent).toBeLessThan(30)
  await start()
  await untilTaken(all)
  expect(receiver.deliveries).toHaveLength(30)
})

it('what happens while no server runs is sent by the next one, and so is what had failed', async () => {
  const first = await start()
  await makeHook(first, receiver.url)
  receiver.behaviour = () => 500
  await put('failed')
  await until(
    () => receiver.deliveries.some(({ json }) => json.type === 'storage.object.created'),
    'it failed',
  )
  await stop(first)
  receiver.behaviour = () => 200
  await put(...names('meanwhile', 10))
  const second = await start()
  await untilTaken(names('meanwhile', 10))
  const [hook] = await hooks(second)
  expect(await hookState(second, hook ?? '')).toMatchObject({ pending: 2, last_error: 'answers 500' })
  // Its own time would come in a few seconds; a change makes it due.
  await second.request('PATCH', `/webhook/${hook}`, { body: { bucket: null } })
  await untilTaken(['failed'])
})

it('what one server is told of a webhook, the other does', async () => {
  const first = await start()
  const { id } = await makeHook(first, `${receiver.url}/old`)
  await put('a')
  await untilTaken(['a'])
  const second = await start()
  const body = { url: `${receiver.url}/new`, events: ['storage.object.created'] }
  expect((await second.request('PATCH', `/webhook/${id}`, { body })).status).toBe(200)
  let count = 0
  await until(async () => {
    await put(`b-${count++}`)
    return receiver.deliveries.some(({ path }) => path === '/new')
  }, 'it is sent to the new place')
  const old = receiver.deliveries.filter(({ path }) => path === '/old').length
  expect((await second.request('DELETE', `/webhook/${id}`)).status).toBe(204)
  await makeHook(second, `${receiver.url}/other`)
  await put('last')
  await untilTaken(['last'])
  expect(receiver.deliveries.filter(({ path }) => path === '/old')).toHaveLength(old)
})

async function hooks(server: Served): Promise<string[]> {
  const list = (await (await server.request('GET', '/webhook')).json()) as { id: string }[]
  return list.map(({ id }) => id)
}
