import { is, Param, Placeholder, type SQLWrapper } from 'drizzle-orm'
import { PgDialect, type PgTransaction } from 'drizzle-orm/pg-core'
import type { PostgresJsQueryResultHKT } from 'drizzle-orm/postgres-js'
import type { RowList } from '#postgres'

/** An open transaction. The schema parameters are Drizzle's relational queries, which we do not use. */
export type Transaction = PgTransaction<
  PostgresJsQueryResultHKT,
  Record<string, never>,
  Record<string, never>
>

const dialect = new PgDialect()

/**
 * A statement whose values come later: `sql.placeholder(name)` holds the place of each. Its text is made once, which
 * would otherwise cost more than to send it, and PostgreSQL plans it once per connection.
 */
export class Statement<Values extends Record<string, unknown>, Row extends Record<string, unknown>> {
  readonly #name: string
  readonly #text: string
  readonly #params: unknown[]

  /** @param name any; the text is what identifies it */
  constructor(name: string, query: SQLWrapper) {
    const { sql, params } = dialect.sqlToQuery(query.getSQL())
    this.#name = name
    this.#text = sql
    this.#params = params
  }

  /** In a transaction, in one round trip. Drizzle has no public way to ask for this. */
  async run(tx: Transaction, values: Values): Promise<RowList<Row[]>> {
    const session = (tx as unknown as WithSession)._.session
    const params = this.#params.map((param) => fill(param, values))
    const query = session.prepareQuery({ sql: this.#text, params }, undefined, this.#name, false)
    return (await query.execute()) as RowList<Row[]> // the caller names the columns that the text selects
  }
}

/** Unlike Drizzle's own filling, null is SQL's null in a JSON column too. */
function fill(param: unknown, values: Record<string, unknown>): unknown {
  if (is(param, Placeholder)) return values[param.name]
  if (!is(param, Param) || !is(param.value, Placeholder)) return param
  const value = values[param.value.name]
  return value === null ? null : param.encoder.mapToDriverValue(value)
}

/** Every Drizzle database and transaction carries its session here, though the types do not say so. */
interface WithSession {
  _: {
    session: {
      prepareQuery(
        query: { sql: string; params: unknown[] },
        fields: undefined,
        name: string,
        arrayMode: boolean,
      ): { execute(): Promise<unknown> }
    }
  }
}
