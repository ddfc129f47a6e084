import { SingleFlight } from '../../lib/single-flight.ts'
import { StorageError } from '../../model/errors.ts'
import type { Family } from '../../telemetry/metrics/catalog.ts'
import type { FromWorker, ToWorker } from './messages.ts'

/** Longer than the primary waits for all that it asks. In milliseconds. */
const LIMIT_MS = 5000

type Heard = Extract<ToWorker, { type: 'report' | 'scraped' }>

/** How a worker tells the primary what it has counted, and is told what all of them have. */
export class MetricsChannel {
  readonly #say: (message: FromWorker) => void
  readonly #asked = new Map<number, (text: string | null) => void>()
  readonly #underWay = new SingleFlight<string>()
  #count = 0
  /** What this process has counted. */
  read: () => Promise<Family[]> = async () => []

  constructor(say: (message: FromWorker) => void) {
    this.#say = say
  }

  hear(message: Heard): void {
    if (message.type === 'report') void this.#report(message.id)
    else this.#answer(message.id, message.text)
  }

  /** In Prometheus' text format. @throws ShuttingDown when there is no primary any more; whatever has failed there */
  scrape(): Promise<string> {
    return this.#underWay.of('', async () => {
      const id = ++this.#count
      const text = await new Promise<string | null>((resolve) => {
        this.#asked.set(id, resolve)
        setTimeout(() => this.#answer(id, null), LIMIT_MS).unref()
        this.#say({ type: 'scrape', id })
        if (!process.connected) this.disconnected()
      })
      if (text !== null) return text
      throw process.connected ? new Error('metrics could not be gathered') : new StorageError('ShuttingDown')
    })
  }

  /** The primary is gone, and nobody answers. */
  disconnected(): void {
    for (const id of [...this.#asked.keys()]) this.#answer(id, null)
  }

  async #report(id: number): Promise<void> {
    // Without an answer the primary has the numbers of the time before.
    const families = await this.read().catch(() => null)
    if (families) this.#say({ type: 'reported', id, families })
  }

  #answer(id: number, text: string | null): void {
    this.#asked.get(id)?.(text)
    this.#asked.delete(id)
  }
}
