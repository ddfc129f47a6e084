import { hasCode, StorageError } from '../../model/errors.ts'
import { FairQueue } from '../../model/fair-queue.ts'
import { Pool } from './pool.ts'
import { fromPostgres } from './postgres-error.ts'
import { isNoPlace, type SingleConnection } from './single-connection.ts'

/** Where a question is asked. */
export class QuestionConnection extends Pool {
  readonly client: SingleConnection

  constructor(client: SingleConnection) {
    super(client.sql)
    this.client = client
  }
}

/** Fewer than QUESTIONS_AT_ONCE: one asker alone must not keep the others waiting. */
const EACH_AT_ONCE = 3

/** Of one asker on one connection, one behind the other: quick ones cost less so, and two slow ones are a long turn. */
const DEPTH = 2

/** Those that wait for a connection, of all askers and of each. */
const WAITING = 2000
const EACH_WAITING = 500

/**
 * Questions of which the caller chooses how much has to be read: lists and statistics. They have connections of their
 * own, so that nothing else ever waits behind one, and little time.
 */
export class Questions {
  readonly #connections: QuestionConnection[]
  readonly #timeoutMs: number
  readonly #turns: FairQueue<QuestionConnection>

  /**
   * @param timeoutMs after which their own limit ends a question
   */
  constructor(connections: QuestionConnection[], timeoutMs: number) {
    this.#connections = connections
    this.#timeoutMs = timeoutMs
    this.#turns = new FairQueue(connections, {
      placesEach: EACH_AT_ONCE,
      depth: DEPTH,
      waiting: WAITING,
      waitingEach: EACH_WAITING,
      waitMs: DEPTH * timeoutMs, // as long as the turn before may be
    })
  }

  /**
   * @param asker whose turn it takes
   * @throws TooManyQuestions, DatabaseTimeout
   */
  async ask<T>(asker: string, question: (connection: QuestionConnection) => Promise<T>): Promise<T> {
    return this.#turns.during(asker, async (connection) => {
      try {
        return await question(connection.client.isOpen ? connection : await this.#open(connection))
      } catch (error) {
        throw hasCode(error, 'DatabaseTimeout') ? this.#tooLong(error) : error
      }
    })
  }

  /** Opens one, so that there is one, however many connections others take from then on. Never fails. */
  async takeRoom(): Promise<void> {
    await this.#connections[0]?.client.open().catch(() => {})
  }

  /** This connection, or while PostgreSQL has no place for it one that is open, to be shared with who has that. */
  async #open(connection: QuestionConnection): Promise<QuestionConnection> {
    const others = this.#connections.filter(({ client }) => client.isOpen)
    const other = others[this.#connections.indexOf(connection) % others.length]
    if (other && connection.client.rests) return other
    try {
      await connection.client.open()
      return connection
    } catch (error) {
      if (!other || !isNoPlace(error)) throw fromPostgres(error)
      return other
    }
  }

  #tooLong(cause: StorageError): StorageError {
    const message =
      `This has to read too much: it was ended after ${this.#timeoutMs / 1000} seconds (STORAGE_LIST_TIMEOUT). ` +
      'Ask for less, such as for a folder, or by name'
    return new StorageError('DatabaseTimeout', { message, cause })
  }

  async close(options: { timeout: number }): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close(options)))
  }
}
