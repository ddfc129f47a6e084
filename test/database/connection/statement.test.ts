import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from '../../../src/database/connection/client.ts'
import { Statement } from '../../../src/database/connection/statement.ts'
import { createTestDatabase } from '../../support/database.ts'

let made: Awaited<ReturnType<typeof createTestDatabase>>
let database: Database
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  database = made.database
})
afterAll(async () => {
  await made?.drop()
})

describe('a fixed statement', () => {
  it('takes its values by name, each as often as it is named', async () => {
    const statement = new Statement<{ first: string; second: number }, Record<string, unknown>>(
      `select :second::int + :second as twice, :first as first, 'a:b' as text, (array[1, 2, 3])[1:2] as part`,
    )
    expect([...(await database.run(statement, { first: "it's", second: 4 }))]).toEqual([
      { twice: 8, first: "it's", text: 'a:b', part: [1, 2] },
    ])
  })

  it('is the same by each way in, and as often as it is run', async () => {
    const statement = new Statement<{ id: string }, { id: string }>('select :id::text as id')
    const answers = [
      await database.run(statement, { id: 'run' }),
      await database.run(statement, { id: 'again' }),
      await database.read(statement, { id: 'read' }),
      await database.transaction((tx) => tx.run(statement, { id: 'transaction' })),
      await database.questions.ask('somebody', (pool) => pool.run(statement, { id: 'question' })),
    ]
    expect(answers.map(([row]) => row?.id)).toEqual(['run', 'again', 'read', 'transaction', 'question'])
  })

  it('is prepared once for a connection, with values and without', async () => {
    const named = new Statement<{ value: number }, object>('select :value::int as "prepared once"')
    const bare = new Statement('select 1 as "prepared once"')
    for (let round = 0; round < 3; round++) {
      await database.run(named, { value: round })
      await database.transaction((tx) => tx.run(named, { value: round }))
      await database.run(bare, {})
    }
    const prepared = new Statement<object, { statement: string }>(
      `select statement from pg_prepared_statements where statement like '%"prepared' || ' once"' order by 1`,
    )
    expect((await database.run(prepared, {})).map(({ statement }) => statement)).toEqual([
      'select $1::int as "prepared once"',
      'select 1 as "prepared once"',
    ])
  })

  it('gives null as null and JSON as what its text says', async () => {
    const statement = new Statement<{ json: string | null }, { json: unknown; is_null: boolean }>(
      'select :json::jsonb as json, :json is null as is_null',
    )
    const [text] = await database.run(statement, { json: '{"a": [1, null]}' })
    const [none] = await database.run(statement, { json: null })
    expect([text, none]).toEqual([
      { json: { a: [1, null] }, is_null: false },
      { json: null, is_null: true },
    ])
  })

  it('is not sent without a value that it names', async () => {
    const statement = new Statement<{ id?: string }, object>('select :id')
    await expect(database.run(statement, {})).rejects.toThrow('Undefined values are not allowed')
  })

  it('fails in our errors, by each way in', async () => {
    const statement = new Statement<object, object>(`do $$ begin raise 'no' using errcode = '55P03'; end $$`)
    const failure = { code: 'ResourceLocked' }
    await expect(database.run(statement, {})).rejects.toMatchObject(failure)
    await expect(database.read(statement, {})).rejects.toMatchObject(failure)
    await expect(database.transaction((tx) => tx.run(statement, {}))).rejects.toMatchObject(failure)
    await expect(database.questions.ask('somebody', (pool) => pool.run(statement, {}))).rejects.toMatchObject(
      failure,
    )
  })
})
