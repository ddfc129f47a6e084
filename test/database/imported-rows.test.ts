import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { until } from '../support/wait.ts'

const ROWS = 3000

let test: TestDatabase
beforeAll(async () => {
  test = await createTestDatabase()
})
afterAll(() => test?.drop())

/** How many rows of the objects were looked at, by an index or one after the other. */
async function lookedAt(): Promise<number> {
  const [row] = await test.admin<{ rows: string }[]>`
    select seq_tup_read + idx_tup_fetch as rows from pg_stat_user_tables where relid = 'storage.objects'::regclass`
  return Number(row?.rows)
}

it('rows that are imported into an empty table are not looked up each among all before it', async () => {
  const { admin } = test
  await admin`insert into storage.buckets (id, name) values ('imported', 'imported')`
  await admin`
    insert into storage.objects (bucket_id, name, version)
    select 'imported', n, gen_random_uuid() from generate_series(1, ${ROWS}::int) n`
  await admin`select pg_stat_force_next_flush()`
  await until(async () => {
    const [row] =
      await admin`select n_tup_ins as rows from pg_stat_user_tables where relid = 'storage.objects'::regclass`
    return Number(row?.rows) >= ROWS
  }, 'the statistics have the rows')
  expect(await lookedAt()).toBeLessThan(10 * ROWS)
})
