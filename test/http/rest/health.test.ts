import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { packageVersion } from '../../../src/lib/package-version.ts'
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

  it.each([null, 'garbage'])('is not told to one with the token %j', async (token) => {
    const { status, body } = await ask(token)
    expect(status).toBe(400)
    expect(body).toMatchObject({ statusCode: '403', code: 'AccessDenied', error: 'Unauthorized' })
    expect(body).not.toHaveProperty('healthy')
  })
})
