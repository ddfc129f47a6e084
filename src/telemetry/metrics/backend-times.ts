import { type Family, family } from './catalog.ts'
import { Histogram } from './histogram.ts'

/** In seconds: from a file in memory to a store that hardly answers. */
const LATENCIES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** How long the places of bytes have taken, by place and operation. */
export class BackendTimes {
  readonly #times: { backend: string; operation: string; times: Histogram }[] = []

  /** Where what one operation of one place takes is to be noted. */
  of(backend: string, operation: string): Histogram {
    const times = new Histogram(LATENCIES)
    this.#times.push({ backend, operation, times })
    return times
  }

  families(): Family[] {
    const name = 'storage_backend_latency_seconds'
    const samples = this.#times.flatMap(({ backend, operation, times }) =>
      times.samples(name, { operation, backend }),
    )
    return [family(name, samples)]
  }
}
