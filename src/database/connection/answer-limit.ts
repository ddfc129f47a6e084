import type postgres from '#postgres'
import { StorageError } from '../../model/errors.ts'

type Query = postgres.PendingQuery<postgres.Row[]>
type Work<T> = (tx: postgres.TransactionSql) => Promise<T>

/** Transactions that nobody waits for any more, but that the driver may still begin. With more, none is begun. */
const MOST_ABANDONED = 100

/**
 * Limits how long each statement of a pool, and each beginning and end of a transaction, may take, the wait for a
 * connection included. PostgreSQL ends what takes long by itself (`statement_timeout`); this is for one that accepts and
 * never answers, or a network that swallows everything. Then nobody waits without end, and nothing piles up in the
 * driver, whose queue has no limit of its own.
 *
 * What is late is DatabaseUnavailable. It may have been carried out: nobody knows, as when a connection is lost.
 */
export function limitAnswers(sql: postgres.Sql, limitMs: number): postgres.Sql {
  const { begin, unsafe } = sql
  let abandoned = 0

  /** @param onLate what to do with one that is late besides */
  function limit(onLate: (query: Query) => void): postgres.QueryWatcher<NodeJS.Timeout> {
    const end = (query: Query) => {
      query.reject(noAnswer())
      onLate(query)
    }
    return { onstart: (query) => setTimeout(end, limitMs, query), onend: clearTimeout }
  }

  /** As the driver's: with or without what stands behind `begin`. */
  function limitedBegin<T>(...args: [work: Work<T>] | [options: string, work: Work<T>]): Promise<T> {
    const [options, work] = args.length === 1 ? ['', args[0]] : args
    return new Promise((resolve, reject) => {
      if (abandoned >= MOST_ABANDONED) throw noAnswer()
      let isLate = false
      let isOver = false // before `work` has ended, when the connection was lost
      let timer: NodeJS.Timeout | undefined
      const onLate = () => {
        if (isLate || isOver) return
        isLate = true
        abandoned++
        reject(noAnswer())
      }
      const wait = () => {
        if (!isLate && !isOver) timer = setTimeout(onLate, limitMs)
      }
      const onOver = () => {
        isOver = true
        clearTimeout(timer)
        if (isLate) abandoned--
      }
      wait()
      const running = begin(options, async (tx) => {
        clearTimeout(timer)
        if (isLate) throw noAnswer() // nobody would hear what comes of it
        const { unsafe } = tx
        const limitInTx = limit(onLate) // not cancelled: what waits behind it would wait for ever
        const limitedTx = Object.assign(
          (...args: Parameters<typeof tx>) => watched(tx(...args), limitInTx),
          tx,
          {
            unsafe: (...args: Parameters<typeof unsafe>) => unsafe(...args).watch(limitInTx),
          },
        ) as unknown as postgres.TransactionSql // the same but for these
        try {
          return await work(limitedTx)
        } finally {
          wait() // for its end
        }
      }) as Promise<T>
      running.then(resolve, reject).finally(onOver)
    })
  }

  const limitAlone = limit(forget)
  const query = (...args: Parameters<typeof sql>) => watched(sql(...args), limitAlone)
  return Object.assign(query, sql, {
    begin: limitedBegin,
    unsafe: (...args: Parameters<typeof unsafe>) => unsafe(...args).watch(limitAlone),
  }) as unknown as postgres.Sql // the same but for these
}

/** A name, or values, is a part of another query, and not awaited itself. */
function watched<T>(given: T, watcher: postgres.QueryWatcher<NodeJS.Timeout>): T {
  if (given instanceof Promise) (given as unknown as Query).watch(watcher) // the driver has no other promises
  return given
}

/** Takes it out of the driver's queue, if it still waits there for a connection. */
function forget(query: Query): void {
  if (!query.isSent) query.cancel()
}

function noAnswer(): StorageError {
  return new StorageError('DatabaseUnavailable', { message: 'The database does not answer; try again soon' })
}
