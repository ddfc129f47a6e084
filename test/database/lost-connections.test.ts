import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { asService } from '../../src/database/as-caller.ts'
import type { Transaction } from '../../src/database/transaction.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { until } from '../support/wait.ts'

/** A pool of one connection, so that the next transaction gets the one that was lost. */
let test: TestDatabase

beforeAll(async () => {
  test = await createTestDatabase({ connections: 1 })
  await test.admin`create table public.notes (text text)`
  await test.admin`grant all on public.notes to service_role`
})
afterAll(() => test?.drop())

it('a transaction that loses its connection between two statements fails, and the process lives', async () => {
  const outcome = asService(test.database, async (tx) => {
    await loseConnection(tx)
    await write(tx, 'after the loss')
  })
  await expect(outcome).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
  await asService(test.database, (tx) => write(tx, 'next'))
  expect(await notes()).toEqual(['next'])
})

it('a transaction that was cut off has no part in the one that gets its connection next', async () => {
  await test.admin`truncate public.notes`
  const next = deferred()
  const cutOff = deferred()
  let stale: Promise<unknown> = Promise.resolve()
  const first = asService(test.database, async (tx) => {
    await loseConnection(tx)
    await next.promise
    stale = write(tx, 'stale').catch(String)
    cutOff.resolve()
    await stale
    throw new Error('rolls back')
  })
  await expect(first).rejects.toMatchObject({ code: 'DatabaseUnavailable' })

  await asService(test.database, async (tx) => {
    await write(tx, 'before')
    next.resolve()
    await cutOff.promise
    await stale
    await write(tx, 'after')
  })
  expect(await notes()).toEqual(['before', 'after'])
})

async function write(tx: Transaction, text: string): Promise<void> {
  await tx.execute(sql`insert into public.notes values (${text})`)
}

async function notes(): Promise<string[]> {
  return (await test.admin<{ text: string }[]>`select text from public.notes`).map(({ text }) => text)
}

/** Ends the transaction's session, and returns once the driver must have noticed. */
async function loseConnection(tx: Transaction): Promise<void> {
  const [row] = await tx.execute<{ pid: number }>(sql`select pg_backend_pid() as pid`)
  const pid = Number(row?.pid)
  await test.admin`select pg_terminate_backend(${pid}, 5000)`
  await until(async () => {
    const found = await test.admin`select 1 from pg_stat_activity where pid = ${pid}`
    return found.length === 0
  }, 'the session has ended')
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
