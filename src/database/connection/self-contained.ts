import type postgres from '#postgres'
import { settleBoth } from '../../lib/concurrency.ts'
import { type ConnectionOptions, sessionSettings } from './connection.ts'

type Query = postgres.PendingQuery<postgres.Row[]>

/**
 * Makes each statement of a pool a transaction, and each transaction one that needs nothing of its session, which may be
 * another one every time, and everybody's: a pooler is behind it (decision 0029). For a pool that prepares nothing.
 *
 * Nothing is sent on a connection behind the end of a transaction before that has come: PgBouncer 1.18 gives the
 * session away at the first end, and what was sent behind it goes into somebody else's.
 */
export function selfContained(
  sql: postgres.Sql,
  options: Pick<ConnectionOptions, 'statementTimeoutMs'>,
): postgres.Sql {
  const { begin, unsafe } = sql
  const settings = sessionSettings('local', options)

  const beginWithSettings = <T>(work: (tx: postgres.TransactionSql) => Promise<T>) =>
    begin(async (tx) => {
      const working = async () => work(tx) // what it throws at once is a rejection, too
      const [, result] = await settleBoth(tx.unsafe(settings).execute(), working())
      return result
    })

  /** @param repeat the same statement, in a transaction */
  const alone = (given: Query, repeat: (tx: postgres.TransactionSql) => Query) =>
    given.instead(() => beginWithSettings(async (tx) => repeat(tx).like(given)))

  const query = (...args: Parameters<typeof sql>) => {
    const given: unknown = sql(...args)
    // A name, or values, is a part of another query, and no promise.
    return given instanceof Promise ? alone(given as Query, (tx) => tx(...args) as unknown as Query) : given
  }
  return Object.assign(query, sql, {
    begin: beginWithSettings,
    unsafe: (...args: Parameters<typeof unsafe>) => alone(unsafe(...args), (tx) => tx.unsafe(...args)),
  }) as unknown as postgres.Sql // the same but for these
}
