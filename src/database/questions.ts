import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type postgres from 'postgres'
import { hasCode, StorageError } from '../errors.ts'
import { Turns } from '../turns.ts'

/** Where a question is asked. */
export interface QuestionConnections {
  sql: postgres.Sql
  drizzle: PostgresJsDatabase
}

/** At once, of all askers and of each: one alone must not keep the others waiting. */
export const QUESTIONS_AT_ONCE = 4
const EACH_AT_ONCE = 3

/** Those that wait for a connection, of all askers and of each. */
const WAITING = 2000
const EACH_WAITING = 500

/**
 * Questions of which the caller chooses how much has to be read: lists and statistics. They have connections of their
 * own, so that nothing else ever waits behind one, and little time.
 */
export class Questions {
  readonly #connections: QuestionConnections
  readonly #timeoutMs: number
  readonly #turns: Turns

  /** @param timeoutMs after which the connections' own limit ends a question; waiting for one takes no longer either */
  constructor(connections: QuestionConnections, timeoutMs: number) {
    this.#connections = connections
    this.#timeoutMs = timeoutMs
    this.#turns = new Turns({
      places: QUESTIONS_AT_ONCE,
      placesEach: EACH_AT_ONCE,
      waiting: WAITING,
      waitingEach: EACH_WAITING,
      waitMs: timeoutMs,
    })
  }

  /**
   * @param asker whose turn it takes
   * @throws TooManyQuestions, DatabaseTimeout
   */
  async ask<T>(asker: string, question: (connections: QuestionConnections) => Promise<T>): Promise<T> {
    return this.#turns.during(asker, async () => {
      try {
        return await question(this.#connections)
      } catch (error) {
        throw hasCode(error, 'DatabaseTimeout') ? this.#tooLong(error) : error
      }
    })
  }

  #tooLong(cause: StorageError): StorageError {
    const message =
      `This has to read too much: it was ended after ${this.#timeoutMs / 1000} seconds (STORAGE_LIST_TIMEOUT). ` +
      'Ask for less, such as for a folder, or by name'
    return new StorageError('DatabaseTimeout', { message, cause })
  }

  async close(options: { timeout: number }): Promise<void> {
    await this.#connections.sql.end(options)
  }
}
