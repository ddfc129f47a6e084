import cluster from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Config } from '../../config/config.ts'
import { LONGEST_TIMER_MS } from '../../lib/units.ts'
import type { WorkerMetrics } from '../../telemetry/metrics/worker-metrics.ts'
import type { Addresses, RequestServer } from '../request-server.ts'
import { InvalidationBus } from './invalidation-bus.ts'
import type { Answering, Assignment } from './messages.ts'
import { type WorkerEnd, WorkerProcess } from './worker-process.ts'
import { WorkerStartError } from './worker-start-error.ts'

export interface WorkerPoolOptions {
  config: Pick<Config, 'workers' | 'shutdownDelayMs' | 'shutdownTimeoutMs'>
  assignment: Assignment
  /** Is told of those that listen, and of those that have ended. */
  metrics: WorkerMetrics
  /** What is true of all of them, for the one that is asked. */
  answers: Answering
  logger: Logger
}

/** A worker that has served for this long is started again at once, whatever was before. In milliseconds. */
const STEADY_MS = 10_000

/** Between the starts of a worker that ends again and again, in milliseconds: doubled from the first to the last. */
const [SHORTEST_WAIT_MS, LONGEST_WAIT_MS] = [100, 10_000]

/** How much longer than its requests a worker may take for its end. In milliseconds. */
const CLOSING_MS = 10_000

/** Longest time that a worker may take from the wish to its end. In milliseconds. */
export function closingLimitMs(config: WorkerPoolOptions['config']): number {
  return Math.min(config.shutdownDelayMs + config.shutdownTimeoutMs + CLOSING_MS, LONGEST_TIMER_MS)
}

/**
 * Answers requests in several processes on one port (decision 0018): starts them, resolves once all of them listen, and
 * starts another one for each that ends, until it is closed.
 *
 * @throws WorkerStartError when one of the first workers cannot serve
 */
export async function startWorkers(options: WorkerPoolOptions): Promise<RequestServer> {
  const pool = new WorkerPool(options)
  try {
    return { ...(await pool.start()), close: () => pool.close() }
  } catch (error) {
    await pool.close()
    throw error
  }
}

class WorkerPool {
  readonly #options: WorkerPoolOptions
  readonly #closing = new AbortController()
  readonly #running = new Set<WorkerProcess>()
  readonly #bus = new InvalidationBus(this.#running)
  #places: Promise<void>[] = []
  #hasStarted = false

  constructor(options: WorkerPoolOptions) {
    this.#options = options
  }

  async start(): Promise<Addresses> {
    cluster.setupPrimary({ args: ['worker'] })
    // However this process ends, as long as it can still act.
    process.once('exit', this.#kill)
    const firstOnes = Array.from({ length: this.#options.config.workers }, () => {
      return new Promise<Addresses>((listens, fails) => this.#places.push(this.#keepPlace(listens, fails)))
    })
    const [addresses = { url: '', s3Url: null }] = await Promise.all(firstOnes)
    this.#hasStarted = true
    return addresses
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const worker of this.#running) worker.stop()
    const limitMs = closingLimitMs(this.#options.config)
    const limit = setTimeout(() => {
      this.#options.logger.error({ limitMs }, 'workers did not end in time, and are killed')
      this.#kill()
    }, limitMs)
    await Promise.all(this.#places)
    clearTimeout(limit)
    process.off('exit', this.#kill)
  }

  /** Sees to it that there is a worker, until the pool is closed. Tells whether the first one listens. */
  async #keepPlace(
    listens: (at: Addresses) => void,
    fails: (error: WorkerStartError) => void,
  ): Promise<void> {
    const { logger, assignment, metrics, answers } = this.#options
    const { signal } = this.#closing
    let waitMs = 0
    while (!signal.aborted) {
      const worker = new WorkerProcess(assignment, this.#bus, answers)
      this.#running.add(worker)
      const addresses = await worker.addresses
      const servesSince = performance.now() // its start may take as long on a busy machine
      if (addresses) {
        logger.info({ worker: worker.pid }, 'a worker listens')
        metrics.add(worker)
        listens(addresses)
      }
      const end = await worker.ended
      this.#running.delete(worker)
      this.#bus.forget(worker)
      await metrics.remove(worker)
      if (signal.aborted) return
      if (!this.#hasStarted && !wasInterrupted(end)) return fails(new WorkerStartError(whyNotStarted(end)))
      if (addresses && performance.now() - servesSince > STEADY_MS) waitMs = 0
      logger.error({ worker: worker.pid, ...end, waitMs }, 'a worker has ended; another one takes its place')
      await delay(waitMs, undefined, { signal }).catch(() => {})
      waitMs = Math.min(Math.max(SHORTEST_WAIT_MS, 2 * waitMs), LONGEST_WAIT_MS)
    }
  }

  readonly #kill = (): void => {
    for (const worker of this.#running) worker.kill()
  }
}

/** Ctrl-C reaches a worker, too, which may be too young to leave it to the primary. */
function wasInterrupted({ signal }: WorkerEnd): boolean {
  return signal === 'SIGINT' || signal === 'SIGTERM'
}

function whyNotStarted({ reason, code, signal }: WorkerEnd): string {
  const how = signal === null ? `with exit code ${code}` : `by ${signal}`
  return reason ?? `strongroom: a worker ended ${how} before it could serve`
}
