import type postgres from '#postgres'

/** `:name`, but not the type in `value::type`. */
const NAMED_VALUE = /(?<![:\w]):([a-z]\w*)/gi

/** With no values, too, which the driver would otherwise send as text alone. */
const PREPARED = { prepare: true, simple: false }

/**
 * A fixed statement: SQL in which `:name` holds the place of each value. PostgreSQL prepares it once per connection,
 * under a name that the driver knows again by the text; where a pooler is in between, nothing is prepared by name
 * (decision 0029).
 */
export class Statement<Values extends object, Row extends object> {
  readonly #text: string
  readonly #names: (keyof Values)[]

  constructor(text: string) {
    const names: string[] = []
    this.#text = text.replace(NAMED_VALUE, (_, name: string) => {
      const known = names.indexOf(name)
      return `$${known < 0 ? names.push(name) : known + 1}`
    })
    this.#names = names as (keyof Values)[] // one that is missing there is refused by the driver
  }

  /**
   * Sends it, in one round trip. Texts and numbers become what the place wants; JSON is given as text.
   *
   * @throws what the driver throws
   */
  send(sql: postgres.ISql, values: Values): Promise<postgres.RowList<Row[]>> {
    const given = this.#names.map((name) => values[name] as postgres.SerializableParameter)
    return sql.unsafe<Row[]>(this.#text, given, PREPARED).execute()
  }
}
