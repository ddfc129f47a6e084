import { createServer } from 'node:net'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { explainListenError } from '../../../src/cli/listen-error.ts'
import { readConfig } from '../../../src/config/config.ts'
import { listen } from '../../../src/http/http-server.ts'
import { openMetricsPort, tryMetricsPort } from '../../../src/server/metrics/port.ts'
import { type ParsedFamily, parseExposition, seriesOf, sumOf } from '../../support/exposition.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let proxy: PostgresProxy
let server: TestServer
beforeAll(async () => {
  proxy = await openPostgresProxy()
  server = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
  await server.createBucket('box', { public: true })
})
afterAll(async () => {
  proxy.mode = 'pass'
  await server.close()
  await proxy.close()
})

async function scrape(): Promise<Map<string, ParsedFamily>> {
  const response = await server.request('GET', '/metrics')
  expect(response.status).toBe(200)
  return parseExposition(await response.text())
}

/** Of requests about something else each. */
const MANY = process.env.ATTACK === 'full' ? 5000 : 500

describe('metrics under attack', () => {
  it('have no series of buckets and operations that a client makes up, nor of long paths', async () => {
    const before = await scrape()
    const ask = async (index: number) => {
      const name = `made-up-${index}/${'x'.repeat(index % 900)}`
      const method = index % 3 === 0 ? 'POST' : 'GET'
      const token = index % 2 === 0 ? null : server.keys.anonKey
      const response = await server.request(method, `/object/${name}`, {
        token,
        ...(method === 'POST' && { body: 'x' }),
      })
      await response.arrayBuffer()
    }
    for (let index = 0; index < MANY; index += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, offset) => ask(index + offset)))
    }
    const after = await scrape()
    const series = (families: typeof before) => [...families.values()].flatMap(({ samples }) => samples)
    expect(series(after).length - series(before).length).toBeLessThan(100)
    expect(series(after).filter(({ labels }) => Object.values(labels).join().includes('made-up'))).toEqual([])
    const asked = (families: typeof before) => sumOf(families, 'storage_requests_total', { surface: 'rest' })
    expect(asked(after) - asked(before)).toBe(MANY)
  })

  it('are the same for a hundred who ask at once', async () => {
    const texts = await Promise.all(
      Array.from({ length: 100 }, async () => (await server.request('GET', '/metrics')).text()),
    )
    for (const text of texts) parseExposition(text)
    expect(new Set(texts).size).toBeLessThan(50)
    // Whoever uses the server meanwhile finds it as before.
    const upload = await server.request('POST', '/object/box/meanwhile.txt', { body: 'x' })
    expect(upload.status).toBe(201)
  })
})

describe('metrics while the database is away', () => {
  it('are told all the same, with what was found before, and say so', async () => {
    await server.request('POST', '/object/box/before.txt', { body: 'x' })
    await until(async () => {
      const families = await scrape()
      return seriesOf(families, 'storage_objects', { bucket: 'box', tenant: 'none' }) !== undefined
    }, 'the buckets were looked at')
    proxy.mode = 'hang'
    await until(async () => seriesOf(await scrape(), 'storage_up', { part: 'database' }) === 0, 'it says so')
    const families = await scrape()
    expect(sumOf(families, 'storage_upload_total', { bucket: 'box', status: 'success' })).toBeGreaterThan(0)
    expect(seriesOf(families, 'storage_objects', { bucket: 'box', tenant: 'none' })).toBeDefined()
    expect(seriesOf(families, 'storage_dead_letters')).toBe(0)
    expect(seriesOf(families, 'storage_up', { part: 'disk' })).toBe(1)
    proxy.mode = 'pass'
    proxy.cutAll()
  })
})

describe('the port of metrics', () => {
  const logger = pino({ level: 'silent' })

  it('has metrics, and nothing else', async () => {
    const port = await openMetricsPort({ host: '127.0.0.1', port: 0 }, async () => 'up 1\n', logger)
    const ask = async (path: string, init?: RequestInit) => {
      const response = await fetch(`${port?.url}${path}`, init)
      return [response.status, await response.text()]
    }
    expect(await ask('/metrics')).toEqual([200, 'up 1\n'])
    expect(await ask('/metrics?format=text')).toEqual([200, 'up 1\n'])
    expect(await ask('/metrics', { method: 'POST' })).toEqual([405, ''])
    expect(await ask('/bucket')).toEqual([404, ''])
    await port?.close()
  })

  it('is there only if somebody has said so, and on this machine alone by default', async () => {
    const { metrics } = readConfig({})
    expect(metrics).toEqual({ token: undefined, port: undefined, host: '127.0.0.1' })
    expect(await openMetricsPort(metrics, async () => '', logger)).toBeNull()
  })

  it('that is taken keeps the server from starting, which says what to set', async () => {
    const other = createServer()
    const taken = new URL(await listen(other, { host: '127.0.0.1', port: 0 })).port
    const at = { host: '127.0.0.1', port: Number(taken) }
    const error = await tryMetricsPort(at).catch((error: unknown) => error)
    expect(explainListenError(error)).toContain('set STORAGE_METRICS_PORT to another port')
    other.close()
  })
})
