import { expect, it } from 'vitest'
import { createTestDatabase } from '../../support/database.ts'

/** The driver sends so many statements on a connection before it waits for answers. */
const PIPELINE = 100

it.each(Array.from({ length: 7 }, (_, i) => PIPELINE - 3 + i))(
  'a transaction that begins behind %i statements on its connection has that connection alone',
  async (before) => {
    const test = await createTestDatabase({ connections: 1 })
    const { sql } = test.database
    try {
      await sql`create temporary table kept (name text)`
      const others = () => Array.from({ length: before }, () => sql`select 1`.execute())
      const transaction = async (name: string) => {
        await sql.begin(async (tx) => {
          await tx`insert into kept values (${name})`
          if (name === 'undone') throw new Error(name)
        })
      }
      const first = Promise.all(others())
      const undone = transaction('undone').catch((error: Error) => error.message)
      const done = transaction('done')
      const alone = sql`insert into kept values ('alone')`
      await Promise.all([first, done, alone, ...others()])
      expect(await undone).toBe('undone')
      await expect(
        sql`select pg_current_xact_id_if_assigned() as id, name from kept order by name`,
      ).resolves.toEqual([
        { id: null, name: 'alone' },
        { id: null, name: 'done' },
      ])
    } finally {
      await test.drop()
    }
  },
)
