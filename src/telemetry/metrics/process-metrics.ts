import type { Registry } from 'prom-client'
import { BackendTimes } from './backend-times.ts'
import type { Family } from './catalog.ts'
import { RequestCounts } from './request-counts.ts'

/** Says what a part of the server has counted, or how it is at this moment. */
export type Collector = () => Family[] | Promise<Family[]>

/** What of these is no sum, but not said to be anything else; and what prom-client leaves out. */
const ACROSS: Record<string, string> = {
  process_start_time_seconds: 'min',
  process_max_fds: 'min',
}

/**
 * All that this process measures. Counting is everybody's own, in plain numbers; here it is gathered when Prometheus asks.
 * What prom-client measures of the process itself it does from the first time on, so that a server that nobody asks costs
 * nothing for it.
 */
export class ProcessMetrics {
  readonly requests: RequestCounts
  readonly backends = new BackendTimes()
  readonly #collectors: Collector[] = []
  #ofProcess: Promise<Registry> | undefined

  /** @param backend where bytes are stored, as the settings name it */
  constructor(backend: string) {
    this.requests = new RequestCounts(backend)
    this.add(() => this.backends.families())
  }

  add(collector: Collector): void {
    this.#collectors.push(collector)
  }

  async read(): Promise<Family[]> {
    this.#ofProcess ??= measureProcess()
    const [registry, ...families] = await Promise.all([
      this.#ofProcess,
      ...this.#collectors.map((collect) => collect()),
    ])
    const ofProcess = (await registry.getMetricsAsJSON()) as unknown as Family[] // its types are words, not numbers
    return [
      ...families.flat(),
      ...ofProcess.map((one) => ({ ...one, aggregator: ACROSS[one.name] ?? one.aggregator })),
    ]
  }
}

async function measureProcess(): Promise<Registry> {
  const { collectDefaultMetrics, Registry } = await import('prom-client')
  const register = new Registry()
  collectDefaultMetrics({ register })
  return register
}
