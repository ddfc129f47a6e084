import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { checkDatabase, type OpenedForCheck } from '../../../src/database/opening/check.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'
import { expectFailure, failure, gather, told, withListener } from '../../support/check-results.ts'
import { newFolder, removeFolder, strongroom } from '../../support/command.ts'
import {
  DEBIAN_POSTGRES,
  type DebianPostgres,
  hasDebianPostgres,
  startDebianPostgres,
} from '../../support/debian-postgres.ts'

let folder: string
beforeAll(async () => {
  folder = await newFolder()
})
afterAll(() => removeFolder(folder, []))

const run = (env: Record<string, string> = {}) => strongroom(['check'], { cwd: folder, env })

/** What the command has to tell of a database that it is not let into. */
async function lookAt(url: string) {
  const opened: OpenedForCheck = { closers: [] }
  const found = await gather(checkDatabase(url, undefined, { pool: 10, spare: 0, processes: 1 }, opened))
  for (const close of opened.closers) await close()
  return found
}

// At once, and first what waits longest: for what never answers.
describe.concurrent('strongroom check, with a DATABASE_URL', () => {
  let cluster: Cluster
  beforeAll(() => {
    cluster = openCluster()
  })
  afterAll(() => cluster.close())

  /** The run's own PostgreSQL has a socket alone, which the driver takes from the environment. */
  const at = (database: string, login = inject('postgres').superuser) => {
    const { host, port } = inject('postgres')
    return { DATABASE_URL: `postgres:///${database}`, PGHOST: host, PGPORT: String(port), PGUSER: login }
  }
  const migrated = () => cluster.newDatabase(`template ${inject('postgres').template}`)

  it.each<[how: string, treat: (socket: Socket) => void, says: RegExp]>([
    ['never answers', () => {}, /^Nothing answers at 127\.0\.0\.1:\d+ in time: .*firewall/],
    ['ends connections', (socket) => socket.destroy(), /is it PostgreSQL, and does it want TLS/],
  ])('ends, and says so, when something is there that %s', async (_, treat, says) => {
    await withListener(treat, async (port) => {
      expectFailure(await run({ DATABASE_URL: `postgres://user@127.0.0.1:${port}/db` }), 'database', says)
    })
  })

  it('does not migrate, and says who may', async () => {
    const [name, login] = [await cluster.newDatabase(), await cluster.newLogin()]
    const asSuperuser = await run(at(name))
    expect(asSuperuser.code).toBe(0)
    expect(told(asSuperuser)['database tables']).toEqual([
      'warning',
      expect.stringContaining('the next start'),
    ])
    const ordinary = await run(at(name, login))
    expectFailure(
      ordinary,
      'database tables',
      /may not create schemas in the database .* Run `strongroom migrate` once with DATABASE_URL naming its owner/,
    )
    const { sql } = cluster.open(name)
    expect(await sql`select to_regnamespace('storage') as storage`).toEqual([{ storage: null }])
  })

  it('wants a login that may become the callers, and warns of a superuser', async () => {
    const [name, login] = [await migrated(), await cluster.newLogin()]
    expectFailure(await run(at(name, login)), 'database', /Run as \w+: grant strongroom_server to "login_/)

    await cluster.root.sql`grant strongroom_server to ${cluster.root.sql(login)}`
    const good = await run(at(name, login))
    expect(good).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/\n\nAll is well\.\n$/) })
    expect(told(good)['database login']).toEqual(['ok', expect.stringMatching(/^login_.* service_role$/)])
    expect(told(good)['database write']).toEqual(['ok', 'rows can be written'])
    expect(await cluster.open(name).sql`select from storage.removals`).toHaveLength(0)

    const superuser = await run(at(name))
    expect(superuser).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/All is well, 1 with a warning/),
    })
    expect(told(superuser)['database login']).toEqual(['warning', expect.stringContaining('as a superuser')])
  })

  it('finds a login that may become only some of the callers', async () => {
    const [name, login] = [await migrated(), await cluster.newLogin()]
    const { sql } = cluster.open(name)
    await sql`grant anon to ${sql(login)}`
    await sql`grant usage on schema storage to ${sql(login)}`
    await sql`grant select on storage.strongroom_migrations to ${sql(login)}`
    const ended = await run(at(name, login))
    expectFailure(ended, 'database login', /may not become authenticated, service_role\. Run as \w+: grant/)
    await sql`drop owned by ${sql(login)}`
  })

  it('finds a database that takes no writes, and one whose rows the login may not write', async () => {
    const [name, login] = [await migrated(), await cluster.newLogin()]
    const { sql } = cluster.root
    await sql`grant strongroom_server to ${sql(login)}`
    await cluster.open(name).sql`revoke insert on storage.removals from service_role`
    expectFailure(await run(at(name, login)), 'database write', /permission denied for table removals/)
    await sql`alter role ${sql(login)} set default_transaction_read_only = on`
    expectFailure(await run(at(name, login)), 'database', /default_transaction_read_only is on/)
  })

  it.each([
    [
      'nothing listens there',
      'postgres://user:hunter2@127.0.0.1:1/db',
      /^Nothing answers at 127\.0\.0\.1:1 /,
    ],
    [
      'there is no such host',
      `postgres://user:hunter2@${'x'.repeat(64)}.invalid/db`,
      /^The host .* not known/,
    ],
    ['its password is not escaped', 'postgres://user:hunter2#%@127.0.0.1:1/db', /^DATABASE_URL is not a URL/],
  ])('says that %s, without the password', async (_, url, says) => {
    const found = await lookAt(url)
    expect(found).toEqual([failure('database', says)])
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })
})

describe.skipIf(!hasDebianPostgres)(
  `strongroom check, with a DATABASE_URL over TCP (needs Debian's postgresql-15 in ${DEBIAN_POSTGRES})`,
  () => {
    let postgres: DebianPostgres
    beforeAll(async () => {
      postgres = await startDebianPostgres()
    })
    afterAll(() => postgres?.stop())

    it('tells a wrong password, a refused login, a missing database and TLS from each other', async () => {
      await postgres.admin`create role no_login nologin password 'letmein'`
      const noLogin = { user: 'no_login', password: 'letmein' }
      const wrong = { user: 'no_login', password: 'hunter2' }
      for (const [url, says] of [
        [
          postgres.url('postgres', wrong),
          /password authentication failed.* Correct user or password in DATABASE_URL/,
        ],
        [postgres.url('postgres', noLogin), /is not permitted to log in\. Correct the user in DATABASE_URL/],
        [postgres.url('missing'), /"missing" does not exist\. Create it, or correct the name at the end of/],
        [`${postgres.url('postgres')}?sslmode=require`, /does it want TLS as DATABASE_URL says \(sslmode\)/],
      ] as const) {
        const found = await lookAt(url)
        expect(found).toEqual([failure('database', says)])
        expect(JSON.stringify(found)).not.toMatch(/hunter2|letmein/)
      }
    })
  },
)
