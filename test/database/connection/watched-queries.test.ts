import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, it } from 'vitest'
import postgres from '#postgres'
import { createTestDatabase } from '../../support/database.ts'

let made: Awaited<ReturnType<typeof createTestDatabase>>
let sql: postgres.Sql
let told: string[]
beforeAll(async () => {
  made = await createTestDatabase()
})
afterAll(async () => {
  await made?.drop()
})
beforeEach(() => {
  told = []
  const { host, port, superuser: username } = inject('postgres')
  sql = postgres({ host, port, username, database: made.name, pass: '', max: 1, onnotice: () => {} })
})
afterEach(async () => {
  await sql.end({ timeout: 1 })
})

/** Hears of one query. */
function watcher(name: string): postgres.QueryWatcher<string> {
  return {
    onstart: (query) => {
      told.push(`${name} begins, ${query.isSent ? 'sent' : 'not sent'}`)
      return name
    },
    onend: (started) => told.push(`${started} has ended`),
  }
}

it('a watcher is told when a query is awaited, and when it has an answer', async () => {
  const query = sql`select 1 as one`.watch(watcher('a'))
  expect(told).toEqual([])
  const running = query.then((rows) => told.push(`a: ${rows[0]?.one}`))
  await running
  expect(told).toEqual(['a begins, not sent', 'a has ended', 'a: 1'])
  expect(query.isSent).toBe(true)
})

it('a watcher is told of a failure, of PostgreSQL and of the connection', async () => {
  await expect(sql`select 1 / 0`.watch(watcher('a'))).rejects.toThrow('division by zero')
  await sql.end()
  await expect(sql`select 1`.watch(watcher('b'))).rejects.toMatchObject({ code: 'CONNECTION_ENDED' })
  expect(told).toEqual(['a begins, not sent', 'a has ended', 'b begins, not sent', 'b has ended'])
})

it('a watcher is told of what is a part of a transaction', async () => {
  await sql.begin(async (tx) => {
    await tx`select 1`.watch(watcher('a'))
    await tx.unsafe('select 1').watch(watcher('b')).values()
  })
  expect(told).toEqual(['a begins, not sent', 'a has ended', 'b begins, not sent', 'b has ended'])
})

it('a query that was given up before it was sent is never sent', async () => {
  await sql`create temporary table rows ()`
  const first = sql.begin((tx) => tx`select pg_sleep(0.2)`).then(() => told.push('first'))
  const late = sql`insert into rows default values`.watch({
    onstart: (query) => {
      told.push('late')
      setImmediate(() => {
        query.reject(new Error('late'))
        if (!query.isSent) query.cancel()
      })
    },
    onend: () => {},
  })
  await expect(late).rejects.toThrow('late')
  await first
  expect(await sql`select from rows`).toHaveLength(0)
  expect(told).toEqual(['late', 'first'])
})

it('another way to run a query is its answer, in the form that was asked for', async () => {
  const instead = (query: postgres.PendingQuery<postgres.Row[]>) =>
    query.watch(watcher('a')).instead(async () => sql`select 2 as number`.like(query))
  expect([...(await instead(sql`select 1 as number`))]).toEqual([{ number: 2 }])
  expect([...(await instead(sql`select 1 as number`).values())]).toEqual([[2]])
  const failing = sql`select 1`.instead(async () => {
    throw new Error('not at all')
  })
  await expect(failing).rejects.toThrow('not at all')
  expect(told).toEqual([])
})
