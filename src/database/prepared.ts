import type { SQL } from 'drizzle-orm'
import { PgDialect } from 'drizzle-orm/pg-core'
import type { Transaction } from './transaction.ts'

/**
 * Runs a statement as a prepared one: planned once per connection, one round trip. Drizzle prepares only when
 * asked, and has no public way to ask for raw SQL.
 *
 * @param name any; the statement's text is what identifies it
 */
export async function prepared<Row extends Record<string, unknown>>(
  tx: Transaction,
  name: string,
  query: SQL,
): Promise<Row[]> {
  const session = (tx as unknown as WithSession)._.session
  const rows = await session.prepareQuery(dialect.sqlToQuery(query), undefined, name, false).execute()
  return rows as Row[] // the caller names the columns that the statement's text selects
}

const dialect = new PgDialect()

/** Every Drizzle database and transaction carries its session here, though the types do not say so. */
interface WithSession {
  _: {
    session: {
      prepareQuery(
        query: unknown,
        fields: undefined,
        name: string,
        arrayMode: boolean,
      ): { execute(): Promise<unknown> }
    }
  }
}
