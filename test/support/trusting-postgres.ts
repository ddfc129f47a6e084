import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { startDebianPostgres } from './debian-postgres.ts'
import { PACKAGE_OF_17 } from './postgres-majors.ts'

/** A cluster in which nobody has made our roles, and which lets in whoever is asked for. */
export interface TrustingPostgres {
  host: string
  port: number
  superuser: string
  stop(): Promise<void>
}

/** @param major one of MAJORS that is here */
export async function startTrustingPostgres(major: number): Promise<TrustingPostgres> {
  if (major === 15) {
    const { port, stop } = await startDebianPostgres({ auth: 'trust' })
    return { host: '127.0.0.1', port, superuser: 'postgres', stop }
  }
  const folder = await mkdtemp(join(tmpdir(), `strongroom-postgres-${major}-`))
  await chmod(folder, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const running = await startEmbedded({
    clusterDir: join(folder, 'postgres'),
    logger: pino({ level: 'silent' }),
    settings: { fsync: 'off', full_page_writes: 'off', max_connections: '200' },
    overrides: major === 17 ? { packageDir: PACKAGE_OF_17 } : {},
  })
  const { host, port } = running.connection
  return {
    host,
    port,
    superuser: running.superuser,
    stop: async () => {
      await running.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
