import type { PgTransaction } from 'drizzle-orm/pg-core'
import type { PostgresJsQueryResultHKT } from 'drizzle-orm/postgres-js'

/** An open transaction. The schema parameters are Drizzle's relational queries, which we do not use. */
export type Transaction = PgTransaction<
  PostgresJsQueryResultHKT,
  Record<string, never>,
  Record<string, never>
>
