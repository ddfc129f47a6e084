import { isSettledWithin } from '../../lib/settled-within.ts'
import type { Family } from './catalog.ts'
import { merge, SharedBuckets } from './merge.ts'

/** A process that can be asked for its numbers. */
export interface MeasuredWorker {
  report(): Promise<Family[]>
}

/** A worker that is too busy to answer has the numbers of the time before. In milliseconds. */
const PATIENCE_MS = 1000

/**
 * The numbers of the processes that answer requests, also of those that have ended: of these what they had counted when they
 * were asked last, so that a sum never goes backwards. What one that was killed has counted since is lost.
 */
export class WorkerMetrics {
  readonly #running = new Map<MeasuredWorker, Family[]>()
  readonly #buckets = new SharedBuckets()
  #ended: Family[] = []
  #pending = Promise.resolve()

  /** It can be asked from now on. */
  add(worker: MeasuredWorker): void {
    this.#running.set(worker, [])
  }

  /** It has ended. One that was never added is a success. */
  async remove(worker: MeasuredWorker): Promise<void> {
    const last = this.#running.get(worker)
    this.#running.delete(worker)
    if (!last || last.length === 0) return
    const counted = last.filter(({ type }) => type !== 'gauge')
    // What has been counted since is added to what was merged here by then.
    this.#pending = this.#pending.then(async () => {
      this.#ended = await merge([this.#ended, counted])
    })
    await this.#pending
  }

  async read(): Promise<Family[][]> {
    await Promise.all([...this.#running.keys()].map((worker) => this.#ask(worker)))
    await this.#pending
    return [...this.#running.values(), this.#ended]
  }

  async #ask(worker: MeasuredWorker): Promise<void> {
    const asking = worker.report().then((families) => {
      if (this.#running.has(worker)) this.#running.set(worker, this.#buckets.limit(families))
    })
    await isSettledWithin(asking, PATIENCE_MS)
  }
}
