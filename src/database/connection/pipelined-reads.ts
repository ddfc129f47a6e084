import type postgres from '#postgres'
import type { SingleConnection } from './single-connection.ts'

/** So many questions are on their way on one connection, one behind the other. */
const DEPTH = 16

/** When answers take longer than this, a question waits behind no other. In milliseconds. */
const SLOW_MS = 2

/** Nobody waits behind a question that has had no answer for so long. In milliseconds. */
const STUCK_MS = 20

/**
 * A connection that could not be made, or on which a question has failed, rests for so long: it may be dead without a
 * word. In milliseconds.
 */
const REST_MS = 1000

/** The part of each new answer in the typical time. */
const WEIGHT = 0.1

interface Connection {
  client: SingleConnection
  underWay: number
  /** When it was last idle, or gave an answer. */
  movedAt: number
  /** Nothing is asked there before. */
  restsUntil: number
}

/**
 * Connections for short questions, of which there are very many (decision 0021). As long as answers come quickly, one
 * connection takes them all, one behind the other: each further one is a process of PostgreSQL that has to be woken for
 * every question, on the cores that this one runs on, too. When answers take long, as policies of users may, or the connections have
 * their fill, questions are spread over all of them and the pool. A connection is made, or found not to be had, while the
 * pool answers.
 */
export class PipelinedReads {
  readonly #connections: Connection[]
  readonly #pool: postgres.Sql
  /** How long one answer takes, in milliseconds, of late. */
  #typicalMs = 0

  constructor(connections: SingleConnection[], pool: postgres.Sql) {
    this.#connections = connections.map((client) => ({ client, underWay: 0, movedAt: 0, restsUntil: 0 }))
    this.#pool = pool
  }

  async query<T>(question: (sql: postgres.Sql) => PromiseLike<T>): Promise<T> {
    const startedAt = performance.now()
    const most = this.#typicalMs > SLOW_MS ? 1 : DEPTH
    const connection = this.#connections.find(
      ({ underWay, movedAt, restsUntil }) =>
        startedAt >= restsUntil && (underWay === 0 || (underWay < most && startedAt - movedAt < STUCK_MS)),
    )
    if (!connection) return question(this.#pool)
    if (!connection.client.isOpen) {
      void open(connection)
      return question(this.#pool)
    }
    if (connection.underWay === 0) connection.movedAt = startedAt
    const place = ++connection.underWay
    try {
      return await question(connection.client.sql)
    } catch (error) {
      connection.restsUntil = performance.now() + REST_MS
      throw error
    } finally {
      connection.underWay--
      connection.movedAt = performance.now()
      const ms = (connection.movedAt - startedAt) / place
      this.#typicalMs += WEIGHT * (ms - this.#typicalMs)
    }
  }

  countOpen(): number {
    return this.#connections.filter(({ client }) => client.isOpen).length
  }

  async close(options: { timeout: number }): Promise<void> {
    await Promise.all(this.#connections.map(({ client }) => client.sql.end(options)))
  }
}

/** Never fails. */
async function open(connection: Connection): Promise<void> {
  await connection.client.open().catch(() => {
    connection.restsUntil = performance.now() + REST_MS
  })
}
