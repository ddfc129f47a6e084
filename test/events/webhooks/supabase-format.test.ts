import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'
import { type Delivery, type Receiver, startReceiver } from '../../support/webhook-receiver.ts'
import { EAGER_WEBHOOKS, makeHook } from '../../support/webhooks.ts'

let server: TestServer
let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver()
  server = await startTestServer({ ...EAGER_WEBHOOKS, STORAGE_PUBLIC_URL: 'https://files.example.com' })
  await makeHook(server, receiver.url, { format: 'supabase', secret: 'hunter2' })
  await server.createBucket('box')
})
afterAll(async () => {
  await server.close()
  await receiver.close()
})
beforeEach(() => {
  receiver.deliveries.length = 0
})

const put = (method: string, name: string) =>
  server.request(method, `/object/box/${name}`, { body: 'hello', headers: { 'content-type': 'text/plain' } })
const relocate = (action: string) =>
  server.request('POST', `/object/${action}`, {
    body: { bucketId: 'box', sourceKey: 'a.txt', destinationKey: `${action}.txt` },
  })

interface Lifecycle {
  type: string
  sentAt: string
  tenant: object
  event: { type: string; applyTime: number; payload: Record<string, unknown> }
}

/** The deliveries once there are so many, and what they say. */
async function heard(count: number): Promise<{ deliveries: Delivery[]; bodies: Lifecycle[] }> {
  await until(() => receiver.deliveries.length >= count, `${count} came`)
  const { deliveries } = receiver
  expect(deliveries).toHaveLength(count)
  return { deliveries, bodies: deliveries.map(({ json }) => json as unknown as Lifecycle) }
}

it('an upload comes as Supabase’s server would send it, with the secret as its token', async () => {
  await put('POST', 'a.txt')
  const { deliveries, bodies } = await heard(1)
  expect(deliveries[0]?.headers.authorization).toBe('Bearer hunter2')
  expect(deliveries[0]?.headers['content-type']).toBe('application/json')
  const tenant = { ref: 'strongroom', host: 'files.example.com' }
  expect(bodies[0]).toEqual({
    type: 'Webhook',
    sentAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    tenant,
    event: {
      $version: 'v1',
      type: 'ObjectCreated:Post',
      region: '',
      applyTime: expect.any(Number),
      payload: {
        name: 'a.txt',
        bucketId: 'box',
        version: expect.any(String),
        metadata: expect.objectContaining({ size: 5, mimetype: 'text/plain' }),
        uploadType: 'standard',
        tenant,
      },
    },
  })
})

it.each<[what: string, act: () => Promise<unknown>, type: string, payload: object]>([
  ['an upload over another', () => put('PUT', 'a.txt'), 'ObjectCreated:Put', { name: 'a.txt' }],
  ['a copy', () => relocate('copy'), 'ObjectCreated:Copy', { name: 'copy.txt', uploadType: 'standard' }],
  [
    'a resumable upload',
    () => new TusRequests(server).create('tus.txt', 5, { body: 'hello' }),
    'ObjectCreated:Post',
    { name: 'tus.txt', uploadType: 'resumable' },
  ],
  [
    'a change of what is said of an object',
    () => server.admin`update storage.objects set user_metadata = '{"a":1}' where name = 'a.txt'`,
    'ObjectUpdated:Metadata',
    { name: 'a.txt' },
  ],
  [
    'a deletion',
    () => server.request('DELETE', '/object/box/copy.txt'),
    'ObjectRemoved:Delete',
    { name: 'copy.txt' },
  ],
])('%s has its own type', async (_what, act, type, payload) => {
  await act()
  const { bodies } = await heard(1)
  expect(bodies[0]?.event).toMatchObject({ type, payload })
})

it('a move is two, and both are sent again when the second fails', async () => {
  let isBroken = true
  receiver.behaviour = ({ json }) =>
    isBroken && (json as unknown as Lifecycle).event.type === 'ObjectCreated:Move' ? 500 : 200
  await relocate('move')
  await until(() => receiver.deliveries.length >= 2, 'the second failed')
  isBroken = false
  const isThere = ({ isTaken, json }: Delivery) =>
    isTaken && (json as unknown as Lifecycle).event.type === 'ObjectCreated:Move'
  await until(() => receiver.deliveries.some(isThere), 'both are there')
  const last = receiver.deliveries.slice(-2)
  expect(last.map(({ json }) => (json as unknown as Lifecycle).event)).toMatchObject([
    { type: 'ObjectRemoved:Move', payload: { name: 'a.txt', bucketId: 'box' } },
    {
      type: 'ObjectCreated:Move',
      payload: {
        name: 'move.txt',
        oldObject: { name: 'a.txt', bucketId: 'box', version: expect.any(String) },
      },
    },
  ])
  const ids = receiver.deliveries.map(({ headers }) => headers['webhook-id'])
  expect(new Set(ids).size).toBe(2)
  expect(ids[0]).toMatch(/^evt_\d+-1$/)
  expect(ids[1]).toMatch(/^evt_\d+-2$/)
})
