import pino from 'pino'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/database/connection/client.ts'
import { migrate } from '../../src/database/migrations/migrate.ts'
import { startTrustingPostgres } from './trusting-postgres.ts'

const TEMPLATE = 'strongroom_template'
const OWNER = 'owner'
const OTHER = 'other'

/**
 * Another PostgreSQL in the place of the run's own, migrated and served by whom the name of the project says, such as
 * `postgres-17-owner`: by the superuser; by an owner who is none, so that service_role has policies in the place of
 * BYPASSRLS (decision 0033); or served by another login, which the owner has given the grant.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [, major, way] = project.name.split('-', 3)
  const { host, port, superuser, stop } = await startTrustingPostgres(Number(major))
  const owner = way === 'superuser' ? superuser : OWNER
  const login = way === 'grant' ? OTHER : owner
  const at = (database: string, username: string) => ({ host, port, database, username })
  const run = async (database: string, username: string, ...statements: string[]) => {
    const { sql, close } = openDatabase(at(database, username), { connections: 1 })
    for (const statement of statements) await sql.unsafe(statement)
    await close()
  }
  if (owner === OWNER) await run('postgres', superuser, `create role ${OWNER} login createrole`)
  await run('postgres', superuser, `create database ${TEMPLATE} owner ${owner}`)
  await migrate(at(TEMPLATE, owner), pino({ level: 'silent' }))
  if (login === OTHER) await run(TEMPLATE, owner, `create role ${OTHER} login in role strongroom_server`)
  project.provide('postgres', { host, port, superuser, template: TEMPLATE, owner, login })
  return stop
}
