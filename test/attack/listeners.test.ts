import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { mintToken } from '../../src/server/keys.ts'
import { type RawClient, RealtimeClients } from '../http/realtime/clients.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'

/** Of each caller: a fifth of half of the connections, and of the subscribers. */
const CONNECTIONS = 10
const SUBSCRIBERS = 50

let server: TestServer
let leaving = new AbortController()
const clients = new RealtimeClients(() => server)

/** A WebSocket from this address, as a proxy would tell it; or what it is told instead. */
async function from(address: string, apikey?: string): Promise<RawClient | string> {
  const options = { headers: { 'x-forwarded-for': address }, ...(apikey !== undefined && { apikey }) }
  return clients.raw(options).catch((error: Error) => error.message)
}

async function many(count: number, address: (index: number) => string, apikey?: string) {
  const all: (RawClient | string)[] = []
  for (let index = 0; index < count; index++) all.push(await from(address(index), apikey))
  return {
    in: all.filter((one) => typeof one !== 'string'),
    refusals: new Set(all.filter((one) => typeof one === 'string')),
  }
}

/** Joins channels that all hear everything, until one is refused. Returns how many, and the reason. */
async function joinAll(client: RawClient, count: number, token?: string) {
  for (let index = 0; index < count; index++) {
    const reply = await client.join(`realtime:${randomUUID()}`, { config: {}, access_token: token })
    if (reply.payload.status !== 'ok') return { joined: index, reason: reply.payload.response.reason }
  }
  return { joined: count, reason: undefined }
}

const TOO_MANY_OF_ONE = 'Unexpected server response: 429'
const EXCESS = 'One caller may not listen so many times; close others first, or try again soon'

describe.each<[string, Record<string, string>]>([
  ['by default', {}],
  ['as Supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s, who has the public key cannot take what is for all listeners:', (_mode, env) => {
  beforeAll(async () => {
    server = await startTestServer({
      ...env,
      STORAGE_MAX_CONNECTIONS: '100',
      STORAGE_MAX_SUBSCRIBERS: String(SUBSCRIBERS * 5),
      STORAGE_MAX_LISTENER_SHARE: '0.2',
      STORAGE_TRUST_PROXY: 'true',
    })
  })
  afterEach(async () => {
    await clients.close()
    leaving.abort()
    leaving = new AbortController()
  })
  afterAll(() => server.close())

  it('neither connections: one address has its share of them', async () => {
    const { result } = await besideInnocent(server, () => many(40, () => '203.0.113.7'))
    expect(result.in).toHaveLength(CONNECTIONS)
    expect(result.refusals).toEqual(new Set([TOO_MANY_OF_ONE]))
    // There is room for others, and for this one when it has closed one.
    expect(await from('203.0.113.8')).not.toBeTypeOf('string')
    result.in[0]?.socket.terminate()
    await until(async () => typeof (await from('203.0.113.7')) !== 'string', 'its place is free')
  })

  it.each<[string, (index: number) => string]>([
    ['addresses that it has made up', (index) => `198.51.100.${index}, 203.0.113.9`],
    ['the many addresses of one IPv6 network', (index) => `2001:db8:1:2:${index}::${index}`],
    ['two ways to write an address', (index) => (index % 2 ? '203.0.113.10' : '::ffff:203.0.113.10')],
    ['ports', (index) => `203.0.113.11:${5000 + index}`],
  ])('nor by %s', async (_what, address) => {
    const crowd = await many(CONNECTIONS + 5, address)
    expect(crowd.in).toHaveLength(CONNECTIONS)
  })

  it('nor by streams of events, which are counted with them', async () => {
    const ask = async () => {
      const headers = { authorization: `Bearer ${server.keys.anonKey}`, 'x-forwarded-for': '203.0.113.12' }
      const response = await fetch(`${server.url}/events`, { headers, signal: leaving.signal })
      return response.status
    }
    const crowd = await many(4, () => '203.0.113.12')
    expect(crowd.in).toHaveLength(4)
    const statuses: number[] = []
    for (let index = 0; index < CONNECTIONS; index++) statuses.push(await ask())
    expect(statuses.filter((status) => status === 200)).toHaveLength(CONNECTIONS - 4)
    expect(new Set(statuses)).toEqual(new Set([200, 429]))
  })

  it('nor who has signed in, wherever he comes from: by WebSockets, nor by streams', async () => {
    const token = await mintToken(server.keys.jwtSecret, { role: 'authenticated', subject: 'bob' }, 3600)
    const crowd = await many(CONNECTIONS, (index) => `198.51.100.${index + 1}`, token)
    expect(crowd.in).toHaveLength(CONNECTIONS)
    const stream = async (of: string) => {
      const headers = { authorization: `Bearer ${of}`, 'x-forwarded-for': '198.51.100.100' }
      return (await fetch(`${server.url}/events`, { headers, signal: leaving.signal })).status
    }
    expect([await from('198.51.100.100', token), await stream(token)]).toEqual([TOO_MANY_OF_ONE, 429])
    expect([typeof (await from('198.51.100.100')), await stream(server.keys.anonKey)]).toEqual([
      'object',
      200,
    ])
  })

  it('nor with a whole network, which has half of all connections at most', async () => {
    const crowd = await many(70, (index) => `192.0.2.${index}`)
    expect(crowd.in).toHaveLength(50)
    expect(crowd.refusals).toEqual(new Set(['Unexpected server response: 503']))
    const answer = await server.request('GET', '/storage/v1/bucket')
    expect(answer.status).toBe(200)
  })

  it('nor subscribers: an address has its share, and somebody who has signed in his own', async () => {
    const { result } = await besideInnocent(server, async () => {
      const crowd = await many(3, () => '203.0.113.20')
      const results = []
      for (const client of crowd.in) results.push(await joinAll(client, 40))
      return { crowd, results }
    })
    expect(result.results).toEqual([
      { joined: 40, reason: undefined },
      { joined: 10, reason: EXCESS },
      { joined: 0, reason: EXCESS },
    ])
    const [, client] = result.crowd.in
    const token = await mintToken(server.keys.jwtSecret, { role: 'authenticated', subject: 'ann' }, 3600)
    expect(client && (await joinAll(client, 1, token))).toEqual({ joined: 1, reason: undefined })
    // Wherever she comes from.
    const anns = [await from('203.0.113.21'), await from('203.0.113.22')]
    const joined = []
    for (const one of anns) if (typeof one !== 'string') joined.push(await joinAll(one, 40, token))
    expect(joined).toEqual([
      { joined: 40, reason: undefined },
      { joined: 9, reason: EXCESS },
    ])
  })

  it('and the service may have all', async () => {
    const crowd = await many(40, () => '203.0.113.30', server.keys.serviceKey)
    expect(crowd.in).toHaveLength(40)
  })
})
