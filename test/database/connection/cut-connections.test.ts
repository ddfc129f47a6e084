import { sql } from 'drizzle-orm'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { asService } from '../../../src/database/as-caller.ts'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { until } from '../../support/wait.ts'

let testDatabase: TestDatabase
let proxy: PostgresProxy
/** One connection, so that the next transaction gets the one that was lost, made anew. */
let database: Database

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  proxy = await openPostgresProxy()
  database = openDatabase(proxy.url(testDatabase.name), { connections: 1 })
})
afterAll(async () => {
  await database.close()
  await proxy.close()
  await testDatabase.drop()
})
beforeEach(() => testDatabase.admin`delete from storage.removals`)

const note = (version: number) =>
  sql`insert into storage.removals (version, bucket_uid)
    values (${`00000000-0000-4000-8000-00000000000${version}`}, gen_random_uuid())`

async function noted(): Promise<number[]> {
  const rows = await testDatabase.admin`select version from storage.removals order by version`
  return rows.map((row) => Number(row.version.at(-1)))
}

/** A promise, and what fulfils it. */
function gate(): { open: () => void; opened: Promise<void> } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** Cuts all connections, and returns once both ends have heard of it. */
async function cutAndHeard(cut: 'end' | 'reset'): Promise<void> {
  proxy.cutAll(cut)
  await until(() => proxy.connections === 0, 'the connection is gone')
  await until(async () => {
    const [row] = await testDatabase.admin`
      select count(*)::int as n from pg_stat_activity
      where datname = current_database() and usename = 'strongroom_server'`
    return row?.n === 1 // the test database's own pool has one of the server's too
  }, 'PostgreSQL has ended the session')
}

const isTrue = () => true
const isFalse = () => false
const UNAVAILABLE = { code: 'DatabaseUnavailable' }

describe.each(['end', 'reset'] as const)('a transaction whose connection is lost by %s', (cut) => {
  beforeEach(() => testDatabase.database.sql`select 1`)

  it.each(['before', 'after', 'behind'] as const)(
    'at any of its statements (%s it) fails, and the next one works',
    async (kind) => {
      for (let step = 1; ; step++) {
        await until(
          () => asService(database, (tx) => tx.execute(sql`select 1`)).then(isTrue, isFalse),
          'it is back',
        )
        proxy.arm(step, { kind }, cut)
        const work = asService(database, async (tx) => {
          await tx.execute(note(1))
          await tx.execute(sql`delete from storage.removals`)
        })
        const outcome = await work.then(
          () => 'done',
          (error: { code?: string }) => error.code,
        )
        const { hasStruck, roundTrips } = proxy
        proxy.arm(0)
        if (!hasStruck) {
          expect([outcome, step > 4]).toEqual(['done', true])
          return
        }
        const isCommitted = kind === 'behind' && /commit/.test(roundTrips[step - 1] ?? '')
        expect([step, outcome]).toEqual([step, isCommitted ? 'done' : UNAVAILABLE.code])
        expect([step, await noted()]).toEqual([step, []])
      }
    },
  )

  it('while it does something else: its later statements and its commit are nobody else’s', async () => {
    const [begun, first, second] = [gate(), gate(), gate()]
    const late: unknown[] = []
    const lost = asService(database, async (tx) => {
      await tx.execute(note(1))
      begun.open()
      await first.opened
      await tx.execute(note(2)).catch((error: unknown) => late.push(error))
    })
    const refused = expect(lost).rejects.toMatchObject(UNAVAILABLE)
    await begun.opened
    await cutAndHeard(cut)
    await refused

    const other = asService(database, async (tx) => {
      await tx.execute(note(3))
      second.open()
      await until(() => late.length === 1, 'the first has tried to go on')
      throw new Error('the other changes its mind')
    })
    await second.opened
    first.open()
    await expect(other).rejects.toThrow('the other changes its mind')
    expect(await noted()).toEqual([])
    await asService(database, (tx) => tx.execute(note(4)))
    expect(await noted()).toEqual([4])
  })

  it('while it does something else, and then succeeds without a statement: nothing is committed', async () => {
    const [begun, first, second, third] = [gate(), gate(), gate(), gate()]
    const lost = asService(database, async (tx) => {
      await tx.execute(note(1))
      begun.open()
      await first.opened
    })
    const refused = expect(lost).rejects.toMatchObject(UNAVAILABLE)
    await begun.opened
    await cutAndHeard(cut)
    await refused

    const other = asService(database, async (tx) => {
      await tx.execute(note(3))
      second.open()
      await third.opened
      throw new Error('the other changes its mind')
    })
    await second.opened
    const before = proxy.roundTrips.length
    first.open()
    // A commit of the first would be under way by now: a query of another connection takes longer.
    await testDatabase.admin`select 1`
    expect(proxy.roundTrips.length).toBe(before)
    third.open()
    await expect(other).rejects.toThrow('the other changes its mind')
    expect(await noted()).toEqual([])
  })
})

describe.each(['end', 'reset'] as const)(
  'after a connection was lost by %s in the middle of a statement',
  (cut) => {
    beforeEach(async () => {
      await until(
        () => asService(database, (tx) => tx.execute(sql`select 1`)).then(isTrue, isFalse),
        'it is back',
      )
      proxy.arm(1, { kind: 'after' }, cut)
      await expect(database.sql`select 1`).rejects.toThrow()
      proxy.arm(0)
    })
    afterEach(() => {
      proxy.decide = undefined
      proxy.mode = 'pass'
    })

    it.each(['57P03', '53300', '28P01', '3D000'])(
      'whoever asks is told that PostgreSQL lets nobody in (%s)',
      async (sqlState) => {
        proxy.decide = (about) => (about === 'connect' ? { kind: 'error', sqlState } : undefined)
        for (let n = 0; n < 3; n++) await expect(database.sql`select 1`).rejects.toThrow()
        proxy.decide = undefined
        await until(() => database.sql`select 1`.then(isTrue, isFalse), 'it is back')
      },
    )

    it('whoever asks is told that PostgreSQL closes each connection at once', async () => {
      proxy.mode = 'refuse'
      for (let n = 0; n < 3; n++) await expect(database.sql`select 1`).rejects.toThrow()
      proxy.mode = 'pass'
      await until(() => database.sql`select 1`.then(isTrue, isFalse), 'it is back')
    })
  },
)

it('a connection that is lost while it is made is made again', async () => {
  for (const cut of ['end', 'reset'] as const) {
    for (let step = 1; ; step++) {
      const fresh = openDatabase(proxy.url(testDatabase.name), { connections: 1 })
      proxy.arm(step, { kind: 'before' }, cut)
      await fresh.sql`select 1`.catch(() => {})
      const { hasStruck } = proxy
      proxy.arm(0)
      const [row] = await fresh.sql`select array['a', 'b'] as texts`
      expect(row?.texts).toEqual(['a', 'b'])
      await fresh.close()
      if (!hasStruck) break
      expect(step).toBeLessThan(10)
    }
  }
})
