import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { migrate } from '../../../src/database/migrations/migrate.ts'
import { checkDatabase, type OpenedForCheck } from '../../../src/database/opening/check.ts'
import type { CheckResult } from '../../../src/model/check-result.ts'
import { openEvents } from '../../support/event-stream.ts'
import { exercise, exercisePolicies } from '../../support/exercise.ts'
import { MAJORS } from '../../support/postgres-majors.ts'
import { type ProviderPostgres, startProviderPostgres } from '../../support/provider-postgres.ts'
import { type Served, serveOn } from '../../support/server.ts'

/** A PostgreSQL as a provider gives it: to logins that are no superusers, in a cluster that others use, too. All at once. */
describe.concurrent.each(MAJORS)('a PostgreSQL $major of a provider’s$needs', ({ major, isHere }) => {
  describe.skipIf(!isHere)('without its superuser', { sequential: true }, () => {
    let provider: ProviderPostgres
    const url = (database: string, login?: string) => provider.url(database, login)
    beforeAll(async () => {
      provider = await startProviderPostgres(major)
      await provider.newLogin('owner', 'createrole createdb')
      await provider.newLogin('app')
      for (const name of ['first', 'untouched'])
        await provider.admin.unsafe(`create database ${name} owner owner`)
    })
    afterAll(() => provider?.stop())

    it('says, before anything is there, who may migrate', async () => {
      await expect(serveOn(url('first', 'app'))).rejects.toThrow(
        'the login app may not create schemas in the database first. Run `strongroom migrate` once with ' +
          'DATABASE_URL naming its owner, owner',
      )
      expect(await told(url('first', 'app'))).toMatchObject({
        'database tables': ['failed', expect.stringContaining('naming its owner, owner')],
      })
      await provider.newLogin('plain')
      await provider.admin`create database plains owner plain`
      await expect(serveOn(url('plains', 'plain'))).rejects.toThrow(
        /may not create the role anon, .* naming a login that may \(createrole\), such as owner$/,
      )
      expect(await provider.admin`select from pg_roles where rolname = 'anon'`).toHaveLength(0)
      expect(await told(url('first', 'owner'))).toMatchObject({
        'database tables': ['warning', expect.stringContaining('the next start')],
      })
    })

    it('is migrated and served by the owner of the database, who may create roles', async () => {
      await served(url('first', 'owner'), async (server) => {
        await exercise(server)
        await exercisePolicies(server)
        await exerciseEvents(server)
        expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
      })
      const [service] = await provider.admin`select rolbypassrls from pg_roles where rolname = 'service_role'`
      expect(service).toEqual({ rolbypassrls: false })
      expect(await told(url('first', 'owner'))).toMatchObject({
        'database login': ['ok', expect.any(String)],
        service_role: ['ok', expect.stringContaining('policies let it into all tables')],
        'database write': ['ok', expect.any(String)],
      })
    })

    it('is served by another login, with the one grant that the owner may give', async () => {
      const refused = serveOn(url('first', 'app'))
      await expect(refused).rejects.toThrow('Run as owner: grant strongroom_server to "app"')
      await as('first', 'owner', 'grant strongroom_server to "app"')
      await served(url('first', 'app'), async (server) => {
        await exercise(server)
        await exercisePolicies(server)
        expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
      })
    })

    it('lets restrictive policies bind service_role, and says so', async () => {
      const everybody = 'create policy "not today" on storage.objects as restrictive for select using (false)'
      await as('first', 'owner', everybody)
      const says =
        /^service_role has no BYPASSRLS here, so that restrictive policies bind it.*"not today" on storage\.objects/
      await served(url('first', 'app'), async (server) => {
        expect(server.logs.map((line) => line.msg)).toContainEqual(expect.stringMatching(says))
      })
      expect(await told(url('first', 'app'))).toMatchObject({
        service_role: ['warning', expect.stringMatching(says)],
      })
      await as('first', 'owner', 'alter policy "not today" on storage.objects to anon')
      await served(url('first', 'app'), async (server) => {
        expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
        await exercise(server)
      })
      await as('first', 'owner', 'drop policy "not today" on storage.objects')
    })

    it('names a table that service_role is shut out of, and the owner’s start lets it in', async () => {
      await as('first', 'owner', 'drop policy "strongroom: the service does everything" on storage.uploads')
      const says =
        'service_role has no BYPASSRLS here, and no policy lets it into storage.uploads. Run `strongroom migrate` once ' +
        'with DATABASE_URL naming owner, who owns that: it makes one'
      await expect(serveOn(url('first', 'app'))).rejects.toThrow(says)
      expect(await told(url('first', 'app'))).toMatchObject({ service_role: ['failed', says] })
      expect(await migrate(url('first', 'owner'), silent)).toBe(0)
      await served(url('first', 'app'), exercise)
    })

    it('has a second database with another owner, with the grant that is missing', async () => {
      await provider.newLogin('second', 'createrole')
      await provider.admin`create database second owner second`
      if (major >= 16) {
        const says = 'Run as owner: grant strongroom_server to "second"'
        await expect(serveOn(url('second', 'second'))).rejects.toThrow(says)
        expect(await told(url('second', 'second'))).toMatchObject({
          'database tables': ['failed', expect.stringContaining(says)],
        })
        expect(await schemas('second')).toEqual([])
        await as('first', 'owner', 'grant strongroom_server to "second"')
      }
      await served(url('second', 'second'), async (server) => {
        await exercise(server)
        await exercisePolicies(server)
      })
    })

    it('is migrated by a login that may create no roles, when they are there and it has the grant', async () => {
      await expect(serveOn(url('plains', 'plain'))).rejects.toThrow(
        'Run as owner: grant strongroom_server to "plain"'.replace(
          'owner',
          major >= 16 ? 'owner' : 'owner or second',
        ),
      )
      await as('first', 'owner', 'grant strongroom_server to "plain"')
      await served(url('plains', 'plain'), async (server) => {
        await exercise(server)
        await exercisePolicies(server)
      })
    })

    it.runIf(major >= 16)(
      'takes a membership without SET for none, and says how it becomes one',
      async () => {
        await provider.newLogin('halfway')
        await as('first', 'owner', 'grant strongroom_server to halfway with set false')
        const says = 'Run as owner: grant strongroom_server to "halfway" with inherit true, set true'
        await expect(serveOn(url('first', 'halfway'))).rejects.toThrow(says)
        await as('first', 'owner', says.replace('Run as owner: ', ''))
        await served(url('first', 'halfway'), exercise)
      },
    )

    it('is served by the superuser, whose database it may be, beside the others', async () => {
      await provider.admin`create database supers`
      await served(url('supers'), async (server) => {
        await exercise(server)
        await exercisePolicies(server)
      })
    })

    it('needs none of the policies once service_role has BYPASSRLS', async () => {
      await provider.admin`alter role service_role bypassrls`
      await as('first', 'owner', 'drop policy "strongroom: the service does everything" on storage.uploads')
      await served(url('first', 'app'), exercise)
      expect(await told(url('first', 'app'))).not.toHaveProperty('service_role')
    })

    async function as(database: string, login: string, statement: string): Promise<void> {
      const pool = openDatabase(url(database, login), { connections: 1 })
      try {
        await pool.sql.unsafe(statement)
      } finally {
        await pool.close()
      }
    }

    async function schemas(database: string): Promise<readonly unknown[]> {
      const pool = openDatabase(url(database), { connections: 1 })
      try {
        return await pool.sql`select nspname from pg_namespace where nspname in ('storage', 'auth', 'strongroom')`
      } finally {
        await pool.close()
      }
    }
  })
})

describe('a login that may create roles and has BYPASSRLS, as Neon gives it', () => {
  it('gives it to service_role, which then needs no policies', async () => {
    const provider = await startProviderPostgres(18)
    try {
      await provider.newLogin('owner', 'createrole bypassrls')
      await provider.admin`create database files owner owner`
      await served(provider.url('files', 'owner'), exercise)
      expect(await told(provider.url('files', 'owner'))).not.toHaveProperty('service_role')
      const roles = await provider.admin`select rolbypassrls from pg_roles where rolname = 'service_role'`
      expect(roles).toEqual([{ rolbypassrls: true }])
    } finally {
      await provider.stop()
    }
  })
})

const silent = pino({ level: 'silent' })

async function served(url: string, work: (server: Served) => Promise<void>): Promise<void> {
  const server = await serveOn(url)
  try {
    await work(server)
  } finally {
    await server.close()
  }
}

/** What `strongroom check` says of the database, as [state, sentence]. */
async function told(url: string): Promise<Record<string, [CheckResult['state'], string]>> {
  const opened: OpenedForCheck = { closers: [] }
  const results: Record<string, [CheckResult['state'], string]> = {}
  for await (const { about, state, says } of checkDatabase(
    url,
    undefined,
    { pool: 10, spare: 0, processes: 1 },
    opened,
  ))
    results[about] = [state, says]
  for (const close of opened.closers) await close()
  return results
}

/** The service hears of what has come, and of what is gone, which no policy can be asked about. */
async function exerciseEvents(server: Served): Promise<void> {
  await server.request('POST', '/storage/v1/bucket', { body: { name: 'heard' } })
  await server.request('POST', '/storage/v1/object/heard/a', { body: 'x' })
  await server.request('DELETE', '/storage/v1/object/heard/a')
  const events = await openEvents(server, { lastEventId: 0, query: '?bucket=heard' })
  expect(await events.hears(3)).toEqual(['bucket.created heard', 'object.created a', 'object.deleted a'])
  events.close()
}
