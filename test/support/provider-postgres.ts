import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import postgres from 'postgres'
import { startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { DEBIAN_POSTGRES, hasDebianPostgres, startDebianPostgres } from './debian-postgres.ts'

/** A cluster in which nobody has made our roles, as a provider gives it. */
export interface ProviderPostgres {
  /** The superuser, of whom the provider's customers have nothing. */
  admin: postgres.Sql
  /** For DATABASE_URL. */
  url(database: string, login?: string): string
  /** A login with these attributes, besides that it may log in. */
  newLogin(name: string, attributes?: string): Promise<void>
  stop(): Promise<void>
}

/** The majors that are at hand: Debian's, and that which comes along. 16 changed what who makes a role may do with it. */
export const PROVIDERS = [
  { major: 15, isHere: hasDebianPostgres, needs: ` (needs Debian's postgresql-15 in ${DEBIAN_POSTGRES})` },
  { major: 18, isHere: true, needs: '' },
]

export async function startProviderPostgres(major: number): Promise<ProviderPostgres> {
  const { admin, url, stop } = major === 15 ? await startDebian() : await startOurs()
  return {
    admin,
    url,
    newLogin: async (name, attributes = '') => {
      await admin.unsafe(`create role ${name} login ${attributes} password '${PASSWORD}'`)
    },
    stop,
  }
}

const PASSWORD = 'a-login-of-the-tests'

async function startDebian(): Promise<Omit<ProviderPostgres, 'newLogin'>> {
  const { admin, url, stop } = await startDebianPostgres()
  return {
    admin,
    url: (database, login) =>
      login === undefined ? url(database) : url(database, { user: login, password: PASSWORD }),
    stop,
  }
}

async function startOurs(): Promise<Omit<ProviderPostgres, 'newLogin'>> {
  const folder = await mkdtemp(join(tmpdir(), 'provider-postgres-'))
  await chmod(folder, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const running = await startEmbedded({
    clusterDir: join(folder, 'postgres'),
    logger: pino({ level: 'silent' }),
    settings: { fsync: 'off', full_page_writes: 'off' },
  })
  const { host, port } = running.connection
  const url: ProviderPostgres['url'] = (database, login = running.superuser) =>
    `postgres://${login}@/${database}?host=${encodeURIComponent(host)}&port=${port}`
  const admin = postgres({
    host,
    port,
    database: 'postgres',
    username: running.superuser,
    pass: '',
    max: 2,
    onnotice() {},
  })
  return {
    admin,
    url,
    stop: async () => {
      await admin.end({ timeout: 5 })
      await running.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
