import type postgres from '#postgres'
import type { Pool } from './pool.ts'
import { inOurErrors } from './postgres-error.ts'
import { isNoPlace, type SingleConnection } from './single-connection.ts'
import type { Statement } from './statement.ts'

/** What takes so long waits for the disk, and not for a processor. In milliseconds. */
const SLOW_MS = 4

/** So many in a row must be slow: on a busy machine one of them is quick all the same. */
const SLOW_IN_A_ROW = 200

/** So often is looked how long one takes that waits for no other. In milliseconds. */
const PROBE_MS = 10

/** After one that could not be opened, none is tried for so long. In milliseconds. */
const REST_MS = 1000

/**
 * Statements that store something, and commit by themselves. As many commits share a flush of PostgreSQL's log as there
 * are connections. So where a flush takes long, those that would have to wait behind another one go to spare connections
 * (decision 0057). Elsewhere one of these is enough, by which it is seen that commits are quick: each is a process of
 * PostgreSQL more, on processors that are busy.
 */
export class Commits {
  readonly #pool: Pool
  readonly #ofPool: number
  readonly #spare: SingleConnection[]
  readonly #taken = new Set<SingleConnection>()
  /** In the pool. */
  #underWay = 0
  /** Of those that had a connection for themselves, the last ones. */
  #slowInARow = 0
  /** When the last one of them began. */
  #timedAt = 0
  #isOpening = false
  #restsUntil = 0

  /** @param ofPool how many connections the pool has */
  constructor(pool: Pool, ofPool: number, spare: SingleConnection[]) {
    this.#pool = pool
    this.#ofPool = ofPool
    this.#spare = spare
  }

  /** @throws StorageError whatever PostgreSQL says, as ours */
  async run<Values extends object, Row extends object>(
    statement: Statement<Values, Row>,
    values: Values,
  ): Promise<postgres.RowList<Row[]>> {
    if (this.#underWay < this.#ofPool) return this.#timed(this.#inPool(statement, values))
    const spare = this.#takeSpare()
    if (!spare) return this.#inPool(statement, values)
    try {
      return await this.#timed(inOurErrors(statement.send(spare.sql, values)))
    } catch (error) {
      if (!isNoPlace(error)) throw error
      return await this.#inPool(statement, values) // it was closed at this moment, and its place is taken
    } finally {
      this.#taken.delete(spare)
    }
  }

  async close(options: { timeout: number }): Promise<void> {
    await Promise.all(this.#spare.map(({ sql }) => sql.end(options)))
  }

  async #inPool<Values extends object, Row extends object>(
    statement: Statement<Values, Row>,
    values: Values,
  ): Promise<postgres.RowList<Row[]>> {
    this.#underWay++
    try {
      return await this.#pool.run(statement, values)
    } finally {
      this.#underWay--
    }
  }

  /** What fails commits nothing, and says nothing about it. */
  async #timed<T>(running: Promise<T>): Promise<T> {
    const startedAt = performance.now()
    this.#timedAt = startedAt
    const result = await running
    this.#slowInARow = performance.now() - startedAt < SLOW_MS ? 0 : this.#slowInARow + 1
    return result
  }

  /**
   * Returns one that is open and free: where commits are slow, or the first of them when it is time to see whether they are.
   * If there is none, another is opened, for those that come later.
   */
  #takeSpare(): SingleConnection | undefined {
    const areSlow = this.#slowInARow >= SLOW_IN_A_ROW
    if (!areSlow && performance.now() - this.#timedAt < PROBE_MS) return undefined
    const free = this.#spare.slice(0, areSlow ? undefined : 1).filter((spare) => !this.#taken.has(spare))
    const open = free.find(({ isOpen }) => isOpen)
    if (open) this.#taken.add(open)
    else if (free[0]) this.#open(free[0])
    return open
  }

  #open(spare: SingleConnection): void {
    if (this.#isOpening || performance.now() < this.#restsUntil) return
    this.#isOpening = true
    spare
      .open()
      .catch(() => {
        this.#restsUntil = performance.now() + REST_MS
      })
      .finally(() => {
        this.#isOpening = false
      })
  }
}
