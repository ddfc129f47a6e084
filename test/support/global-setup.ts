import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/database/client.ts'
import { openEmbedded } from '../../src/database/connect.ts'
import { startEmbedded } from '../../src/database/embedded.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The PostgreSQL of this test run. */
    postgres: {
      host: string
      port: number
      superuser: string
      template: string
      /** Whose the databases are; the superuser's when left out. */
      owner?: string
      /** As whom the server logs in; strongroom_server when left out. */
      login?: string
    }
  }
}

/** Migrated once; each test server gets a copy of its own, which takes a fraction of the time. */
const TEMPLATE = 'strongroom_template'

/** One real PostgreSQL for the whole run, in a temporary folder, gone afterwards. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-test-'))
  await chmod(folder, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const logger = pino({ level: 'silent' })
  const postgres = await startEmbedded({
    clusterDir: join(folder, 'postgres'),
    logger,
    // Tests of durability start their own.
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' },
  })
  const { connection, superuser } = postgres
  const admin = openDatabase({ ...connection, username: superuser }, { connections: 1 })
  await admin.sql`create database ${admin.sql(TEMPLATE)}`
  await admin.close()
  const migrated = await openEmbedded(
    { ...connection, database: TEMPLATE },
    superuser,
    { connections: 1 },
    logger,
  )
  await migrated.close()
  project.provide('postgres', { host: connection.host, port: connection.port, superuser, template: TEMPLATE })
  return async () => {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
