import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MigrationError } from '../../../src/database/migrations/migrate.ts'
import {
  DEBIAN_POSTGRES,
  type DebianPostgres,
  hasDebianPostgres,
  startDebianPostgres,
} from '../../support/debian-postgres.ts'
import { exercise, exercisePolicies } from '../../support/exercise.ts'
import { serveOn } from '../../support/server.ts'

/** Skipped elsewhere, because the npm packages hold a newer PostgreSQL only. */
describe.skipIf(!hasDebianPostgres)(
  `DATABASE_URL naming a PostgreSQL 15 over TCP (needs Debian's postgresql-15 in ${DEBIAN_POSTGRES})`,
  () => {
    const login = { user: 'app', password: 'an-ordinary-password' }
    let postgres: DebianPostgres
    beforeAll(async () => {
      postgres = await startDebianPostgres()
    })
    afterAll(() => postgres?.stop())

    it('is not migrated by a login that may create nothing, or no roles; either is told what to do', async () => {
      await postgres.admin.unsafe(`create role ${login.user} login password '${login.password}'`)
      await postgres.admin`create database storage_one`
      await postgres.admin.unsafe(`create database apps_own owner ${login.user}`)
      for (const [database, problem] of [
        ['storage_one', 'the login app may not create schemas in the database storage_one. '],
        [
          'apps_own',
          'the login app may not create the role anon, authenticated, service_role, strongroom_server. ',
        ],
      ] as const) {
        const refused = serveOn(postgres.url(database, login))
        await expect(refused).rejects.toThrow(MigrationError)
        await expect(refused).rejects.toThrow(`The database cannot be migrated: ${problem}`)
        await expect(refused).rejects.toThrow(
          /Run `strongroom migrate` once with DATABASE_URL naming (its owner, postgres|a login that may \(createrole\), such as postgres)/,
        )
      }
      expect(await postgres.admin`select from pg_roles where rolname = 'service_role'`).toEqual([])
    })

    it('is migrated once by two servers that a superuser starts at the same moment, and works', async () => {
      const url = postgres.url('storage_one')
      const servers = await Promise.all([serveOn(url), serveOn(url)])
      try {
        const messages = servers.map((server) => server.logs.map((line) => line.msg ?? ''))
        const migrations = messages.flat().filter((message) => message === 'the database was migrated')
        expect(migrations).toHaveLength(1)
        // A superuser is more than is needed, and the log says what is enough.
        for (const told of messages) expect(told.join()).toContain('grant strongroom_server')
        await Promise.all(servers.map(exercise))
        if (servers[0]) await exercisePolicies(servers[0])
      } finally {
        await Promise.all(servers.map((server) => server.close()))
      }
    })

    it('is refused to a login without the grant, with the sentence to run', async () => {
      const refused = serveOn(postgres.url('storage_one', login))
      await expect(refused).rejects.toThrow(MigrationError)
      await expect(refused).rejects.toThrow(`Run as postgres: grant strongroom_server to "${login.user}"`)
    })

    it('is served by an ordinary login that has the grant, without a warning', async () => {
      await postgres.admin.unsafe(`grant strongroom_server to ${login.user}`)
      const server = await serveOn(postgres.url('storage_one', login))
      try {
        expect(server.logs.filter((line) => line.level >= 40)).toEqual([])
        await exercise(server)
        await exercisePolicies(server)
      } finally {
        await server.close()
      }
    })

    it('is migrated by a login that owns its database and may create roles, when the cluster has ours already', async () => {
      const creator = { user: 'creator', password: 'another-password' }
      await postgres.admin.unsafe(
        `create role ${creator.user} login createrole password '${creator.password}'`,
      )
      await postgres.admin.unsafe(`create database storage_two owner ${creator.user}`)
      const server = await serveOn(postgres.url('storage_two', creator))
      try {
        await exercise(server)
        await exercisePolicies(server)
      } finally {
        await server.close()
      }
    })

    it('is told that a wrong password is wrong', async () => {
      const refused = serveOn(postgres.url('storage_one', { ...login, password: 'wrong' }))
      await expect(refused).rejects.toThrow(/password authentication failed/)
      await expect(refused).rejects.not.toThrow(/"wrong"/)
    })
  },
)
