import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type postgres from '#postgres'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { forgetTurns, takeTurn } from '../../../src/database/connection/turns.ts'
import { MigrationError } from '../../../src/database/migrations/migrate.ts'
import { findPlace } from '../../../src/database/opening/find-place.ts'
import { buckets } from '../../../src/database/schema.ts'
import { expectFailure, told } from '../../support/check-results.ts'
import { Command, type Ended, newFolder, removeFolder, strongroom } from '../../support/command.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { drizzleOver } from '../../support/drizzle.ts'
import { exercise } from '../../support/exercise.ts'
import { freePort } from '../../support/free-port.ts'
import { openLine } from '../../support/line.ts'
import { describeWithPgbouncer, type Pgbouncer, startPgbouncer } from '../../support/pgbouncer.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { type Served, serveOn } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const REFUSED = /^DATABASE_URL leads to a pooler that .*: set STORAGE_DATABASE_DIRECT_URL to /
const DIRECT_REFUSED = /^STORAGE_DATABASE_DIRECT_URL leads to a pooler that .*: set it to /

/** What people set so that any client gets in. */
const IGNORED = {
  ignore_startup_parameters: 'extra_float_digits,statement_timeout,TimeZone,strongroom.direct',
}

let made: TestDatabase
let direct: PostgresProxy
let folder: string
let pgbouncer: Pgbouncer | undefined
let server: Served | undefined
const commands: Command[] = []

beforeAll(async () => {
  made = await createTestDatabase()
  direct = await openPostgresProxy() // settings name a database by TCP
  folder = await newFolder()
  await mkdir(join(folder, 'storage-data', 'objects'), { recursive: true }) // commands look for it first
})
afterEach(async () => {
  await server?.close()
  server = undefined
  await pgbouncer?.remove()
  pgbouncer = undefined
})
afterAll(async () => {
  await removeFolder(folder, commands)
  await direct?.close()
  await made?.drop()
})

async function bouncer(...args: Parameters<typeof startPgbouncer>): Promise<Pgbouncer> {
  pgbouncer = await startPgbouncer(...args)
  return pgbouncer
}

/** The settings that lead through the pooler alone, or through it and past it. */
const through = ({ url }: Pgbouncer) => ({ DATABASE_URL: url(made.name) })
const past = (pooler: Pgbouncer) => ({
  ...through(pooler),
  STORAGE_DATABASE_DIRECT_URL: direct.url(made.name),
})

describeWithPgbouncer('a pooler that shares sessions', () => {
  it.each([
    ['transaction', {}],
    ['transaction', IGNORED],
    ['transaction', { ...IGNORED, server_round_robin: 1, min_pool_size: 2 }],
    ['transaction', { ...IGNORED, default_pool_size: 1 }],
  ] as const)('is refused at the start (%s, %j)', async (mode, settings) => {
    const { url } = await bouncer(mode, settings)
    const refused = serveOn(url(made.name))
    await expect(refused).rejects.toThrow(MigrationError)
    await expect(refused).rejects.toThrow(REFUSED)
  })

  it('is refused by every command', async () => {
    const { url } = await bouncer('transaction', IGNORED)
    const env = { DATABASE_URL: url(made.name) }
    const run = (command: string) =>
      strongroom([command], { cwd: folder, env: { ...env, STORAGE_PORT: '0' } })
    const [checked, ...others] = await Promise.all(['check', 'serve', 'migrate', 'cleanup'].map(run))
    expectFailure(checked as Ended, 'database', REFUSED)
    for (const ended of others) {
      expect(ended).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^strongroom: DATABASE_URL leads/),
      })
    }
  })

  it('is refused when others are busy there, too', async () => {
    const pooler = await bouncer('transaction', { ...IGNORED, default_pool_size: 8 })
    const others = pooler.client(made.name, 6)
    let isOver = false
    const busy = Promise.all(
      Array.from({ length: 6 }, async () => {
        while (!isOver) await others.unsafe('select pg_sleep(random() * 0.003)')
      }),
    )
    try {
      for (let attempt = 0; attempt < 5; attempt++) {
        await expect(findPlace(pooler.url(made.name), undefined)).rejects.toThrow(REFUSED)
      }
    } finally {
      isOver = true
      await busy
    }
  })

  it('is refused as the address for sessions, by its name', async () => {
    const { url } = await bouncer('transaction')
    await expect(findPlace(direct.url(made.name), url(made.name))).rejects.toThrow(DIRECT_REFUSED)
    const env = { DATABASE_URL: direct.url(made.name), STORAGE_DATABASE_DIRECT_URL: url(made.name) }
    expectFailure(await strongroom(['check'], { cwd: folder, env }), 'database', DIRECT_REFUSED)
  })

  it('is refused when it takes no transactions, whatever the address for sessions is', async () => {
    const { url } = await bouncer('statement', IGNORED)
    const says =
      /^DATABASE_URL leads to a pooler that takes no transactions .*: let its pool_mode be session$/
    await expect(findPlace(url(made.name), undefined)).rejects.toThrow(says)
    await expect(findPlace(url(made.name), direct.url(made.name))).rejects.toThrow(says)
  })

  it('is refused when it leads to another database than the address for sessions', async () => {
    const { url } = await bouncer('transaction')
    await expect(findPlace(url(made.name), direct.url('postgres'))).rejects.toThrow(
      /lead to two databases.*: both must name the same one$/,
    )
  })

  it('leaves nothing behind in its sessions when it is refused', async () => {
    const { url } = await bouncer('transaction', { ...IGNORED, default_pool_size: 1 })
    await expect(findPlace(url(made.name), undefined)).rejects.toThrow(REFUSED)
    expect(await advisoryLocks()).toEqual([])
  })

  it.concurrent.each([
    ['leads to a pooler that gives each transaction another session', 'transaction', IGNORED],
    ['leads to a pooler now, and did not at the start: start again', 'session', {}],
  ] as const)('stops a server when its address %s (%s)', async (says, mode, settings) => {
    const pooler = await startPgbouncer(mode, settings)
    const line = await openLine(direct.url(made.name).replace('postgres:', 'http:'))
    try {
      const url = `postgres://strongroom_server@${new URL(line.url).host}/${made.name}`
      const command = new Command(['serve'], { cwd: folder, env: { DATABASE_URL: url, STORAGE_PORT: '0' } })
      commands.push(command)
      await command.url()
      line.target = pooler.url(made.name).replace('postgres:', 'http:')
      await command.says(`DATABASE_URL ${says}`)
      expect(await command.ended).toMatchObject({ code: 1 })
    } finally {
      await line.close()
      await pooler.remove()
    }
  })

  it.concurrent.each([1, 2])(
    'stops a server (STORAGE_WORKERS=%i) whose sessions were kept until now',
    async (workers) => {
      const pooler = await startPgbouncer('session')
      const env = { STORAGE_PORT: String(await freePort()), STORAGE_WORKERS: String(workers) }
      const command = new Command(['serve'], { cwd: folder, env: { ...through(pooler), ...env } })
      commands.push(command)
      try {
        const url = await command.url()
        await pooler.restart('transaction')
        await command.says('DATABASE_URL leads to a pooler that')
        if (workers === 1) {
          expect(await command.ended).toMatchObject({ code: 1 })
          return
        }
        // Its workers end, and none that takes their place serves, until that is put right.
        await until(async () => !(await isServed(url)), 'nobody is served')
        await pooler.restart('session')
        await until(() => isServed(url), 'it is served again')
        command.signal('SIGTERM')
        expect(await command.ended).toMatchObject({ code: 0 })
      } finally {
        await pooler.remove()
      }
    },
  )
})

describeWithPgbouncer('a pooler that keeps sessions', () => {
  let narrow: Pgbouncer
  let refusal: Promise<unknown>
  beforeAll(async () => {
    narrow = await startPgbouncer('session', { default_pool_size: 1 })
    // That there is no second one takes ten seconds to be sure of, in which the others are asked.
    refusal = findPlace(narrow.url('postgres'), undefined).catch((error: unknown) => error)
  })
  afterAll(() => narrow?.remove())

  it.each([
    ['refuses', {}],
    ['drops', IGNORED],
  ])('is served through when it %s what is said at the login', async (_, settings) => {
    const pooler = await bouncer('session', settings)
    server = await serveOn(pooler.url(made.name))
    expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
    await Promise.all(Array.from({ length: 8 }, () => exercise(server as Served)))
    await expectLimits(pooler)
    const checked = await strongroom(['check'], { cwd: folder, env: through(pooler) })
    expect(checked.code).toBe(0)
    expect(told(checked)['database pooler']).toEqual(['ok', 'DATABASE_URL leads to a pooler in session mode'])
  })

  it('gives the turns of a server that has left to others, though its sessions go on', async () => {
    const { url } = await bouncer('session')
    const database = openDatabase(await findPlace(url(made.name), undefined), { connections: 1 })
    try {
      const [one, two] = await Promise.all([database.openSession(), database.openSession()])
      expect(await takeTurn(one.sql, 'sweep')).toBe(true)
      expect(await takeTurn(two.sql, 'sweep')).toBe(false)
      const [process] = await one.sql`select pg_backend_pid() as pid`
      await one.close()
      await until(() => takeTurn(two.sql, 'sweep'), 'another has the turn')
      expect(await made.admin`select from pg_stat_activity where pid = ${process?.pid}`).toHaveLength(1)
      await two.close()
      await until(async () => (await forgetTurns(database.sql)) === 1, 'the turn is forgotten')
    } finally {
      await database.close()
    }
  })

  it('is not taken for one that shares them when a connection is lost while it is looked at', async () => {
    const { hostname, port } = new URL((await bouncer('session')).url(made.name))
    const proxy = await openPostgresProxy({ host: hostname, port: Number(port) })
    const told: Error[] = []
    const place = await findPlace(proxy.url(made.name), undefined)
    const database = openDatabase(place, { connections: 1, onPooler: (error) => told.push(error) })
    try {
      let at = 0
      do {
        proxy.arm(++at, { kind: 'behind' })
        const session = await database.openSession().catch((error: unknown) => {
          expect(error).toMatchObject({ code: 'DatabaseUnavailable' })
        })
        await session?.close()
      } while (proxy.hasStruck)
      expect([told, at > 10]).toEqual([[], true])
    } finally {
      await database.close()
      await proxy.close()
    }
  })

  it('migrates an empty database', async () => {
    const { url } = await bouncer('session')
    await made.admin`create database ${made.admin(`${made.name}_empty`)}`
    try {
      const served = await serveOn(url(`${made.name}_empty`, 'postgres'))
      await exercise(served).finally(() => served.close())
    } finally {
      await made.admin`drop database ${made.admin(`${made.name}_empty`)} with (force)`
    }
  })

  it('is refused in a sentence when it has no second session to give', async () => {
    expect(await refusal).toMatchObject({
      message: expect.stringMatching(/gives no further session within 10 s: raise its pool size/),
    })
  })
})

describeWithPgbouncer('a pooler that shares sessions, with STORAGE_DATABASE_DIRECT_URL', () => {
  let pooler: Pgbouncer
  beforeEach(async () => {
    // As few as make every transaction get another session than the last one.
    pooler = await bouncer('transaction', { default_pool_size: 3, server_round_robin: 1 })
  })

  it('is served through, beside others who use it', async () => {
    server = await serveOn(past(pooler))
    expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
    const others = pooler.client(made.name, 3)
    let isOver = false
    const busy = Promise.all(
      Array.from({ length: 3 }, async () => {
        while (!isOver) {
          // Whatever was set or begun in a session would be seen by the next one in it.
          const [row] = await others.unsafe(
            `select current_setting('statement_timeout') as timeout, current_user as role, now() = statement_timestamp() as alone,
              nullif(current_setting('request.jwt.claims', true), '') as claims,
              (select count(*)::int from pg_prepared_statements) as prepared`,
          )
          expect(row).toEqual({
            timeout: '0',
            role: 'strongroom_server',
            alone: true,
            claims: null,
            prepared: 0,
          })
        }
      }),
    )
    busy.catch(() => {}) // awaited below
    try {
      await Promise.all(Array.from({ length: 8 }, () => exercise(server as Served)))
    } finally {
      isOver = true
      await busy
    }
    await expectLimits(pooler, direct.url(made.name))
  })

  it('is checked, and told from the other address', async () => {
    const checked = await strongroom(['check'], { cwd: folder, env: past(pooler) })
    expect(checked.code).toBe(0)
    expect(told(checked)['database pooler']).toEqual([
      'ok',
      'DATABASE_URL leads to a pooler, STORAGE_DATABASE_DIRECT_URL to PostgreSQL itself, and both to one database',
    ])
  })

  it('has sessions and locks past the pooler', async () => {
    const place = await findPlace(pooler.url(made.name), direct.url(made.name))
    const database = openDatabase(place, { connections: 4 })
    try {
      const done = await database.exclusively('test', async () => {
        expect(await database.exclusively('test', async () => 'both')).toBeNull()
        return 'alone'
      })
      expect(done).toBe('alone')
    } finally {
      await database.close()
    }
  })
})

/** A statement is ended in time, and nothing of a caller's or a statement's is left to the next one. */
async function expectLimits({ url }: Pgbouncer, directUrl?: string): Promise<void> {
  const place = await findPlace(url(made.name), directUrl)
  const database = openDatabase(place, { connections: 2 })
  const settings = (sql: postgres.Sql) =>
    sql`select current_setting('statement_timeout') as timeout, current_setting('timezone') as zone`
  try {
    const answers = await Promise.all(Array.from({ length: 6 }, () => settings(database.sql)))
    for (const [row] of answers) expect(row).toEqual({ timeout: '30s', zone: 'UTC' })
    expect(await drizzleOver(database.sql).select({ id: buckets.id }).from(buckets).limit(0)).toEqual([])
    expect([...(await database.sql`select 1, 2`.values())]).toEqual([[1, 2]])
    const session = await database.openSession()
    expect(await settings(session.sql)).toEqual([{ timeout: '30s', zone: 'UTC' }])
    await session.close()
  } finally {
    await database.close()
  }
}

function advisoryLocks() {
  return made.admin`
    select * from pg_locks join pg_database d on d.oid = database
    where locktype = 'advisory' and d.datname = ${made.name}`
}

async function isServed(url: string): Promise<boolean> {
  return fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(2000) }).then(
    (response) => response.ok,
    () => false,
  )
}
