import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { ServerProcesses } from './server-processes.ts'

/** Uploads with an Idempotency-Key whose server is killed, and which are sent again (decision 0073). */

let servers: ServerProcesses
beforeAll(async () => {
  servers = await ServerProcesses.open()
  await servers.start()
  expect((await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })).status).toBe(201)
})
afterAll(() => servers?.remove())

const BYTES = 'x'.repeat(400_000)

/** An upload whose last byte is not sent yet. */
function begin(key: string) {
  const sent = request(`${servers.line.target}/storage/v1/object/box`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${servers.keys.serviceKey}`,
      'content-type': 'text/plain',
      'content-length': BYTES.length,
      'x-file-name': `${key}.txt`,
      'idempotency-key': key,
    },
  })
  const answered = once(sent, 'response').then(([answer]) => answer as IncomingMessage)
  answered.catch(() => undefined)
  sent.write(BYTES.slice(1))
  return { answered, finish: () => sent.end('x') }
}

async function sendAgain(key: string) {
  const { answered, finish } = begin(key)
  finish()
  const answer = await answered
  const told = (await json(answer)) as Record<string, unknown>
  return { status: answer.statusCode, isReplay: answer.headers['idempotent-replayed'] === 'true', told }
}

const keyRows = () => servers.database.admin`select from strongroom.idempotency_keys where answer is null`
const objects = (key: string) =>
  servers.database.admin<{ id: string }[]>`
    select id from storage.objects where name like ${`%${key}.txt`}`
/** As if half a minute had gone by. */
const nothingIsHeard = () =>
  servers.database.admin`update strongroom.idempotency_keys set held_until = now() where answer is null`

it('in the middle of its bytes: it is in use, then stored once', async () => {
  const key = randomUUID()
  begin(key)
  await until(async () => (await keyRows()).length === 1, 'its key is taken')
  servers.last.signal('SIGKILL')
  await servers.last.ended
  await servers.start()

  expect(await sendAgain(key)).toMatchObject({ status: 409, told: { code: 'IdempotencyKeyInUse' } })
  await nothingIsHeard()
  const again = await sendAgain(key)
  expect(again).toMatchObject({ status: 201, isReplay: false })
  expect(await sendAgain(key)).toEqual({ ...again, isReplay: true })
  expect(await objects(key)).toEqual([{ id: again.told.id }])
})

it('behind the commit, before its answer is kept: it is found, and not stored twice', async () => {
  const key = randomUUID()
  const { admin } = servers.database
  const { finish } = begin(key)
  await until(async () => (await keyRows()).length === 1, 'its key is taken')
  await admin.begin(async (tx) => {
    await tx`select from strongroom.idempotency_keys where answer is null for update`
    finish()
    await until(async () => (await objects(key)).length === 1, 'it is stored')
    const keeping = () => admin<{ pid: number }[]>`
      select pid from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like '%settle_key%' and pid <> pg_backend_pid()`
    await until(async () => (await keeping()).length === 1, 'its answer is being kept')
    servers.last.signal('SIGKILL')
    await servers.last.ended
    // What it has asked for last is not heard of any more either.
    for (const { pid } of await keeping()) await admin`select pg_terminate_backend(${pid})`
    await until(async () => (await keeping()).length === 0, 'nobody keeps its answer')
  })
  const [stored] = await objects(key)
  await servers.start()

  await nothingIsHeard()
  const again = await sendAgain(key)
  expect(again).toMatchObject({ status: 201, isReplay: false, told: { id: stored?.id } })
  expect(await sendAgain(key)).toEqual({ ...again, isReplay: true })
  expect(await objects(key)).toEqual([stored])
})
