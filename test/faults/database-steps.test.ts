import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cut, type Mishap, openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { ONE_CALL } from './one-call.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Aftermath, type Fault, failAtEachStep, roundsOf } from './steps/injection.ts'
import { OPERATIONS } from './steps/operations.ts'
import { Tally } from './tally.ts'

const tally = new Tally('failure at each round trip to the database')
const aftermath = new Aftermath(tally)
let proxy: PostgresProxy
let server: TestServer

beforeAll(async () => {
  proxy = await openPostgresProxy()
  // One connection, so that the round trips of an operation always are the same ones.
  server = await startTestServer({ STORAGE_DATABASE_POOL: '1' }, { databaseUrl: (name) => proxy.url(name) })
})
afterAll(async () => {
  await server.close()
  await proxy.close()
  tally.print()
  expect([tally.lost, tally.leaked]).toEqual([0, 0])
})

function fault(what: string, mishap: Mishap, cut: Cut = 'end'): Fault {
  return {
    what,
    arm: (step) => proxy.arm(step, mishap, cut),
    disarm: () => proxy.arm(0),
    get hasStruck() {
      return proxy.hasStruck
    },
    about: (step) => proxy.roundTrips[step - 1] ?? 'no step',
    status: mishap.kind === 'error' ? 507 : 503,
    leavesDoubt: (step) => {
      if (mishap.kind === 'error') return false
      const trips = proxy.roundTrips
      const struck = trips[step - 1] ?? ''
      if (struck === 'commit' || ONE_CALL.test(struck)) return mishap.kind !== 'before'
      // What the server asks of its own accord shares the connection with a call that is one statement, before or behind it.
      return trips.some((about) => ONE_CALL.test(about))
    },
    // When a small upload loses its commit, nobody knows whether its bytes may go.
    leavesOnlyListed: mishap.kind === 'error',
    // A new connection has prepared nothing yet, so that each statement takes two round trips.
    settle: () => proxy.cutAll(),
  }
}

/** 53100 is a database whose disk is full: refused, and worth trying again. */
const FAULTS = [
  fault('connection cut before PostgreSQL saw it', { kind: 'before' }),
  fault('connection reset after PostgreSQL did it, its answer lost', { kind: 'after' }, 'reset'),
  fault('refused by PostgreSQL', { kind: 'error', sqlState: '53100' }),
  fault('connection cut after PostgreSQL did it, its answer lost', { kind: 'after' }),
  fault('connection reset before PostgreSQL saw it', { kind: 'before' }, 'reset'),
  fault('connection cut behind the answer', { kind: 'behind' }),
]

/** In reduced size every second step, in one run the odd ones and in another the even ones. */
const seed = newSeed()
const first = 1 + new Random(seed).below(2)
const isTried = (step: number) => step % 2 === first % 2

describe.each(OPERATIONS.map((operation, index) => [operation.what, operation, index] as const))(
  '%s that loses the database at any of its round trips',
  (_what, operation, index) => {
    it.each(roundsOf(FAULTS, index, isTried))(
      `is done, or not at all and says so: %s (FAULTS_SEED=${seed})`,
      { timeout: 120_000 },
      async (what, choose) => {
        const prefix = `${index}-${FAULTS.findIndex((one) => one.what === what) + 1}`
        const steps = await failAtEachStep(server, operation, `db-${prefix}`, choose, aftermath)
        expect(steps).toBeGreaterThanOrEqual(operation.isOneCall ? 1 : isFull ? 4 : 2)
      },
    )
  },
)

it('of all that, a cleanup leaves what was acknowledged, and nothing else', { timeout: 600_000 }, () =>
  aftermath.settle(server),
)
