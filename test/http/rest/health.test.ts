import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { packageVersion } from '../../../src/lib/package-version.ts'
import { freePort } from '../../support/free-port.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open } from '../../support/signed.ts'
import { until } from '../../support/wait.ts'

const WELL = { healthy: true, database: 'ok', backend: 'ok' }

/** Takes the folder of the bytes away while `work` runs. */
async function withoutFolder(server: TestServer, work: () => Promise<void>): Promise<void> {
  const [here, there] = [join(server.dataDir, 'objects'), join(server.dataDir, 'objects-elsewhere')]
  await rename(here, there)
  await work().finally(() => rename(there, here))
}

/** Lets no server into its database, and throws out who is in, while `work` runs. */
async function withoutDatabase(server: TestServer, work: () => Promise<void>): Promise<void> {
  const [row] = await server.admin<{ name: string }[]>`select current_database() as name`
  const { host, port, superuser } = inject('postgres')
  const other = openDatabase({ host, port, database: 'postgres', username: superuser }, { connections: 1 })
  const name = other.sql(String(row?.name))
  try {
    await other.sql`alter database ${name} connection limit 0`
    await other.sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${String(row?.name)}`
    await work()
  } finally {
    await other.sql`alter database ${name} connection limit -1`
    await other.close()
  }
}

async function health(server: TestServer, path = '/health') {
  const { status, text, headers } = await open(server, path)
  return { status, body: JSON.parse(text), retryAfter: headers.get('retry-after') }
}

/** Waits for `/health` to say this; what it says is a second old at most. */
async function becomes(server: TestServer, wanted: object): Promise<void> {
  const isSo = async () => JSON.stringify((await health(server)).body) === JSON.stringify(wanted)
  await until(isSo, `the health is ${JSON.stringify(wanted)}`)
}

describe('the health', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer()
  })
  afterAll(() => server.close())
  beforeEach(() => becomes(server, WELL))

  it.each(['', '/storage/v1'])('routes answer anyone, under %j too', async (prefix) => {
    expect(await open(server, `${prefix}/status`)).toMatchObject({ status: 200, text: '' })
    expect(await open(server, `${prefix}/version`)).toMatchObject({ status: 200, text: packageVersion() })
    expect(packageVersion()).toMatch(/^\d+\.\d+\.\d+/)
    expect(await health(server, `${prefix}/health`)).toEqual({ status: 200, body: WELL, retryAfter: null })
    expect(await health(server, `${prefix}/health/ready`)).toMatchObject({ status: 200, body: WELL })
    expect((await open(server, `${prefix}/health/live`)).status).toBe(200)
  })

  it('is bad when the folder of the bytes is gone, says that it is this, and is good again when it is back', async () => {
    const bad = { healthy: false, database: 'ok', backend: 'failing' }
    await withoutFolder(server, async () => {
      await becomes(server, bad)
      for (const path of ['/health', '/health/ready']) {
        expect(await health(server, path)).toEqual({ status: 503, body: bad, retryAfter: '5' })
      }
      // To start the process again would not help, and it is there.
      expect((await open(server, '/health/live')).status).toBe(200)
      expect((await open(server, '/status')).status).toBe(200)
    })
    await becomes(server, WELL)
    expect((await health(server)).status).toBe(200)
  })

  it('is bad when the database is gone, says that it is this, and is good again when it is back', async () => {
    const bad = { healthy: false, database: 'failing', backend: 'ok' }
    await withoutDatabase(server, async () => {
      await becomes(server, bad)
      for (const path of ['/health', '/health/ready']) {
        expect(await health(server, path)).toEqual({ status: 503, body: bad, retryAfter: '5' })
      }
      expect((await open(server, '/health/live')).status).toBe(200)
      const refused = await server.request('GET', '/bucket')
      expect([refused.status, refused.headers.has('retry-after')]).toEqual([503, true])
    })
    await becomes(server, WELL)
    expect((await server.request('GET', '/bucket')).status).toBe(200)
  })

  it('tells nobody what exactly is wrong: no path, no address', async () => {
    await withoutFolder(server, async () => {
      await becomes(server, { healthy: false, database: 'ok', backend: 'failing' })
      const { text } = await open(server, '/health')
      expect(text).not.toContain(server.dataDir)
    })
  })
})

describe('under STORAGE_COMPAT=supabase the health', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer({ STORAGE_COMPAT: 'supabase' })
  })
  afterAll(() => server.close())

  const ask = async (token: string | null) => {
    const response = await server.request('GET', '/health', { token })
    return { status: response.status, body: await response.json() }
  }

  it('is told to whoever has a token, with 200 either way', async () => {
    expect(await ask(server.keys.anonKey)).toEqual({ status: 200, body: { healthy: true } })
    await withoutFolder(server, async () => {
      await until(async () => JSON.stringify(await ask(server.keys.anonKey)).includes('false'), 'it is bad')
      expect(await ask(server.keys.anonKey)).toEqual({ status: 200, body: { healthy: false } })
      expect((await open(server, '/health/ready')).status).toBe(503)
    })
  })

  it('is told in detail as by default', async () => {
    await until(async () => (await detailed(server, null)).status === 200, 'it is good')
    const [own, others] = [await detailed(server), await detailed(server, null)]
    expect(Object.keys(own.body)).toEqual([...SHORT, 'service', 'version', 'uptime_seconds', 'checks'])
    expect(Object.keys(others.body)).toEqual(SHORT)
    await withoutFolder(server, async () => {
      await until(async () => (await detailed(server, null)).status === 503, 'it is bad')
    })
  })

  it.each([null, 'garbage'])('is not told to one with the token %j', async (token) => {
    const { status, body } = await ask(token)
    expect(status).toBe(400)
    expect(body).toMatchObject({ statusCode: '403', code: 'AccessDenied', error: 'Unauthorized' })
    expect(body).not.toHaveProperty('healthy')
  })
})

const DETAILED = '/storage/v1/health/detailed'

/** What anybody is told. */
const SHORT = ['status', 'database_connected', 'storage_connected', 'timestamp']

/** What is asked with the service key, or another token, or none. */
async function detailed(server: TestServer, token?: string | null) {
  const response = await server.request('GET', DETAILED, { ...(token !== undefined && { token }) })
  const text = await response.text()
  const { status, headers } = response
  return { status, headers, text, body: JSON.parse(text) }
}

describe('the detailed health', () => {
  let server: TestServer
  let proxy: PostgresProxy
  let natsPort: number
  beforeAll(async () => {
    proxy = await openPostgresProxy()
    natsPort = await freePort()
    server = await startTestServer(
      {
        STORAGE_HEALTH_CHECK_TIMEOUT: '3s',
        STORAGE_CLEANUP_INTERVAL: '1h',
        STORAGE_NATS_URL: `nats://ann:hunter2@127.0.0.1:${natsPort}`,
      },
      { databaseUrl: (name) => proxy.url(name) },
    )
  })
  afterAll(async () => {
    proxy.mode = 'pass'
    await server.close()
    await proxy.close()
  })

  it('tells the service all, and everybody else whether the server works', async () => {
    // NATS is not there, which it can do without; what is in the database has yet to be looked at.
    await until(async () => {
      const { checks } = (await detailed(server)).body
      return checks.webhooks.status === 'healthy' && checks.nats.status === 'degraded'
    }, 'all is looked at')
    const { status, headers, body, text } = await detailed(server)
    expect([status, headers.get('cache-control'), headers.get('retry-after')]).toEqual([
      200,
      'no-store',
      null,
    ])
    const well = { status: 'healthy', latency_ms: expect.any(Number), message: null }
    expect(body).toEqual({
      status: 'degraded',
      database_connected: true,
      storage_connected: true,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]+\.\d{3}Z$/),
      service: 'file_storage',
      version: packageVersion(),
      uptime_seconds: expect.any(Number),
      checks: {
        database: well,
        storage: well,
        nats: {
          status: 'degraded',
          latency_ms: expect.any(Number),
          message: expect.stringMatching(/^NATS cannot be used: .*ECONNREFUSED/),
        },
        webhooks: well,
        disk: expect.objectContaining({ latency_ms: expect.any(Number) }),
        cleanup: well,
      },
    })
    expect(text).not.toContain('hunter2')
    for (const token of [null, 'garbage', server.keys.anonKey, await server.token('ann')]) {
      const answer = await detailed(server, token)
      expect(answer.status).toBe(200)
      expect(Object.keys(answer.body)).toEqual(SHORT)
      expect(answer.body.status).toBe('degraded')
    }
  })

  it('is 503 when the bytes are away, and says where alone to the service', async () => {
    await withoutFolder(server, async () => {
      await until(async () => (await detailed(server)).status === 503, 'it is bad')
      const { headers, body } = await detailed(server, null)
      expect(headers.get('retry-after')).toBe('5')
      expect(body).toMatchObject({ status: 'unhealthy', database_connected: true, storage_connected: false })
      expect(Object.keys(body)).toEqual(SHORT)
      const { checks } = (await detailed(server)).body
      expect(checks.storage).toMatchObject({ status: 'unhealthy', message: expect.any(String) })
    })
    await until(async () => (await detailed(server)).status === 200, 'it is good again')
  })

  it('makes a crowd of strangers cost no more than one', async () => {
    proxy.arm(0)
    const looks = () => proxy.roundTrips.filter((about) => about === 'select 1').length
    let asked = 0
    await until(async () => {
      asked += (await Promise.all(Array.from({ length: 100 }, () => detailed(server, null)))).length
      return looks() > 1
    }, 'it was looked again')
    // One a second, however many ask meanwhile.
    expect(looks()).toBeLessThan(asked / 10)
  })

  it('is answered while the database hangs', async () => {
    proxy.mode = 'hang'
    await until(async () => (await detailed(server)).status === 503, 'it is bad')
    const crowd = await Promise.all(Array.from({ length: 100 }, () => detailed(server, null)))
    for (const { status, body } of crowd) {
      expect([status, body.database_connected, body.storage_connected]).toEqual([503, false, true])
    }
    const { database } = (await detailed(server)).body.checks
    expect(database).toMatchObject({ status: 'unhealthy', message: expect.any(String) })
    proxy.mode = 'pass'
    proxy.cutAll()
    await until(async () => (await detailed(server)).status === 200, 'it is good again')
  })
})

it('who has used up a limit is told his health all the same, without a token', async () => {
  const server = await startTestServer({ STORAGE_RATE_LIMIT_READ: '2/3600' })
  const asked = async (token: string | null) => {
    const statuses: number[] = []
    for (let count = 0; count < 4; count++) statuses.push((await detailed(server, token)).status)
    return statuses
  }
  expect(await asked(await server.token('ann'))).toEqual([200, 200, 429, 429])
  expect(await asked(null)).toEqual([200, 200, 200, 200])
  await server.close()
})
