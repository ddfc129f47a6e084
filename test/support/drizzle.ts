import { PgDatabase, PgDialect } from 'drizzle-orm/pg-core'
import { type PostgresJsQueryResultHKT, PostgresJsSession } from 'drizzle-orm/postgres-js/session'
import type postgres from '#postgres'

/** Drizzle over a pool of connections. The server itself has it in transactions alone, and its migrations are its own. */
export function drizzleOver(
  sql: postgres.Sql,
): PgDatabase<PostgresJsQueryResultHKT, Record<string, never>, Record<string, never>> {
  const dialect = new PgDialect()
  return new PgDatabase(dialect, new PostgresJsSession(sql, dialect, undefined), undefined)
}
