import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { HostLookup } from '../../../src/events/webhooks/host-lookup.ts'
import { WebhookSender } from '../../../src/events/webhooks/sender.ts'
import { isPublicAddress } from '../../../src/lib/ip-address.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Receiver, startReceiver } from '../../support/webhook-receiver.ts'
import { EAGER_WEBHOOKS, hookState, makeHook } from '../../support/webhooks.ts'

let server: TestServer
let receiver: Receiver
beforeAll(async () => {
  server = await startTestServer(EAGER_WEBHOOKS)
  await server.createBucket('files')
  receiver = await startReceiver()
})
afterAll(async () => {
  await server.close()
  await receiver.close()
})

const port = () => new URL(receiver.url).port
const create = (url: string) => server.request('POST', '/webhook', { body: { url, allow_private: false } })

describe('a private address', () => {
  it.each([
    'http://127.0.0.1/',
    'http://127.1/',
    'http://0x7f.1/',
    'http://2130706433/',
    'http://017700000001/',
    'http://0/',
    'http://10.1.2.3:8080/',
    'http://172.16.0.1/',
    'http://192.168.1.1/',
    'http://100.64.0.1/',
    'http://169.254.169.254/latest/meta-data/',
    'http://[::1]/',
    'http://[::]/',
    'http://[::7f00:1]/',
    'http://[::ffff:10.0.0.1]/',
    'http://[64:ff9b::10.0.0.1]/',
    'http://[64:ff9b:1::10.0.0.1]/',
    'http://[2002:7f00:1::1]/',
    'http://[2001:0:1::1]/',
    'http://[fe80::1]/',
    'http://[fd00:ec2::254]/',
    'http://[ff02::1]/',
    'http://１２７.0.0.1/',
  ])('is refused at once: %s', async (url) => {
    const response = await create(url)
    expect([response.status, ((await response.json()) as { message: string }).message]).toEqual([
      400,
      'body/url must not be a private address, unless allow_private is true',
    ])
  })

  it('is refused when a webhook that may not is changed to it', async () => {
    const { id } = await makeHook(server, 'https://example.com/', { allow_private: false, bucket: 'none' })
    const change = (body: object) => server.request('PATCH', `/webhook/${id}`, { body })
    expect((await change({ url: receiver.url })).status).toBe(400)
    expect((await change({ url: receiver.url, allow_private: true })).status).toBe(200)
    expect((await change({ allow_private: false })).status).toBe(400)
    await server.request('DELETE', `/webhook/${id}`)
  })

  it('is refused behind a name, at each connection', async () => {
    const hook = (await (await create(`http://localhost:${port()}/`)).json()) as { id: string }
    await server.request('POST', '/object/files/a', { body: 'a' })
    const sentence = 'has a private address, and allow_private is not true'
    await until(async () => (await hookState(server, hook.id)).last_error === sentence, 'it was refused')
    expect(receiver.deliveries).toEqual([])
    await server.request('PATCH', `/webhook/${hook.id}`, { body: { allow_private: true } })
    await until(() => receiver.taken().length === 1, 'it was taken')
  })

  it('is refused where the connection is made, if all else has let it through', async () => {
    const before = receiver.deliveries.length
    const sender = new WebhookSender({
      hosts: new HostLookup(),
      timeoutMs: 1000,
      allowPrivate: false,
      connections: 1,
    })
    const urls = [receiver.url, `http://[::ffff:127.0.0.1]:${port()}`, `http://localhost:${port()}`]
    for (const url of urls) {
      expect(await sender.send(url, { headers: {}, body: '{}' })).toMatchObject({
        ok: false,
        sentence: 'has a private address, and allow_private is not true',
      })
    }
    await sender.close()
    expect(receiver.deliveries).toHaveLength(before)
  })
})

it.each([
  '168.63.129.16',
  '::ffff:168.63.129.16',
  '::168.63.129.16',
  '161.26.0.7',
  '166.9.12.14',
  '169.254.169.254',
  '100.100.100.200',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd20:ce::254',
  'fe80::a9fe:a9fe',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b:1::a9fe:a9fe',
  '2002:a9fe:a9fe::1',
  '2001::a9fe:a9fe',
  '::ffff:0:a9fe:a9fe',
  '2001:470:1:1:0:5efe:a9fe:a9fe',
  '2001:470:1:1:200:5efe:a9fe:a9fe',
])('%s, of a cloud or in disguise, is not', (address) => {
  expect(isPublicAddress(address)).toBe(false)
})

it.each(['168.63.129.15', '168.63.129.17', '166.12.0.1', '2001:470:1:1:100:5efe:a9fe:a9fe'])(
  '%s, beside one of those, is public',
  (address) => expect(isPublicAddress(address)).toBe(true),
)

it.each(['8.8.8.8', '1.1.1.1', '2606:4700::1111', '::ffff:8.8.8.8'])('%s is public', (address) => {
  expect(isPublicAddress(address)).toBe(true)
})
