import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { findDrift, NO_DRIFT } from '../faults/drift.ts'
import { cleanUp } from '../support/cleanup.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { openS3Proxy, type S3Proxy } from '../support/s3-proxy.ts'
import { startTestServer, storedInline, storedObjects, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

// In this order, beside a running server: out to the store, and back.
describeWithS3('strongroom inline, with an S3 store', (s3) => {
  const SMALL = 8
  let postgres: PostgresProxy
  let store: S3Proxy
  let server: TestServer
  let folder: string
  let env: Record<string, string>
  const killed: Command[] = []

  const expected = new Map([['empty', Buffer.alloc(0)]])
  while (expected.size < SMALL) expected.set(`small-${expected.size}`, randomBytes(4096))
  expected.set('large', randomBytes(100_000)) // which is for the store anyway

  beforeAll(async () => {
    postgres = await openPostgresProxy()
    store = await openS3Proxy(s3)
    folder = await newFolder()
    const settings = await s3Env(s3)
    let url = ''
    server = await startTestServer(settings, {
      databaseUrl: (name) => {
        url = postgres.url(name)
        return url
      },
    })
    env = {
      ...settings,
      STORAGE_S3_ENDPOINT: store.endpoint,
      DATABASE_URL: url,
      STORAGE_DATA_DIR: server.dataDir,
      STORAGE_LOG_LEVEL: 'warn',
      NODE_NO_WARNINGS: '1',
    }
    await server.createBucket('b')
    for (const [name, bytes] of expected) {
      const init = { method: 'PUT', headers: { authorization: `Bearer ${server.keys.serviceKey}` } }
      const response = await fetch(`${server.url}/object/b/${name}`, { ...init, body: new Uint8Array(bytes) })
      expect(response.ok, name).toBe(true)
    }
  })
  afterAll(async () => {
    await removeFolder(folder, killed)
    await server?.close()
    await store?.close()
    await postgres?.close()
  })

  /** How many versions have bytes in the database, and how many in the store. */
  async function places(): Promise<{ inside: number; outside: number }> {
    const [inside, outside] = [await storedInline(server.admin), await storedObjects(server.config)]
    return { inside: inside.length, outside: outside.length }
  }

  async function expectAllReadable(): Promise<void> {
    for (const [name, bytes] of expected) {
      const response = await server.request('GET', `/object/b/${name}`)
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes), name).toBe(true)
    }
  }

  async function expectNoDrift(): Promise<void> {
    await cleanUp(server)
    expect(await findDrift(server)).toEqual(NO_DRIFT)
  }

  const inline = (...args: string[]) => strongroom(['inline', ...args], { cwd: folder, env })

  /** Kills a run once the store has done what it asks for last, and does not hear of it. */
  async function killedAfter(way: 'in' | 'out', count: number, method: string): Promise<void> {
    let seen = 0
    const fault = store.fail(
      { at: 'after', what: 'stall' },
      { when: (request) => request.method === method && ++seen > count },
    )
    const command = new Command(['inline', `--${way}`], { cwd: folder, env })
    killed.push(command)
    await until(() => fault.count > 0 || !command.isRunning, `the store has done ${count} and one more`)
    command.signal('SIGKILL')
    expect(await command.ended).toMatchObject({ signal: 'SIGKILL' })
    fault.stop()
    store.cut()
  }

  it('--dry-run tells what it would move, and moves nothing', async () => {
    expect(await places()).toEqual({ inside: SMALL, outside: 1 })
    expect(await inline('--out', '--dry-run')).toMatchObject({
      code: 0,
      stdout: `Dry run, nothing was changed. It would move ${SMALL} objects with 0 MB out of the database.\n`,
    })
    expect(await places()).toEqual({ inside: SMALL, outside: 1 })
  })

  it('--out that is killed when the store has the bytes goes on, and fills the store', async () => {
    await killedAfter('out', 3, 'PUT')
    await expectAllReadable()
    expect(await inline('--out')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^\d objects with 0 MB were moved out of the database\.\nNothing is left\.\n$/,
      ),
    })
    expect(await places()).toEqual({ inside: 0, outside: expected.size })
    await expectAllReadable()
    await expectNoDrift()
  })

  it('--in that is killed when the store has removed the bytes goes on, and empties the store', async () => {
    await killedAfter('in', 3, 'DELETE')
    await expectAllReadable()
    expect(await inline('--in')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^\d objects? with 0 MB (?:was|were) moved into the database\.\nNothing is left\.\n$/,
      ),
    })
    await expectAllReadable()
    await expectNoDrift() // the cleanup removes what the killed one had on the list
    expect(await places()).toEqual({ inside: SMALL, outside: 1 })
  })

  it('says that the store does not answer as it should, and moves nothing', async () => {
    const refusal = store.fail({ at: 'before', what: { status: 403, code: 'AccessDenied' } })
    const { code, stderr } = await inline('--out')
    refusal.stop()
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^strongroom: .+\n$/)])
    expect(await places()).toEqual({ inside: SMALL, outside: 1 })
    await expectAllReadable()
  })
})
