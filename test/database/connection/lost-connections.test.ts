import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { asService } from '../../../src/database/as-caller.ts'
import { openDatabase } from '../../../src/database/connection/client.ts'
import type { Transaction } from '../../../src/database/connection/drizzle.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until, within } from '../../support/wait.ts'

/** A pool of one connection, so that the next transaction gets the one that was lost. */
let test: TestDatabase

beforeAll(async () => {
  test = await createTestDatabase({ connections: 1 })
  await test.admin`create table public.notes (text text)`
  await test.admin`grant all on public.notes to service_role`
})
afterAll(() => test?.drop())

it('a transaction that loses its connection between two statements fails, and no more', async () => {
  const outcome = asService(test.database, async (tx) => {
    await loseConnection(tx)
    await write(tx, 'after the loss')
  })
  await expect(outcome).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
  await asService(test.database, (tx) => write(tx, 'next'))
  expect(await notes()).toEqual(['next'])
})

it('what a transaction has asked ahead fails with its connection, sent or not', async () => {
  let asked: Promise<PromiseSettledResult<unknown>[]> = Promise.resolve([])
  const outcome = test.database.sql.begin(async (tx) => {
    // What has parameters and was never asked before is described first, and those behind it wait for that.
    asked = Promise.allSettled([
      tx`select pg_terminate_backend(pg_backend_pid()), ${'first'}::text`,
      tx`select ${'second'}::text`,
      tx`select ${'third'}::text`,
    ])
    await asked
  })
  await expect(outcome).rejects.toThrow()
  const settled = await within(asked, 'all have failed')
  expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
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

it('a connection that is lost while it begins fails the query that wanted it, and no more', async () => {
  const { host, port, superuser } = inject('postgres')
  const upstream = `${host}/.s.PGSQL.${port}`
  let connections = 0
  const proxy = createServer((client) => {
    const server = connect(upstream).on('error', () => client.destroy())
    client.on('error', () => server.destroy())
    client.on('close', () => server.destroy())
    connections++
    // The first one is cut while the driver asks for the types, the second one meets a PostgreSQL that recovers.
    if (connections === 2) client.once('data', () => client.end(NOT_YET))
    else client.pipe(server).pipe(client)
    if (connections === 1) client.on('data', (bytes) => bytes.includes('typarray') && client.destroy())
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  const address = proxy.address() as AddressInfo
  const place = { host: '127.0.0.1', port: address.port, database: test.name, username: superuser }
  const database = openDatabase(place, { connections: 1 })
  try {
    await expect(database.sql`select 1`).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await expect(database.sql`select 1`).rejects.toMatchObject({ code: '57P03' })
    expect(await database.sql`select 1 as one`).toMatchObject([{ one: 1 }])
  } finally {
    await database.close()
    proxy.close()
  }
})

/** An ErrorResponse of PostgreSQL: the database system is starting up. */
const NOT_YET = errorResponse({
  S: 'FATAL',
  C: '57P03',
  M: 'the database system is not yet accepting connections',
})

function errorResponse(fields: Record<string, string>): Buffer {
  const text = Object.entries(fields).map(([type, value]) => `${type}${value}\0`)
  const body = Buffer.from(`${text.join('')}\0`)
  const head = Buffer.alloc(5, 'E')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

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
