import { promises as dns, type LookupAddress } from 'node:dns'
import { limitConcurrency } from '../../lib/concurrency.ts'

/** At once. Node's threads for lookups are few, and the same that read and write files. */
const LOOKUPS = 2

/** Finds the addresses of hosts, so that names that nobody answers for are in no upload's way. */
export class HostLookup {
  readonly #running = new Map<string, Promise<LookupAddress[]>>()
  readonly #inTurn = limitConcurrency(LOOKUPS)

  /** All addresses of a host, asked for once by those who ask at the same time. @throws as `dns.lookup` does */
  addresses(host: string): Promise<LookupAddress[]> {
    const running = this.#running.get(host) ?? this.#lookUp(host)
    this.#running.set(host, running)
    return running
  }

  #lookUp(host: string): Promise<LookupAddress[]> {
    return this.#inTurn(() => dns.lookup(host, { all: true })).finally(() => this.#running.delete(host))
  }
}
