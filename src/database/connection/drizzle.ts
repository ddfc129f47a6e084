import { PgDialect } from 'drizzle-orm/pg-core'
import { PostgresJsSession, PostgresJsTransaction } from 'drizzle-orm/postgres-js/session'
import type postgres from '#postgres'
import type { Statement } from './statement.ts'

/*
 * Drizzle over our driver (decision 0041). Its own way in, `drizzle-orm/postgres-js`, needs the registry's driver beside
 * ours.
 */

/** The schema parameters are Drizzle's relational queries, which we do not use. */
type NoSchema = Record<string, never>

const dialect = new PgDialect()

/** An open transaction: Drizzle's, for statements that are composed, and fixed statements in the same one. */
export class Transaction extends PostgresJsTransaction<NoSchema, NoSchema> {
  readonly #sql: postgres.TransactionSql

  constructor(sql: postgres.TransactionSql) {
    const client = sql as postgres.TransactionSql & postgres.Sql // typed as both, and used as the former
    super(dialect, new PostgresJsSession(client, dialect, undefined), undefined)
    this.#sql = sql
  }

  /** @throws what the driver throws, which is ours when the transaction ends with it */
  run<Values extends object, Row extends object>(
    statement: Statement<Values, Row>,
    values: Values,
  ): Promise<postgres.RowList<Row[]>> {
    return statement.send(this.#sql, values)
  }
}
