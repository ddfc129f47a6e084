import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/database/connection/client.ts'
import { startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { openEmbedded } from '../../src/database/opening/connect.ts'

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

/**
 * One real PostgreSQL for the whole run, in a temporary folder, gone afterwards. The first project that needs it starts
 * it, and the others find it.
 */
export default async function setup({ vitest }: TestProject): Promise<(() => Promise<void>) | undefined> {
  const run = vitest.getRootProject()
  if (run.getProvidedContext().postgres) return undefined
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
  run.provide('postgres', { host: connection.host, port: connection.port, superuser, template: TEMPLATE })
  return async () => {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
