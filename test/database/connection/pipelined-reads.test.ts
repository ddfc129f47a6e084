import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Database } from '../../../src/database/connection/client.ts'
import { Statement } from '../../../src/database/connection/statement.ts'
import { createTestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

let made: Awaited<ReturnType<typeof createTestDatabase>>
let database: Database
beforeEach(async () => {
  made = await createTestDatabase({ connections: 10 })
  database = made.database
})
afterEach(async () => {
  await made.drop()
})

/** Which of PostgreSQL's processes has answered. */
async function ask(seconds = 0): Promise<number> {
  const [row] = await database.read(ASK, { seconds })
  return row?.pid ?? 0
}

const ASK = new Statement<{ seconds: number }, { pid: number }>(
  'select pg_backend_pid() as pid, pg_sleep(:seconds)',
)

async function processes(count: number, seconds = 0): Promise<number> {
  return new Set(await Promise.all(Array.from({ length: count }, () => ask(seconds)))).size
}

it('quick questions share one connection, however many there are at once', async () => {
  let shared = 0
  await until(async () => {
    shared = await processes(10)
    return shared === 1
  }, 'ten share one')
  expect(shared).toBe(1)
})

it('nobody waits behind a question that does not end', async () => {
  await ask()
  const blocker = await made.database.openSession()
  await blocker.sql`select pg_advisory_lock(7)`
  let isOver = false
  const stuck = database
    .read(new Statement('select pg_advisory_lock(7), pg_advisory_unlock(7)'), {})
    .then(() => {
      isOver = true
    })
  await until(async () => {
    const [waiting] =
      await made.admin`select count(*)::int as n from pg_locks where not granted and locktype = 'advisory'`
    return waiting?.n === 1
  }, 'the question is stuck')
  let answers = 0
  const asked: Promise<unknown>[] = []
  await until(() => {
    asked.push(ask().then(() => answers++))
    return answers >= 5
  }, 'others are answered')
  expect(isOver).toBe(false)
  await blocker.close()
  await Promise.all([stuck, ...asked])
})

it('slow questions are spread over all connections, and quick ones come together again', async () => {
  for (let round = 0; round < 10; round++) await ask(0.03)
  expect(await processes(8, 0.03)).toBeGreaterThan(4)
  await until(async () => (await processes(8)) === 1, 'quick questions share a connection again')
})
