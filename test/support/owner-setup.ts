import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/database/connection/client.ts'
import { startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { migrate } from '../../src/database/migrations/migrate.ts'
import { startDebianPostgres } from './debian-postgres.ts'

const TEMPLATE = 'strongroom_template'
const OWNER = 'owner'

/**
 * Another PostgreSQL in the place of the run's own: migrated by an owner who is no superuser, so that service_role has
 * policies in the place of BYPASSRLS, and served by the login that has the grant (decision 0033). Debian's 15 or the 18
 * that comes along, by the name of the project.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { host, port, superuser, stop } = await (project.name === 'owner-15' ? startDebian() : startOurs())
  const open = (database: string, username: string) =>
    openDatabase({ host, port, database, username }, { connections: 1 })
  const root = open('postgres', superuser)
  await root.sql`create role ${root.sql(OWNER)} login createrole`
  await root.sql`create database ${root.sql(TEMPLATE)} owner ${root.sql(OWNER)}`
  await root.close()
  const owner = open(TEMPLATE, OWNER)
  await migrate({ host, port, database: TEMPLATE, username: OWNER }, pino({ level: 'silent' }))
  await owner.sql`alter role strongroom_server login`
  await owner.close()
  project.provide('postgres', { host, port, superuser, template: TEMPLATE })
  return stop
}

async function startDebian() {
  const { port, stop } = await startDebianPostgres({ auth: 'trust' })
  return { host: '127.0.0.1', port, superuser: 'postgres', stop }
}

async function startOurs() {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-owner-'))
  await chmod(folder, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const running = await startEmbedded({
    clusterDir: join(folder, 'postgres'),
    logger: pino({ level: 'silent' }),
    settings: { fsync: 'off', full_page_writes: 'off', max_connections: '200' },
  })
  const { host, port } = running.connection
  const stop = async () => {
    await running.stop()
    await rm(folder, { recursive: true, force: true })
  }
  return { host, port, superuser: running.superuser, stop }
}
