import type postgres from '#postgres'
import type { ConnectionOptions } from './connection.ts'
import { sqlState } from './postgres-error.ts'

/** After PostgreSQL had no place for it, it better asks no more for so long. In milliseconds. */
const REST_MS = 1000

/** PostgreSQL, or what stands before it, has no place for another connection. */
const NO_PLACE = '53300'

export function isNoPlace(error: unknown): boolean {
  return sqlState(error) === NO_PLACE
}

/**
 * A client of one connection, which is to be open before anything is asked there: where PostgreSQL has no place for it,
 * another one may answer.
 */
export class SingleConnection {
  readonly sql: postgres.Sql
  #isOpen = false
  #opening: Promise<void> | undefined
  #restsUntil = 0

  constructor(connect: (options: ConnectionOptions) => postgres.Sql, options: ConnectionOptions = {}) {
    const onclose = () => {
      this.#isOpen = false
    }
    this.sql = connect({ ...options, max: 1, onclose })
  }

  /** It was opened, and is not known to be lost. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /** PostgreSQL had no place for it a moment ago. */
  get rests(): boolean {
    return performance.now() < this.#restsUntil
  }

  /** @throws what keeps it from being opened */
  open(): Promise<void> {
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #open(): Promise<void> {
    if (this.#isOpen) return
    try {
      await this.sql.unsafe('select 1')
      this.#isOpen = true
    } catch (error) {
      if (isNoPlace(error)) this.#restsUntil = performance.now() + REST_MS
      throw error
    }
  }
}
