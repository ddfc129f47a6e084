import type postgres from '#postgres'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'

type Query = postgres.PendingQuery<postgres.Row[]>
type Work<T> = (tx: postgres.TransactionSql) => Promise<T>

/** Of a statement, in characters. Its values are no part of its text. */
const MAX_TEXT = 500

/** What it does, and the first function or table of ours that it names. */
const VERB = /^\s*(\w+)/
const TARGET = /\b(storage|strongroom)"?\."?(\w+)/

const SYSTEM = { 'db.system.name': 'postgresql' }

/**
 * Makes each statement of a pool, and each of its transactions, a step of the request that asks it, by the semantic
 * conventions of databases (https://opentelemetry.io/docs/specs/semconv/database/postgresql/).
 */
export function traceQueries(sql: postgres.Sql, tracing: Tracing): postgres.Sql {
  const { begin, unsafe } = sql

  /** As the driver's: with or without what stands behind `begin`. */
  function tracedBegin<T>(...args: [work: Work<T>] | [options: string, work: Work<T>]): Promise<T> {
    const [options, work] = args.length === 1 ? ['', args[0]] : args
    return tracing.during('transaction', { kind: 'client', attributes: SYSTEM }, () =>
      begin(options, (tx) => {
        const { unsafe } = tx
        const query = (...args: Parameters<typeof tx>) => traced(tx(...args), tracing)
        const tracedTx = Object.assign(query, tx, {
          unsafe: (...args: Parameters<typeof unsafe>) => traced(unsafe(...args), tracing),
        }) as unknown as postgres.TransactionSql // the same but for these
        return work(tracedTx)
      }),
    ) as Promise<T>
  }

  const query = (...args: Parameters<typeof sql>) => traced(sql(...args), tracing)
  return Object.assign(query, sql, {
    begin: tracedBegin,
    unsafe: (...args: Parameters<typeof unsafe>) => traced(unsafe(...args), tracing),
  }) as unknown as postgres.Sql // the same but for these
}

/** A name, or values, is a part of another query, and not awaited itself. */
function traced<T>(given: T, tracing: Tracing): T {
  if (given instanceof Promise) {
    const query = given as unknown as Query // the driver has no other promises
    query.watch({ onstart: (query) => follow(query, tracing), onend: () => {} })
  }
  return given
}

/** Until it is resolved, the wait for a connection included. */
function follow(query: Query, tracing: Tracing): void {
  const text = query.strings.join('?')
  const summary = summaryOf(text)
  const attributes = { ...SYSTEM, 'db.query.summary': summary, 'db.query.text': text.slice(0, MAX_TEXT) }
  tracing.endsWith(tracing.step(summary, { kind: 'client', attributes }), query)
}

/** Such as `select storage.read_row`: one of few, however a statement is composed. */
function summaryOf(text: string): string {
  const [, verb = ''] = VERB.exec(text) ?? []
  const [, schema, name] = TARGET.exec(text) ?? []
  return name === undefined ? verb.toLowerCase() : `${verb.toLowerCase()} ${schema}.${name}`
}
