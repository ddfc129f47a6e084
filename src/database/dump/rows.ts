import type postgres from '#postgres'
import { StorageError } from '../../model/errors.ts'
import { inOurErrors } from '../connection/postgres-error.ts'

/** Where rows are read: in a transaction of its own. */
export interface Reader {
  sql: postgres.ISql
  /** Aborted when the connection is lost, and the transaction with it. */
  lost?: AbortSignal
}

/** A table, and what is read of it. */
export interface TableShape {
  name: string
  columns: string[]
  /** By what its rows are sorted: the primary key, mostly. */
  key: { name: string; isText: boolean }[]
  /** A condition on those that are read; all are without it. */
  only?: string
}

/** How values are written, whatever the database's own settings are. */
export const EXACTLY = `set local timezone = 'UTC'; set local extra_float_digits = 1; set local bytea_output = 'hex'`

/** What is fetched at once, in characters and in rows: memory is bounded, whatever the rows are like. */
const BATCH_LENGTH = 2 ** 21
const BATCH_ROWS = 2000

/** Columns by name, whatever the order in which a table has got them. */
function selectLines({ name, columns, key, only = 'true' }: TableShape): string {
  const order = key.map((column) => `${quote(column.name)}${column.isText ? ' collate "C"' : ''}`)
  return `select row_to_json(r)::text as line
    from (select ${columns.map(quote).join(', ')} from storage.${quote(name)} where ${only} order by ${order.join(', ')}) r`
}

/** The rows of a table as lines of JSON, sorted by its key, texts byte by byte. Under `EXACTLY`. */
export async function* readLines(reader: Reader, table: TableShape): AsyncIterable<string> {
  const lines = readRows<{ line: string }>(reader, selectLines(table), ({ line }) => line.length)
  for await (const { line } of lines) yield line
}

/**
 * The rows of a query by a cursor, which leaves the session free for others. How many are fetched at once depends on how long
 * the last ones were.
 */
export async function* readRows<Row extends object>(
  reader: Reader,
  query: string,
  lengthOf: (row: Row) => number,
): AsyncIterable<Row> {
  const { sql } = reader
  const cursor = quote(`read ${nextCursor++}`)
  await asked(reader, sql.unsafe(`declare ${cursor} no scroll cursor for ${query}`))
  const fetch = (limit: number) => {
    const coming = asked(reader, sql.unsafe<Row[]>(`fetch ${limit} from ${cursor}`))
    coming.catch(() => {}) // told to who waits for it, if anybody does
    return coming
  }
  try {
    let limit = 100
    let coming = fetch(limit)
    for (;;) {
      const rows = await coming
      const isLast = rows.length < limit
      const length = rows.reduce((sum, row) => sum + lengthOf(row), 1)
      limit = Math.min(BATCH_ROWS, Math.max(1, Math.floor((BATCH_LENGTH * rows.length) / length)))
      // PostgreSQL makes the next ones while these are worked on.
      if (!isLast) coming = fetch(limit)
      yield* rows
      if (isLast) return
    }
  } finally {
    // In a session that is lost, or a transaction that has failed, it is gone.
    await sql.unsafe(`close ${cursor}`).catch(() => {})
  }
}

let nextCursor = 1

/**
 * Awaits a query of the reader's. The driver would ask another one, without the snapshot, once this is lost.
 *
 * @throws StorageError
 */
export async function asked<T>({ lost }: Reader, query: PromiseLike<T>): Promise<T> {
  const refuseLost = () => {
    if (lost?.aborted) throw new StorageError('DatabaseUnavailable')
  }
  refuseLost()
  const answer = await inOurErrors(query)
  refuseLost()
  return answer
}

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
