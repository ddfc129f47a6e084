import { readdirSync } from 'node:fs'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { MigrationError, migrate } from '../../../src/database/migrations/migrate.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'
import { exercise } from '../../support/exercise.ts'
import { serveOn } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const logger = pino({ level: 'silent' })
const MIGRATIONS = readdirSync(new URL('../../../drizzle', import.meta.url)).filter((file) =>
  file.endsWith('.sql'),
).length

let cluster: Cluster
beforeAll(() => {
  cluster = openCluster()
})
afterAll(() => cluster.close())

describe('migrating', () => {
  it('applies every file of drizzle/ to an empty database, and nothing the second time', async () => {
    const database = await cluster.newDatabase()
    expect(await migrate(cluster.address(database), logger)).toBe(MIGRATIONS)
    const before = await applied(database)
    expect(before).toHaveLength(MIGRATIONS)
    expect(await migrate(cluster.address(database), logger)).toBe(0)
    expect(await applied(database)).toEqual(before)
  })

  it('is done once by servers that start at the same moment', async () => {
    const database = await cluster.newDatabase()
    const counts = await Promise.all([1, 2, 3, 4].map(() => migrate(cluster.address(database), logger)))
    expect(counts.sort()).toEqual([0, 0, 0, MIGRATIONS])
    expect(await applied(database)).toHaveLength(MIGRATIONS)
  })

  it('says who it waits for, where anybody may hold the lock of a database that has no turns yet', async () => {
    const database = await cluster.newDatabase()
    const login = await cluster.newLogin()
    const other = await cluster.open(database, login).openSession()
    const [holder] = await other.sql`select pg_advisory_lock(1601335151), pg_backend_pid() as pid`
    const said: unknown[] = []
    const telling = pino({ base: null }, { write: (line) => void said.push(JSON.parse(line)) })
    const migrating = migrate(cluster.address(database), telling)
    await until(() => said.length > 0, 'it says so')
    expect(said).toEqual([
      expect.objectContaining({
        level: 40,
        by: [{ pid: holder?.pid, login }],
        msg: expect.stringMatching(/waiting/),
      }),
    ])
    await other.close()
    expect(await migrating).toBe(MIGRATIONS)
  })

  it('waits for nobody who may not migrate, once there are turns', async () => {
    const database = await cluster.newDatabase()
    await migrate(cluster.address(database), logger)
    const other = await cluster.open(database, await cluster.newLogin()).openSession()
    await other.sql`select pg_advisory_lock(1601335151)`
    // As if the last migration were still to come. Whether it can be made twice is not what this is about.
    await cluster.open(database).sql`delete from storage.strongroom_migrations
      where created_at = (select max(created_at) from storage.strongroom_migrations)`
    const said: unknown[] = []
    const telling = pino({ level: 'warn' }, { write: (line) => void said.push(line) })
    await migrate(cluster.address(database), telling).catch(() => {})
    expect(said).toEqual([])
    await other.close()
  })

  it('works for several databases of one cluster at once, though they share the roles', async () => {
    const several = await Promise.all([cluster.newDatabase(), cluster.newDatabase(), cluster.newDatabase()])
    const counts = await Promise.all(several.map((database) => migrate(cluster.address(database), logger)))
    expect(counts).toEqual([MIGRATIONS, MIGRATIONS, MIGRATIONS])
  })
})

describe('a login that may not create anything', () => {
  it('is told in a sentence what to do, and has changed nothing', async () => {
    const database = await cluster.newDatabase()
    const login = await cluster.newLogin()
    const error = await migrate(cluster.address(database, login), logger).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(MigrationError)
    expect((error as Error).message).toMatch(
      /^The database cannot be migrated: the login .* may not create schemas .*\. Run `strongroom migrate` once with DATABASE_URL naming its owner, /,
    )
    expect(
      await cluster.open(database).sql`select from pg_namespace where nspname in ('storage', 'auth')`,
    ).toEqual([])
  })

  it('is told that it may not serve a migrated database either, without the grant', async () => {
    const database = await cluster.newDatabase()
    await migrate(cluster.address(database), logger)
    const login = await cluster.newLogin()
    await expect(migrate(cluster.address(database, login), logger)).rejects.toThrow(
      new MigrationError(
        `The database login ${login} may not use Strongroom's tables. ` +
          `Run as ${inject('postgres').superuser}: grant strongroom_server to "${login}"`,
      ),
    )
  })

  it('serves a migrated database once it is granted strongroom_server', async () => {
    const database = await cluster.newDatabase()
    await migrate(cluster.address(database), logger)
    const login = await cluster.newLogin()
    await cluster.root.sql`grant strongroom_server to ${cluster.root.sql(login)}`
    expect(await migrate(cluster.address(database, login), logger)).toBe(0)
    const server = await serveOn(cluster.open(database, login))
    try {
      await exercise(server)
    } finally {
      await server.close()
    }
  })
})

describe('a database that cannot be reached', () => {
  it('that does not exist is named', async () => {
    const missing = cluster.address('not_there')
    await expect(migrate(missing, logger)).rejects.toThrow(
      'The database cannot be migrated: database "not_there" does not exist.',
    )
  })

  it('where nobody listens is a MigrationError too', async () => {
    const nobody = 'postgres://nobody@127.0.0.1:1/nothing'
    await expect(migrate(nobody, logger)).rejects.toThrow(MigrationError)
  })
})

function applied(database: string) {
  return cluster.open(database).sql`select * from storage.strongroom_migrations order by created_at`
}
