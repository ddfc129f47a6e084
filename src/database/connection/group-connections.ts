import { StorageError } from '../../model/errors.ts'
import type { Pool } from './pool.ts'
import { inOurErrors } from './postgres-error.ts'
import type { SingleConnection } from './single-connection.ts'

/**
 * How long PostgreSQL may work on a statement that several callers share, besides its commit: whoever is slow holds up the
 * others. In milliseconds.
 */
export const GROUP_MS = 20

/** So many statements at once; with more the groups were small. */
export const GROUPS_AT_ONCE = 2

/** A connection that could not be made rests for so long. In milliseconds. */
const REST_MS = 1000

/**
 * Connections for statements that several callers share (decision 0056), each for one at a time. Nobody waits for one: what
 * finds none that is free is done in another way.
 */
export class GroupConnections {
  readonly #connections: SingleConnection[]
  readonly #taken = new Set<SingleConnection>()
  #restsUntil = 0

  /** @param connections whose statements end after GROUP_MS */
  constructor(connections: SingleConnection[]) {
    this.#connections = connections
  }

  /**
   * Runs `work` on a free connection, and in one session of it: what is run behind its end fails with DatabaseUnavailable.
   * Returns null at once when there is none, and opens one for the next time.
   */
  during<T>(work: (connection: Pick<Pool, 'run'>) => Promise<T>): Promise<T> | null {
    const free = this.#connections.filter((connection) => !this.#taken.has(connection))
    const connection = free.find(({ isOpen }) => isOpen)
    if (connection) return this.#on(connection, work)
    if (free[0]) this.#open(free[0])
    return null
  }

  async close(options: { timeout: number }): Promise<void> {
    await Promise.all(this.#connections.map(({ sql }) => sql.end(options)))
  }

  async #on<T>(
    connection: SingleConnection,
    work: (connection: Pick<Pool, 'run'>) => Promise<T>,
  ): Promise<T> {
    this.#taken.add(connection)
    try {
      return await work({
        run: async (statement, values) => {
          if (!connection.isOpen) throw new StorageError('DatabaseUnavailable')
          return inOurErrors(statement.send(connection.sql, values))
        },
      })
    } finally {
      this.#taken.delete(connection)
    }
  }

  #open(connection: SingleConnection): void {
    if (performance.now() < this.#restsUntil) return
    connection.open().catch(() => {
      this.#restsUntil = performance.now() + REST_MS
    })
  }
}
