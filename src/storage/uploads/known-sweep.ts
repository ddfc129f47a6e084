import type { Database } from '../../database/connection/client.ts'
import { lastSweep } from '../../database/queries/drift.ts'
import { SingleFlight } from '../../lib/single-flight.ts'

/** The number of the last sweep of unnamed bytes that this server has heard of (decision 0055). There may be later ones. */
export class KnownSweep {
  readonly #database: Database
  readonly #asking = new SingleFlight<string>()
  #number: string | undefined

  constructor(database: Database) {
    this.#database = database
  }

  /** @throws DatabaseUnavailable */
  async get(): Promise<string> {
    this.#number ??= await this.#asking.of('the last', () => lastSweep(this.#database))
    return this.#number
  }

  /** To be called when there has been a later one. */
  forget(): void {
    this.#number = undefined
  }
}
