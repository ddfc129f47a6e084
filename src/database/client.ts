import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'

/** Where a PostgreSQL is, and who logs in: a URL, or the embedded one's socket. */
export type DatabaseAddress = string | { host: string; port: number; database: string; username: string }

/** The pool and Drizzle over it. Hot reads go through `sql`, writes through Drizzle transactions (design §10). */
export interface Database {
  sql: postgres.Sql
  drizzle: PostgresJsDatabase
  close(): Promise<void>
}

/** A statement that takes longer is one that nobody waits for any more (contract §7.5). */
const STATEMENT_TIMEOUT_MS = 30_000

/** Opens a pool. Connects at the first query, and again by itself after a lost connection. */
export function openDatabase(address: DatabaseAddress, options: { connections: number }): Database {
  const settings: postgres.Options<Record<string, never>> = {
    max: options.connections,
    // A reconnecting pool asks at this pace; the default backs off for up to a minute.
    backoff: (attempt) => Math.min(0.05 * 2 ** attempt, 1),
    connect_timeout: 10,
    connection: { application_name: 'strongroom', statement_timeout: STATEMENT_TIMEOUT_MS, TimeZone: 'UTC' },
    onnotice: () => {},
  }
  const sql =
    typeof address === 'string'
      ? postgres(address, settings)
      : postgres({ ...address, pass: '', ...settings })
  return { sql, drizzle: drizzle(sql), close: () => sql.end({ timeout: 5 }) }
}
