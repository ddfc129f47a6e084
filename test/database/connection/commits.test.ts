import { afterEach, beforeEach, expect, inject, it, vi } from 'vitest'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { GROUPS_AT_ONCE } from '../../../src/database/connection/group-connections.ts'
import { Statement } from '../../../src/database/connection/statement.ts'
import { createTestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

/** Connections of the pool; none of so few is kept for reads. */
const POOL = 3
const SPARE = 4

/** Longer than one may take that is quick. In seconds. */
const SLOW = 0.01

let made: Awaited<ReturnType<typeof createTestDatabase>>
let database: Database
beforeEach(async () => {
  made = await createTestDatabase({ connections: POOL, spareConnections: SPARE + GROUPS_AT_ONCE })
  database = made.database
})
afterEach(async () => {
  vi.useRealTimers()
  await made.drop()
})

/** Which of PostgreSQL's processes has done it. */
async function commit(seconds = 0, at = database): Promise<number> {
  const [row] = await at.commit(COMMIT, { seconds })
  return row?.pid ?? 0
}

const COMMIT = new Statement<{ seconds: number }, { pid: number }>(
  'select pg_backend_pid() as pid, pg_sleep(:seconds)',
)

async function processes(count: number, seconds = 0, at = database): Promise<number> {
  const pids = await Promise.all(Array.from({ length: count }, () => commit(seconds, at)))
  return new Set(pids).size
}

async function open(): Promise<number> {
  const [row] = await made.admin`
    select count(*)::int as n from pg_stat_activity
    where datname = current_database() and usename = 'strongroom_server'`
  return row?.n
}

/** Few are asked at first, of which none waits for another: these show the time that one takes. */
async function untilSpread(count: number, at = database): Promise<void> {
  await until(async () => {
    for (let round = 0; round < 20; round++) await processes(POOL, SLOW, at)
    return (await processes(20, SLOW, at)) === count
  }, 'they are spread over all')
}

/** Nothing takes any time, however busy the machine is. */
function stopTheClock(): void {
  vi.useFakeTimers({ toFake: ['performance'] })
}

it('slow commits are spread over more connections than the pool has', async () => {
  await untilSpread(POOL + SPARE)
  expect(await open()).toBe(POOL + SPARE)
})

it('after one that is quick those of the pool do it again', async () => {
  await untilSpread(POOL + SPARE)
  stopTheClock()
  await commit()
  vi.useRealTimers()
  expect(await processes(20, SLOW)).toBeLessThanOrEqual(POOL + 1) // with one that looks whether it still is so
})

it('quick ones open no connection besides', async () => {
  stopTheClock()
  for (let round = 0; round < 50; round++) await processes(20)
  expect(await open()).toBeLessThanOrEqual(POOL)
})

it('what fails says nothing about the time that a commit takes', async () => {
  await untilSpread(POOL + SPARE)
  const failing = new Statement('select 1 / 0')
  await expect(database.commit(failing, {})).rejects.toThrow()
  expect(await processes(20, SLOW)).toBe(POOL + SPARE)
})

it('where PostgreSQL has no place for more, those of the pool do it', async () => {
  const login = `few_${made.name}`
  await made.admin.unsafe(`create role ${login} login connection limit ${POOL + 1}`)
  const { host, port } = inject('postgres')
  const few = openDatabase(
    { host, port, database: made.name, username: login },
    { connections: POOL, spareConnections: SPARE + GROUPS_AT_ONCE, onShortage: () => expect.unreachable() },
  )
  try {
    await untilSpread(POOL + 1, few)
    expect(await processes(20, SLOW, few)).toBe(POOL + 1)
  } finally {
    await few.close()
    await made.admin.unsafe(`drop role ${login}`)
  }
})
