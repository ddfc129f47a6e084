import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import postgres from '#postgres'

let sql: postgres.Sql
beforeAll(() => {
  const { host, port, superuser: username } = inject('postgres')
  sql = postgres({ host, port, username, database: 'postgres', pass: '', max: 1, onnotice: () => {} })
})
afterAll(() => sql.end({ timeout: 1 }))

/** Fails behind nine rows, which are on their way by then. */
const FAILING = 'select 1 / (10 - n) from generate_series(1, 20) n'

it('rows of a statement that fails behind them are in no answer of the next one', async () => {
  for (const options of [{ prepare: true }, { prepare: true }, { prepare: false }]) {
    await expect(sql.unsafe(FAILING, [], options)).rejects.toMatchObject({ code: '22012' })
    expect([...(await sql.unsafe('select 1 as one', [], options))]).toEqual([{ one: 1 }])
  }
})

it('nor of the one that was asked before it had failed', async () => {
  const failing = sql.unsafe(FAILING).execute()
  const next = sql.unsafe('select 1 as one').execute()
  await expect(failing).rejects.toMatchObject({ code: '22012' })
  expect([...(await next)]).toEqual([{ one: 1 }])
})
