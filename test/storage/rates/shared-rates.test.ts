import pino from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from '../../../src/database/connection/client.ts'
import { forgetRates } from '../../../src/database/queries/rates.ts'
import { StorageError } from '../../../src/model/errors.ts'
import type { Rate } from '../../../src/model/rate.ts'
import { SharedRates } from '../../../src/storage/rates/shared-rates.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

const logger = pino({ level: 'silent' })

/** Nothing comes back while a test runs. */
const RATE = { requests: 8, windowMs: 86_400_000 }

let db: TestDatabase
let open: SharedRates[] = []
beforeAll(async () => {
  db = await createTestDatabase()
})
afterEach(async () => {
  await Promise.all(open.map((rates) => rates.close()))
  open = []
  await db.admin`truncate strongroom.rates`
})
afterAll(() => db.drop())

function server(rate: Rate = RATE, database: Database = db.database): SharedRates {
  const rates = new SharedRates({ rates: { read: rate, write: rate }, database, logger })
  open.push(rates)
  return rates
}

function take(rates: SharedRates, client: string, kind: 'read' | 'write' = 'read'): boolean {
  return rates.take(kind, client, performance.now())?.waitMs === 0
}

/** How many of so many requests are let in. */
function admitted(rates: SharedRates, client: string, asked: number): number {
  return Array.from({ length: asked }, () => take(rates, client)).filter(Boolean).length
}

/** How many requests all servers together know of. */
async function settled(client: string): Promise<number> {
  const [row] = await db.admin<{ ms: number }[]>`
    select (extract(epoch from empty_at - now()) * 1000)::float8 as ms from strongroom.rates
    where client = ${client} and kind = 'read'`
  return row ? Math.round((row.ms / RATE.windowMs) * RATE.requests) : 0
}

describe('servers with rate limits', () => {
  it('let in no more than each its own before they have heard of each other, and none after', async () => {
    const servers = Array.from({ length: 4 }, () => server())
    const first = servers.map((rates) => admitted(rates, 'hostile', 100))
    expect(first).toEqual([8, 8, 8, 8])
    await until(async () => (await settled('hostile')) === 32, 'all is added up')
    // What one asks for to hear of the rest is of these too.
    expect(servers.map((rates) => admitted(rates, 'hostile', 100))).toEqual([0, 0, 0, 0])
    expect(servers.map((rates) => admitted(rates, 'innocent', 1))).toEqual([1, 1, 1, 1])
  })

  it('share one limit when requests go to them in turn', async () => {
    const [one, other] = [server(), server()]
    let total = 0
    let refusals = 0
    while (refusals < 4) {
      const before = total
      for (const rates of [one, other]) if (take(rates, 'a')) total++
      if (total === before) refusals++
      await until(async () => (await settled('a')) === total, 'all is added up')
    }
    // Each may let in one more before it has heard of the other's last one.
    expect(total).toBeGreaterThanOrEqual(RATE.requests)
    expect(total).toBeLessThanOrEqual(RATE.requests + 2)
  })

  it('keep kinds and clients apart', async () => {
    const [one, other] = [server(), server()]
    expect(admitted(one, 'a', 100)).toBe(8)
    await until(async () => (await settled('a')) === 8, 'all is added up')
    expect(take(other, 'a')).toBe(true) // it asks, and hears
    await until(() => !take(other, 'a'), 'the other has heard')
    expect(take(other, 'a', 'write')).toBe(true)
    expect(take(other, 'b')).toBe(true)
  })

  it('hold each by itself while the database is away, and add it up when it is back', async () => {
    let isAway = true
    const away: Database = {
      ...db.database,
      run: (...asked) =>
        isAway ? Promise.reject(new StorageError('DatabaseUnavailable')) : db.database.run(...asked),
    }
    const rates = server(RATE, away)
    expect(admitted(rates, 'a', 100)).toBe(8)
    expect(admitted(rates, 'b', 3)).toBe(3)
    await rates.close() // which tells, and fails
    expect(await settled('a')).toBe(0)
    expect(admitted(rates, 'a', 1)).toBe(0)
    isAway = false
    await rates.close()
    expect([await settled('a'), await settled('b')]).toEqual([8, 3])
  })

  it('leave what was asked for to the next one when they stop', async () => {
    const before = server()
    expect(admitted(before, 'a', 100)).toBe(8)
    await before.close()
    const after = server()
    expect(take(after, 'a')).toBe(true)
    await until(async () => (await settled('a')) === 9, 'it has heard')
    await after.close()
    expect(take(after, 'a')).toBe(false)
  })

  it('let in again what has leaked meanwhile', async () => {
    const rates = server({ requests: 100, windowMs: 1000 })
    expect(admitted(rates, 'a', 200)).toBeLessThanOrEqual(110)
    expect(take(rates, 'a')).toBe(false)
    await until(() => take(rates, 'a'), 'there is room again')
  })

  it('tell of a thousand clients by one statement', async () => {
    let statements = 0
    const counted: Database = {
      ...db.database,
      run: (...asked) => {
        statements++
        return db.database.run(...asked)
      },
    }
    const rates = server(RATE, counted)
    for (let index = 0; index < 500; index++) for (let times = 0; times < 3; times++) take(rates, `${index}`)
    await rates.close()
    expect(await settled('499')).toBe(3)
    expect(statements).toBeLessThanOrEqual(2) // the other one takes away what is empty
  })
})

it('buckets that are empty are taken away, and no others', async () => {
  await db.admin`
    insert into strongroom.rates values
      ('read', 'gone', now() - interval '1 s', '1 s'), ('read', 'here', now() + interval '1 h', '1 s')`
  await forgetRates(db.database)
  expect(await db.admin`select client from strongroom.rates`).toEqual([{ client: 'here' }])
})
