import postgres from '#postgres'
import { startTrustingPostgres } from './trusting-postgres.ts'

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

/** @param major one of MAJORS that is here */
export async function startProviderPostgres(major: number): Promise<ProviderPostgres> {
  const { host, port, superuser, stop } = await startTrustingPostgres(major)
  const admin = postgres({
    host,
    port,
    database: 'postgres',
    username: superuser,
    pass: '',
    max: 2,
    onnotice() {},
  })
  return {
    admin,
    url: (database, login = superuser) =>
      `postgres://${login}@/${database}?host=${encodeURIComponent(host)}&port=${port}`,
    newLogin: async (name, attributes = '') => {
      await admin.unsafe(`create role ${name} login ${attributes}`)
    },
    stop: async () => {
      await admin.end({ timeout: 5 })
      await stop()
    },
  }
}
