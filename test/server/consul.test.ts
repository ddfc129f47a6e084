import { hostname } from 'node:os'
import pino from 'pino'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readConfig } from '../../src/config/config.ts'
import { packageVersion } from '../../src/lib/package-version.ts'
import { Consul, consulService } from '../../src/server/consul.ts'
import { Agent, type Call } from '../support/consul-agent.ts'
import { startTestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

let agent: Agent
beforeEach(async () => {
  agent = new Agent()
  await agent.listen()
})
afterEach(() => agent.close())

const REGISTER = '/v1/agent/service/register?replace-existing-checks=true'

it('a server says where it is once it listens, and that it is leaving before it does', async () => {
  const server = await startTestServer({
    STORAGE_CONSUL_URL: `${agent.url}/`,
    STORAGE_CONSUL_TOKEN: 'a token',
    STORAGE_SERVICE_NAME: 'files',
    STORAGE_SERVICE_ADDRESS: '127.0.0.1',
  })
  await until(() => agent.calls.length > 0, 'it has said so')
  const { port } = new URL(server.url)
  const id = `files-${hostname()}-${port}`
  const [{ body, ...call } = {} as Call] = agent.calls
  expect(call).toEqual({ method: 'PUT', url: REGISTER, token: 'a token' })
  expect(body).toEqual({
    ID: id,
    Name: 'files',
    Address: '127.0.0.1',
    Port: Number(port),
    Meta: {
      version: packageVersion(),
      protocol: 'http',
      base_path: '/storage/v1',
      routes: expect.stringContaining('/object'),
    },
    Check: {
      HTTP: `http://127.0.0.1:${port}/health/ready`,
      Interval: '10s',
      Timeout: '5s',
      DeregisterCriticalServiceAfter: '1m',
    },
  })
  for (const value of Object.values(body?.Meta as object)) expect(value.length).toBeLessThanOrEqual(512)
  // What Consul would ask.
  expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(200)

  const answers: number[] = []
  agent.beforeAnswer = async () => void answers.push((await fetch(`${server.url}/status`)).status)
  await server.close()
  expect(answers).toEqual([200])
  expect(agent.calls[1]).toMatchObject({
    method: 'PUT',
    url: `/v1/agent/service/deregister/${id}`,
    token: 'a token',
  })
})

it('an agent that is away keeps no start, no request and no stop, and is complained of once', async () => {
  agent.isAway = true
  const server = await startTestServer({ STORAGE_CONSUL_URL: agent.url })
  expect((await fetch(`${server.url}/health`)).status).toBe(200)
  const warnings = () => server.logs.filter(({ msg }) => msg?.includes('Consul could not be told'))
  await until(() => warnings().length > 0, 'it is complained of')
  await server.close()
  expect(warnings()).toHaveLength(1)
})

const PACE = { renewMs: 20, shortestMs: 5, longestMs: 20 }

function register(lines: string[] = []): Consul {
  const config = readConfig({ STORAGE_CONSUL_URL: agent.url, STORAGE_CONSUL_TOKEN: 'token-that-is-sent' })
  if (!config.consul) throw new Error('it is set')
  const logger = pino({}, { write: (line) => void lines.push(line) })
  const service = consulService(config, config.consul, 'http://127.0.0.1:8209')
  return new Consul({ settings: config.consul, service, logger, pace: PACE })
}

it('an agent is told again and again, and one that was away, too', async () => {
  const lines: string[] = []
  const consul = register(lines)
  await until(() => agent.calls.length > 2, 'it is told again')
  agent.isAway = true
  await until(() => lines.length === 1, 'it is missed')
  agent.isAway = false
  await until(() => lines.length === 2, 'it is there again')
  await consul.close()
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
    'Consul could not be told where this server is; it is tried again',
    'Consul is there again',
  ])
  expect(agent.calls.at(-1)?.url).toContain('/deregister/')
})

it('one that refuses is quoted, and the token is in no line', async () => {
  agent.status = 403
  const lines: string[] = []
  const consul = register(lines)
  await until(() => agent.calls.length > 2, 'it is tried again')
  await consul.close()
  expect(lines[0]).toContain('Consul answers 403: Permission denied')
  expect(lines.join()).not.toContain('token-that-is-sent')
})

it.each<[string, Record<string, string>, url: string, address: string, check: string]>([
  [
    'the address that is set',
    { STORAGE_SERVICE_ADDRESS: '10.0.0.1' },
    'http://0.0.0.0:1',
    '10.0.0.1',
    '10.0.0.1',
  ],
  ['an IPv6 address', { STORAGE_SERVICE_ADDRESS: 'fd00::1' }, 'http://[::]:1', 'fd00::1', '[fd00::1]'],
  [
    'the public host',
    { STORAGE_PUBLIC_URL: 'https://a.example.com/x' },
    'http://0.0.0.0:1',
    'a.example.com',
    'a.example.com',
  ],
  ['where it listens', {}, 'http://127.0.0.1:1', '127.0.0.1', '127.0.0.1'],
  ['the machine, when that is everywhere', {}, 'http://[::]:1', hostname(), hostname()],
])('it is found by %s', (_, env, url, address, check) => {
  const config = readConfig({ STORAGE_CONSUL_URL: agent.url, ...env })
  if (!config.consul) throw new Error('it is set')
  expect(consulService(config, config.consul, url)).toMatchObject({
    Address: address,
    Check: { HTTP: `http://${check}:1/health/ready` },
  })
})
