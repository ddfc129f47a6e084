import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Session } from '../../../src/database/connection/session.ts'
import { endTurn, forgetTurns, takeTurn } from '../../../src/database/connection/turns.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

let test: TestDatabase
let sessions: Session[]
beforeEach(async () => {
  test = await createTestDatabase()
  sessions = []
})
afterEach(async () => {
  await Promise.all(sessions.map((session) => session.close()))
  await test.drop()
})

async function open(): Promise<Session> {
  const session = await test.database.openSession()
  sessions.push(session)
  return session
}

const names = async () =>
  (await test.admin`select name from strongroom.turns order by name`).map(({ name }) => name)

describe('a turn', () => {
  it('is one session’s until it gives it back, and it may have it twice', async () => {
    const [one, two] = await Promise.all([open(), open()])
    expect(await takeTurn(one.sql, 'sweep')).toBe(true)
    expect(await takeTurn(one.sql, 'sweep')).toBe(true)
    expect(await takeTurn(two.sql, 'sweep')).toBe(false)
    expect(await takeTurn(two.sql, 'another')).toBe(true)
    await endTurn(two.sql, 'sweep') // which is not his
    expect(await takeTurn(two.sql, 'sweep')).toBe(false)
    await endTurn(one.sql, 'sweep')
    expect(await takeTurn(two.sql, 'sweep')).toBe(true)
  })

  it('ends with its session, however that ends', async () => {
    const [one, two] = await Promise.all([open(), open()])
    await takeTurn(one.sql, 'sweep')
    await test.admin`select pg_terminate_backend(pid) from strongroom.turns`
    await until(() => one.lost.aborted, 'the session is lost')
    await until(() => takeTurn(two.sql, 'sweep'), 'another has it')
  })

  it('is not of a later session that has the same pid', async () => {
    const [one, two] = await Promise.all([open(), open()])
    await takeTurn(one.sql, 'sweep')
    await test.admin`update strongroom.turns set started = started - interval '1 second'`
    expect(await takeTurn(two.sql, 'sweep')).toBe(true)
    expect(await takeTurn(one.sql, 'sweep')).toBe(false)
  })

  it('is had by one of many that ask at the same moment, again and again', async () => {
    const many = await Promise.all(Array.from({ length: 8 }, open))
    let running = 0
    let most = 0
    let had = 0
    await Promise.all(
      many.map(async ({ sql }) => {
        for (let i = 0; i < 50; i++) {
          if (!(await takeTurn(sql, 'sweep'))) continue
          most = Math.max(most, ++running)
          had++
          await sql`select 1`
          running--
          await endTurn(sql, 'sweep')
        }
      }),
    )
    expect(most).toBe(1)
    expect(had).toBeGreaterThan(20)
    expect(await names()).toEqual([])
  })

  it('goes over to one of many when its session has ended', async () => {
    for (let round = 0; round < 20; round++) {
      const former = await open()
      await takeTurn(former.sql, 'sweep')
      await former.close()
      const many = await Promise.all(Array.from({ length: 4 }, open))
      const winners: Session[] = []
      await until(async () => {
        const taken = await Promise.all(many.map(({ sql }) => takeTurn(sql, 'sweep')))
        winners.push(...many.filter((_, i) => taken[i]))
        return winners.length > 0
      }, 'one has it')
      expect(winners).toHaveLength(1)
      await Promise.all(many.map((session) => session.close()))
    }
  })
})

describe('whoever waits for a turn', () => {
  it('is the next to get it, though others ask for it all the time', async () => {
    const [holder, waiting, eager] = await Promise.all([open(), open(), open()])
    await takeTurn(holder.sql, 'sweep')
    expect(await takeTurn(waiting.sql, 'sweep', true)).toBe(false)
    await endTurn(holder.sql, 'sweep')
    for (let i = 0; i < 20; i++) expect(await takeTurn(eager.sql, 'sweep')).toBe(false)
    expect(await takeTurn(waiting.sql, 'sweep', true)).toBe(true)
    await endTurn(waiting.sql, 'sweep')
    expect(await takeTurn(eager.sql, 'sweep')).toBe(true)
    expect(await names()).toEqual(['sweep'])
  })

  it('stands in nobody’s way once it is gone', async () => {
    const [holder, waiting, eager] = await Promise.all([open(), open(), open()])
    await takeTurn(holder.sql, 'sweep')
    await takeTurn(waiting.sql, 'sweep', true)
    await waiting.close()
    await endTurn(holder.sql, 'sweep')
    await until(() => takeTurn(eager.sql, 'sweep'), 'another has it')
  })

  it('has its turn beside a server that does nothing else', async () => {
    const { database } = test
    const stopping = new AbortController()
    const busy = async () => {
      while (!stopping.signal.aborted) {
        await database.exclusively('sweep', async () => {
          await database.sql`select pg_sleep(0.05)`
        })
      }
    }
    const servers = Promise.all([busy(), busy()])
    await until(async () => (await names()).includes('sweep'), 'they are at it')
    try {
      for (let i = 0; i < 5; i++) {
        const done = await database.exclusively('sweep', async () => 'done', { limitMs: 20_000 })
        expect(done).toBe('done')
      }
    } finally {
      stopping.abort()
      await servers
    }
  })

  it('gives up when it is told to, or its time is over', async () => {
    const { database } = test
    await database.exclusively('sweep', async () => {
      expect(await database.exclusively('sweep', async () => 'done')).toBe(null)
      expect(await database.exclusively('sweep', async () => 'done', { limitMs: 100 })).toBe(null)
      const leaving = new AbortController()
      const waiting = database.exclusively('sweep', async () => 'done', {
        limitMs: 60_000,
        signal: leaving.signal,
      })
      await until(async () => (await names()).includes('sweep, next'), 'it waits')
      leaving.abort(new Error('no more'))
      await expect(waiting).rejects.toThrow('no more')
    })
  })
})

it('turns of sessions that have ended are forgotten, and no others', async () => {
  const [one, two] = await Promise.all([open(), open()])
  await takeTurn(one.sql, 'kept')
  for (const name of ['a', 'b', 'c']) await takeTurn(two.sql, name)
  await two.close()
  await until(async () => {
    await forgetTurns(test.database.sql)
    return (await names()).length < 4
  }, 'they are forgotten')
  expect(await names()).toEqual(['kept'])
  expect(await forgetTurns(test.database.sql)).toBe(0)
})
