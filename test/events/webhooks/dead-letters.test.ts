import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Receiver, startReceiver } from '../../support/webhook-receiver.ts'
import { EAGER_WEBHOOKS, type HookJson, hookState, makeHook, takenEvents } from '../../support/webhooks.ts'

let server: TestServer
let receiver: Receiver
let hook: HookJson
beforeAll(async () => {
  server = await startTestServer({ ...EAGER_WEBHOOKS, STORAGE_WEBHOOK_ATTEMPTS: '2' })
  await server.createBucket('files')
})
afterAll(() => server.close())
beforeEach(async () => {
  receiver = await startReceiver()
  hook = await makeHook(server, receiver.url)
})
afterEach(async () => {
  await server.request('DELETE', `/webhook/${hook.id}`)
  await receiver.close()
})

const put = (name: string, body: string) => server.request('PUT', `/object/files/${name}`, { body })

interface Letter {
  id: number
  event: { id: number; path: string }
  attempts: number
  last_status: number
  last_error: string
}

async function letters(query = ''): Promise<{ items: Letter[]; next: number | null }> {
  const response = await server.request('GET', `/webhook/${hook.id}/dead-letter${query}`)
  expect(response.status).toBe(200)
  return (await response.json()) as { items: Letter[]; next: number | null }
}

async function replay(body: object = {}): Promise<unknown> {
  const response = await server.request('POST', `/webhook/${hook.id}/dead-letter/replay`, { body })
  expect(response.status).toBe(200)
  return response.json()
}

const untilDead = (count: number) =>
  until(async () => (await hookState(server, hook.id)).dead === count, `there are ${count} dead letters`)

/** Three dead letters, of three objects. */
async function makeDead(): Promise<number[]> {
  receiver.behaviour = () => 503
  for (const name of ['a', 'b', 'c']) await put(name, name)
  await untilDead(3)
  return (await letters()).items.map(({ id }) => id)
}

describe('an event that was tried too often is a dead letter', () => {
  it('which can be looked at, page by page', async () => {
    const ids = await makeDead()
    expect((await letters()).items.map(({ event }) => event.path)).toEqual(['a', 'b', 'c'])
    expect((await letters()).items[0]).toMatchObject({
      attempts: 2,
      last_status: 503,
      last_error: 'answers 503',
    })
    const first = await letters('?limit=2')
    expect(first).toMatchObject({ items: [{ id: ids[0] }, { id: ids[1] }], next: ids[1] })
    expect(await letters(`?limit=2&after=${first.next}`)).toMatchObject({
      items: [{ id: ids[2] }],
      next: null,
    })
    expect((await server.request('GET', `/webhook/${hook.id}/dead-letter?limit=0`)).status).toBe(400)
    expect(server.logs).toContainEqual(
      expect.objectContaining({ level: 40, webhook: hook.id, event: ids[0] }),
    )
  })

  it('and lets the later ones of its object go on', async () => {
    receiver.behaviour = ({ json }) => ((json.data as { size: number }).size === 3 ? 500 : 200)
    await put('d', 'bad')
    await put('d', 'good')
    await until(() => takenEvents(receiver).length === 1, 'the later one was taken')
    await untilDead(1)
    expect(await hookState(server, hook.id)).toMatchObject({ pending: 0 })
  })

  it('which can be sent again, one by one or all of them', async () => {
    const ids = await makeDead()
    receiver.behaviour = () => 200
    expect(await replay({ ids: [ids[1]] })).toEqual({ replayed: 1 })
    await until(() => takenEvents(receiver).length === 1, 'that one was taken')
    expect(takenEvents(receiver).map(({ id }) => id)).toEqual([ids[1]])
    await untilDead(2)
    expect(await replay()).toEqual({ replayed: 2 })
    await until(() => takenEvents(receiver).length === 3, 'all were taken')
    await untilDead(0)
    expect(await replay()).toEqual({ replayed: 0 })
  })

  it('and is one again when that fails as often', async () => {
    await makeDead()
    const before = receiver.deliveries.length
    await replay()
    await until(async () => receiver.deliveries.length === before + 6, 'all were tried twice again')
    await untilDead(3)
  })

  it('which outlives the outbox', async () => {
    const [id] = await makeDead()
    await server.admin`delete from storage.events`
    receiver.behaviour = () => 200
    await replay({ ids: [id] })
    await until(() => takenEvents(receiver).length === 1, 'it was taken')
    expect(receiver.taken()[0]).toMatchObject({ data: { id, path: 'a', size: 1 } })
  })

  it('which can be forgotten, once', async () => {
    const ids = await makeDead()
    const forget = () => server.request('DELETE', `/webhook/${hook.id}/dead-letter/${ids[0]}`)
    expect((await forget()).status).toBe(204)
    expect((await letters()).items.map(({ id }) => id)).toEqual(ids.slice(1))
    const again = await forget()
    expect([again.status, ((await again.json()) as { code: string }).code]).toEqual([404, 'NoSuchDeadLetter'])
  })
})
