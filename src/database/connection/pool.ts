import type postgres from '#postgres'
import { Transaction } from './drizzle.ts'
import { inOurErrors } from './postgres-error.ts'
import type { Statement } from './statement.ts'

/** Connections that statements are run on, whichever is free. */
export class Pool {
  /** For what is asked about the connections themselves. */
  readonly sql: postgres.Sql

  constructor(sql: postgres.Sql) {
    this.sql = sql
  }

  /** Runs a statement by itself. @throws StorageError whatever PostgreSQL says, as ours */
  run<Values extends object, Row extends object>(
    statement: Statement<Values, Row>,
    values: Values,
  ): Promise<postgres.RowList<Row[]>> {
    return inOurErrors(statement.send(this.sql, values))
  }

  /** Runs `work` in one transaction, which is undone when it throws. @throws the same, or what `work` throws */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const running = this.sql.begin((sql) => work(new Transaction(sql)))
    return inOurErrors(running as Promise<T>) // no array of promises, which the driver would wait for
  }

  close(options: { timeout: number }): Promise<void> {
    return this.sql.end(options)
  }
}
