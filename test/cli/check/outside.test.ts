import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkOutside } from '../../../src/cli/check/outside.ts'
import { readConfig } from '../../../src/config/config.ts'
import { failure, gather, told } from '../../support/check-results.ts'
import { newFolder, removeFolder, strongroom } from '../../support/command.ts'
import { Agent } from '../../support/consul-agent.ts'
import { freePort } from '../../support/free-port.ts'
import { describeWithNats, type NatsServer, startNats } from '../../support/nats.ts'
import { type Receiver, startReceiver } from '../../support/webhook-receiver.ts'

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLASw'

let cwd: string
let receiver: Receiver
let keySets: Server
let keysAt: string
beforeAll(async () => {
  cwd = await newFolder()
  receiver = await startReceiver()
  const { publicKey } = await generateKeyPair('ES256')
  const answers: Record<string, string> = {
    '/good?secret=hunter2': JSON.stringify({ keys: [await exportJWK(publicKey)] }),
    '/empty': '{"keys":[]}',
    '/page': '<html>',
  }
  keySets = createServer(({ url = '' }, response) => {
    response.writeHead(answers[url] === undefined ? 404 : 200).end(answers[url])
  }).listen(0, '127.0.0.1')
  await once(keySets, 'listening')
  keysAt = `http://127.0.0.1:${(keySets.address() as AddressInfo).port}`
})
afterAll(async () => {
  keySets?.close()
  await receiver?.close()
  await removeFolder(cwd, [])
})

const check = (env: Record<string, string>) => strongroom(['check'], { cwd, env })
const lookAt = (env: Record<string, string>) => gather(checkOutside(readConfig(env), undefined))
const webhooks = (...list: object[]) => ({
  STORAGE_WEBHOOKS: JSON.stringify(list.map((webhook) => ({ secret: SECRET, ...webhook }))),
})

describe('strongroom check looks at webhooks', () => {
  it('and finds a receiver, without sending it anything', async () => {
    const ended = await check(webhooks({ url: `${receiver.url}/hunter2`, allow_private: true }))
    expect(told(ended).webhook).toEqual(['ok', `${receiver.url} can be reached; nothing was sent`])
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.stdout).not.toContain('hunter2')
    expect(receiver.deliveries).toEqual([])
  })

  it.each([
    [
      'that is not there',
      { url: 'http://127.0.0.1:1/', allow_private: true },
      /cannot be reached: ECONNREFUSED$/,
    ],
    [
      'that has no host',
      { url: 'https://nowhere.invalid/' },
      /^https:\/\/nowhere\.invalid cannot be reached: E/,
    ],
    [
      'at a private address',
      { url: 'https://localhost:9/' },
      /has a private address, and allow_private is not true$/,
    ],
  ])('and says of one %s what is wrong', async (_, webhook, says) => {
    expect(await lookAt(webhooks(webhook))).toEqual([failure('webhook', says)])
  })

  it('and of one that speaks no TLS', async () => {
    const url = receiver.url.replace('http:', 'https:')
    const found = await lookAt(webhooks({ url, allow_private: true }))
    expect(found).toEqual([failure('webhook', /cannot be reached: \w+$/)])
  })
})

describe('strongroom check looks at the key set', () => {
  it('and counts its keys', async () => {
    const ended = await check({ STORAGE_JWKS_URL: `${keysAt}/good?secret=hunter2` })
    expect(told(ended)['key set']).toEqual(['ok', `1 key at ${keysAt}/good`])
    expect(ended.stdout).not.toContain('hunter2')
  })

  it.each([
    ['none', '/nothing', /\/nothing has no key set: it answers 404; look at STORAGE_JWKS_URL$/],
    ['no keys', '/empty', /^0 keys at .*no token can be verified/],
    ['no JSON', '/page', /has no key set: /],
  ])('and says that there is %s', async (_, path, says) => {
    expect(await lookAt({ STORAGE_JWKS_URL: `${keysAt}${path}` })).toEqual([failure('key set', says)])
  })

  it('and says that nobody answers', async () => {
    const found = await lookAt({ STORAGE_JWKS_URL: `http://127.0.0.1:${await freePort()}/keys` })
    expect(found).toEqual([failure('key set', /has no key set: .*ECONNREFUSED.*STORAGE_JWKS_URL$/)])
  })
})

describe('strongroom check looks at Consul', () => {
  let agent: Agent
  beforeAll(async () => {
    agent = new Agent()
    await agent.listen()
  })
  afterAll(() => agent?.close())
  const env = (url = agent.url) => ({
    STORAGE_CONSUL_URL: url,
    STORAGE_CONSUL_TOKEN: 'hunter2',
    STORAGE_SERVICE_NAME: 'files',
  })

  it('and is let in, and changes nothing there', async () => {
    agent.answer = '{"files-a-8209":{"Service":"files"},"files-b-8209":{"Service":"files"}}'
    const ended = await check(env())
    expect(told(ended).Consul).toEqual(['ok', `reached: ${agent.url}; it knows 2 of files`])
    expect(ended.stdout).not.toContain('hunter2')
    const url = '/v1/agent/services?filter=Service%20%3D%3D%20%22files%22'
    expect(agent.calls).toEqual([{ method: 'GET', url, token: 'hunter2', body: undefined }])
  })

  it('and says that its token is not taken, that it is no Consul, or that nobody answers', async () => {
    agent.status = 403
    const refused = await lookAt(env())
    expect(refused).toEqual([
      failure('Consul', /cannot be used: Consul answers 403: Permission denied.*STORAGE_CONSUL_TOKEN$/),
    ])
    expect(JSON.stringify(refused)).not.toContain('hunter2')
    Object.assign(agent, { status: 200, answer: '<html>' })
    expect(await lookAt(env())).toEqual([failure('Consul', /cannot be used: it is no Consul/)])
    const away = await lookAt(env(`http://127.0.0.1:${await freePort()}`))
    expect(away).toEqual([failure('Consul', /cannot be used: .*ECONNREFUSED.*look at STORAGE_CONSUL_URL/)])
  })
})

describeWithNats('strongroom check looks at NATS', () => {
  let nats: NatsServer
  beforeAll(async () => {
    nats = await startNats({ args: ['--user', 'strong', '--pass', 'hunter2'] })
  })
  afterAll(() => nats?.remove())

  it('and is let in', async () => {
    const ended = await check({ STORAGE_NATS_URL: `nats://strong:hunter2@${nats.host}` })
    expect(told(ended).NATS).toEqual([
      'ok',
      expect.stringContaining(`reached: ${nats.host}; subjects storage.object`),
    ])
    expect(ended.stdout).not.toContain('hunter2')
  })

  it('and says that it is not, or that nobody answers', async () => {
    const wrong = await lookAt({ STORAGE_NATS_URL: `nats://strong:letmein@${nats.host}` })
    expect(wrong).toEqual([failure('NATS', /cannot be used: .*uthorization.*look at STORAGE_NATS_URL/)])
    expect(JSON.stringify(wrong)).not.toContain('letmein')
    await nats.stop()
    const away = await lookAt({ STORAGE_NATS_URL: `nats://strong:hunter2@${nats.host}` })
    expect(away).toEqual([failure('NATS', /cannot be used: .*ECONNREFUSED.*look at STORAGE_NATS_URL/)])
  })
})
