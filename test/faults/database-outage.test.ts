import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Database, openDatabase } from '../../src/database/connection/client.ts'
import { type OwnPostgres, startOwnPostgres } from '../support/own-postgres.ts'
import { type Mishap, openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { ONE_CALL } from './one-call.ts'
import { Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { underLoad } from './under-load.ts'

const ROUNDS = isFull ? 5 : 1

/** Answers that say so before the database comes back. */
const REFUSALS = isFull ? 10 : 4

/** Of these round trips one in so many is cut. */
const ONE_OF = { commit: 2, call: 5, other: 40 }
/** Commits whose answer is lost, and as many calls that are a transaction of their own. */
const ENOUGH = isFull ? 25 : 2

const tally = new Tally('database outage')
let postgres: OwnPostgres
let server: TestServer

beforeAll(async () => {
  postgres = await startOwnPostgres({ max_connections: '30' })
  server = await startTestServer({}, { postgres: postgres.place })
})
afterAll(async () => {
  await server?.close()
  await postgres?.remove()
  tally.print()
  expect([tally.lost, tally.leaked]).toEqual([0, 0])
})

let count = 0

async function health(): Promise<unknown> {
  return (await server.request('GET', '/health')).json()
}

async function becomes(wanted: object): Promise<void> {
  const isSo = async () => JSON.stringify(await health()) === JSON.stringify(wanted)
  await until(isSo, `the health is ${JSON.stringify(wanted)}`)
}

const BAD = { healthy: false, database: 'failing', backend: 'ok' }
const GOOD = { healthy: true, database: 'ok', backend: 'ok' }

/** Each case takes the database away, and returns what gives it back. */
const OUTAGES: [what: string, begin: () => Promise<() => Promise<void>>][] = [
  [
    'is stopped, and started again',
    async () => {
      await postgres.stop()
      return () => postgres.start()
    },
  ],
  [
    'is shutting down, and lets nobody in (57P03)',
    async () => {
      await postgres.root.sql`select 1`
      // It waits for sessions such as ours to end.
      process.kill(postgres.pid, 'SIGTERM')
      await postgres.endSessions()
      return async () => {
        await postgres.stop()
        await postgres.start()
      }
    },
  ],
  [
    'has no connection left (53300)',
    async () => {
      const taken: Database[] = []
      const take = async () => {
        const { host, port, superuser } = postgres.place
        const one = openDatabase(
          { host, port, database: 'postgres', username: superuser },
          { connections: 1 },
        )
        taken.push(one)
        await one.sql`select 1`
      }
      // The server's own sessions give up their places, and somebody else is quicker.
      for (let failures = 0; failures < 3; ) {
        await postgres.endSessions()
        await take().catch(() => failures++)
      }
      return async () => {
        await Promise.all(taken.map((one) => one.close()))
      }
    },
  ],
  [
    'refuses the server’s login (28000)',
    async () => {
      await postgres.root.sql`alter role strongroom_server nologin`
      await postgres.endSessions()
      return async () => void (await postgres.root.sql`alter role strongroom_server login`)
    },
  ],
  [
    'refuses the server’s password (28P01)',
    async () => {
      const undo = await postgres.addAccessRule('local all strongroom_server scram-sha-256')
      await postgres.endSessions()
      return undo
    },
  ],
  [
    'takes no connections (55000)',
    async () => {
      const [row] = await server.admin<{ name: string }[]>`select current_database() as name`
      const name = postgres.root.sql(String(row?.name))
      await postgres.root.sql`alter database ${name} with allow_connections false`
      await postgres.endSessions()
      return async () => void (await postgres.root.sql`alter database ${name} with allow_connections true`)
    },
  ],
  [
    'is missing (3D000)',
    async () => {
      const [row] = await server.admin<{ name: string }[]>`select current_database() as name`
      const [name, other] = [postgres.root.sql(String(row?.name)), postgres.root.sql('elsewhere')]
      await postgres.root.sql`alter database ${name} with allow_connections false`
      await until(async () => {
        await postgres.root.sql`
          select pg_terminate_backend(pid) from pg_stat_activity where datname = ${String(row?.name)}`
        return postgres.root.sql`alter database ${name} rename to ${other}`.then(
          () => true,
          () => false,
        )
      }, 'nobody holds the database')
      return async () => {
        await postgres.root.sql`alter database ${other} rename to ${name}`
        await postgres.root.sql`alter database ${name} with allow_connections true`
      }
    },
  ],
]

describe.each(OUTAGES)('a database that %s', (_what, begin) => {
  let restore: (() => Promise<void>) | undefined
  afterEach(async () => {
    await restore?.()
    restore = undefined
  })

  it('answers 503 and says when to come back, loses nothing, and works again by itself', {
    timeout: 120_000,
  }, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await underLoad(server, `outage-${++count}`, tally, async (load) => {
        restore = await begin()
        await load.answers(503, REFUSALS)
        await becomes(BAD)
        expect((await server.request('GET', '/health/live')).status).toBe(200)
        await restore()
        restore = undefined
        await becomes(GOOD)
      })
    }
  })
})

describe('a database that has become read-only (25006)', () => {
  const setReadOnly = async (isOn: boolean) => {
    await postgres.root.sql.unsafe(`alter system set default_transaction_read_only = ${isOn}`)
    await postgres.root.sql`select pg_reload_conf()`
  }
  afterEach(() => setReadOnly(false))

  it('refuses uploads with 503, gives out what it has, and takes uploads again by itself', {
    timeout: 120_000,
  }, async () => {
    await server.createBucket('still')
    await server.request('PUT', '/object/still/here', { body: 'bytes' })
    for (let round = 0; round < ROUNDS; round++) {
      await underLoad(server, `outage-${++count}`, tally, async (load) => {
        await setReadOnly(true)
        await load.answers(503, REFUSALS)
        expect(await (await server.request('GET', '/object/still/here')).text()).toBe('bytes')
        const refused = await server.request('PUT', '/object/still/here', { body: 'other' })
        expect([refused.status, refused.headers.has('retry-after'), await refused.json()]).toEqual([
          503,
          true,
          expect.objectContaining({ code: 'DatabaseReadOnly' }),
        ])
        await setReadOnly(false)
      })
    }
  })
})

describe('connections that are cut at random moments, in the middle of commits too', () => {
  let proxy: PostgresProxy
  let behind: TestServer
  beforeAll(async () => {
    proxy = await openPostgresProxy(postgres.place)
    behind = await startTestServer({}, { postgres: postgres.place, databaseUrl: (name) => proxy.url(name) })
  })
  afterAll(async () => {
    await behind?.close()
    await proxy?.close()
  })

  it.each(['end', 'reset'] as const)(
    '(%s) lose nothing that was acknowledged',
    { timeout: 120_000 },
    async (cut) => {
      for (let round = 0; round < ROUNDS; round++) {
        await underLoad(behind, `outage-${++count}`, tally, async (load) => {
          const random = new Random(load.seed)
          const kinds: Mishap['kind'][] = ['before', 'after', 'behind']
          const unanswered = { commit: 0, call: 0, other: 0 }
          proxy.arm(0, undefined, cut)
          proxy.decide = (about) => {
            const what = about === 'commit' ? 'commit' : ONE_CALL.test(about) ? 'call' : 'other'
            if (random.below(ONE_OF[what]) > 0) return undefined
            const kind = kinds[random.below(kinds.length)] ?? 'after'
            if (kind === 'after') unanswered[what]++
            return kind === 'error' ? undefined : { kind }
          }
          const isEnough = () => unanswered.commit >= ENOUGH && unanswered.call >= ENOUGH
          await until(isEnough, 'commits were cut').finally(() => {
            proxy.decide = undefined
          })
        })
      }
    },
  )
})
