import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Receiver, startReceiver, verified } from '../../support/webhook-receiver.ts'
import { EAGER_WEBHOOKS, type HookJson } from '../../support/webhooks.ts'

const secret = `whsec_${Buffer.alloc(32, 's').toString('base64')}`
const bearer = 'sesame-open-for-supabase'

let receiver: Receiver
let server: TestServer
let second: Served | undefined
beforeAll(async () => {
  receiver = await startReceiver()
  server = await startTestServer({ ...EAGER_WEBHOOKS, STORAGE_WEBHOOKS: settings() })
  await server.createBucket('files')
})
afterEach(async () => {
  await second?.close()
  second = undefined
})
afterAll(async () => {
  await server.close()
  await receiver.close()
})

/** Two webhooks of one receiver, whose URL holds something secret too. */
function settings(fields: object = {}): string {
  const url = `${receiver.url}/?key=sesame`
  const shared = { url, allow_private: true, events: ['storage.object.created'] }
  return JSON.stringify([
    { ...shared, secret, ...fields },
    { ...shared, secret: bearer, format: 'supabase' },
  ])
}

const list = async () => (await (await server.request('GET', '/webhook')).json()) as HookJson[]
const put = (name: string) => server.request('POST', `/object/files/${name}`, { body: name })
const sent = (format: string) =>
  receiver.deliveries.filter(({ json }) => (json.type === 'Webhook') === (format === 'supabase'))

describe('webhooks of the settings', () => {
  it('get events from the first one on, with their secrets', async () => {
    await put('a')
    await until(() => sent('standard').length === 1 && sent('supabase').length === 1, 'both have it')
    const [delivery] = sent('standard')
    expect(delivery && verified(delivery, secret)).toMatchObject({ data: { path: 'a' } })
    expect(sent('supabase')[0]?.headers.authorization).toBe(`Bearer ${bearer}`)
  })

  it('are shown, and are changed there alone', async () => {
    const hooks = await list()
    expect(hooks.map(({ source }) => source)).toEqual(['settings', 'settings'])
    for (const [method, body] of [['PATCH', { bucket: 'a' }], ['DELETE']] as const) {
      const response = await server.request(method, `/webhook/${hooks[0]?.id}`, { ...(body && { body }) })
      expect([response.status, ((await response.json()) as { message: string }).message]).toEqual([
        409,
        'This webhook comes from STORAGE_WEBHOOKS; change it there',
      ])
    }
  })

  it('stay the same after a restart, and follow a change', async () => {
    const before = await list()
    second = await server.beside()
    expect(await list()).toEqual(before)
    await second.close()
    second = await server.beside({ STORAGE_WEBHOOKS: settings({ events: ['storage.object.deleted'] }) })
    const after = await list()
    expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id))
    expect(after.map(({ events }) => events)).toContainEqual(['storage.object.deleted'])
  })

  it('go with the settings, and others stay', async () => {
    const body = { url: 'https://example.com/', bucket: 'none' }
    const made = (await (await server.request('POST', '/webhook', { body })).json()) as HookJson
    second = await server.beside({ STORAGE_WEBHOOKS: '' })
    expect((await list()).map(({ id }) => id)).toEqual([made.id])
    await second.close()
    second = await server.beside()
    expect(await list()).toHaveLength(3)
  })

  it('are made once by servers that start together', async () => {
    second = await server.beside({ STORAGE_WEBHOOKS: '' })
    const all = await Promise.all([1, 2, 3, 4].map(() => server.beside()))
    expect((await list()).filter(({ source }) => source === 'settings')).toHaveLength(2)
    for (const one of all) await one.close()
  })
})

it('no secret is in the log, even when all goes wrong', async () => {
  receiver.behaviour = () => 500
  second = await server.beside({ STORAGE_WEBHOOK_ATTEMPTS: '1' })
  const seen = () => [...server.logs, ...(second?.logs ?? [])]
  for (let i = 0; i < 6; i++) await put(`broken-${i}`)
  await until(() => seen().filter(({ msg }) => msg?.includes('takes nothing')).length >= 2, 'both are down')
  receiver.behaviour = () => 200
  await put('one-more')
  const isBack = () => seen().filter(({ msg }) => msg === 'a webhook is back').length >= 2
  await until(isBack, 'both are back')
  expect(JSON.stringify(seen())).not.toMatch(/whsec_|sesame/)
})
