import { SingleFlight } from '../../lib/single-flight.ts'
import { StorageError } from '../../model/errors.ts'
import type { Family } from '../../telemetry/metrics/catalog.ts'
import type { Answers, FromWorker, ToWorker } from './messages.ts'

/** Longer than the primary waits for all that it asks. In milliseconds. */
const LIMIT_MS = 5000

type Heard = Extract<ToWorker, { type: 'report' | 'answered' }>

/** How a worker tells the primary what it has counted, and is told what is true of all workers. */
export class PrimaryChannel {
  readonly #say: (message: FromWorker) => void
  readonly #asked = new Map<number, (answer: Answers[keyof Answers] | null) => void>()
  readonly #underWay = new SingleFlight<Answers[keyof Answers]>()
  #count = 0
  /** What this process has counted. */
  read: () => Promise<Family[]> = async () => []

  constructor(say: (message: FromWorker) => void) {
    this.#say = say
  }

  hear(message: Heard): void {
    if (message.type === 'report') void this.#report(message.id)
    else this.#answer(message.id, message.answer)
  }

  /**
   * @param limitMs how long the answer may take
   * @throws ShuttingDown when there is no primary any more; an error when it has failed, or takes too long
   */
  async ask<About extends keyof Answers>(about: About, limitMs = LIMIT_MS): Promise<Answers[About]> {
    const answer = await this.#underWay.of(about, async () => {
      const id = ++this.#count
      const heard = await new Promise<Answers[keyof Answers] | null>((resolve) => {
        this.#asked.set(id, resolve)
        setTimeout(() => this.#answer(id, null), limitMs).unref()
        this.#say({ type: 'ask', id, about })
        if (!process.connected) this.disconnected()
      })
      if (heard !== null) return heard
      throw process.connected ? new Error(`${about} could not be gathered`) : new StorageError('ShuttingDown')
    })
    return answer as Answers[About] // by the primary's `Answering`
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

  #answer(id: number, answer: Answers[keyof Answers] | null): void {
    this.#asked.get(id)?.(answer)
    this.#asked.delete(id)
  }
}
