import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { heartbeat } from '../../database/queries/listed-versions.ts'

export interface HeartbeatsOptions {
  database: Database
  logger: Logger
  /** In milliseconds; a few of them must fit into the grace period of the cleanup. */
  intervalMs: number
}

/**
 * Says for every version that this server is writing that it still does, all of them with one statement. A version
 * that nobody speaks for is a dead server's, and the cleanup gives it up (design §6).
 */
export class Heartbeats {
  readonly #options: HeartbeatsOptions
  /** How many at once write each of them: parts of one come several at a time. */
  readonly #versions = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: HeartbeatsOptions) {
    this.#options = options
  }

  /** Runs `work`, which writes `version`, and speaks for it meanwhile. */
  async during<T>(version: string, work: () => Promise<T>): Promise<T> {
    this.#versions.set(version, (this.#versions.get(version) ?? 0) + 1)
    this.#timer ??= setInterval(() => void this.#beat(), this.#options.intervalMs).unref()
    try {
      return await work()
    } finally {
      this.#leave(version)
      if (this.#versions.size === 0) {
        clearInterval(this.#timer)
        this.#timer = undefined
      }
    }
  }

  #leave(version: string): void {
    const others = (this.#versions.get(version) ?? 1) - 1
    if (others === 0) this.#versions.delete(version)
    else this.#versions.set(version, others)
  }

  async #beat(): Promise<void> {
    const { database, logger } = this.#options
    try {
      await heartbeat(database, [...this.#versions.keys()])
    } catch (error) {
      // The next beat tells the same. If none gets through for the grace period, the commit says so.
      logger.warn({ err: error, uploads: this.#versions.size }, 'a heartbeat of the running uploads failed')
    }
  }
}
