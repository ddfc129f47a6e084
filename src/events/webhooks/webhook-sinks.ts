import { setTimeout as delay } from 'node:timers/promises'
import { asService } from '../../database/as-caller.ts'
import { listWebhooks, type WebhookRow } from '../../database/queries/webhooks.ts'
import { type RunningSink, runSink } from '../sink.ts'
import { HostLookup } from './host-lookup.ts'
import type { WebhookDeliveryOptions } from './webhook-delivery.ts'
import { webhookSink } from './webhook-sink.ts'

/** What others have changed is noticed within this time. In milliseconds. */
const POLL_MS = 1000

interface Running {
  revision: string
  sink: RunningSink
  isEnding: boolean
}

/** Keeps a sink running for each row of `storage.webhooks`, as it stands. */
export class WebhookSinks {
  readonly #options: WebhookDeliveryOptions
  readonly #stopping = new AbortController()
  readonly #running = new Map<string, Running>()
  #polling: Promise<void> | undefined
  #looking = Promise.resolve()
  #isFailing = false

  constructor(options: Omit<WebhookDeliveryOptions, 'hosts'>) {
    this.#options = { ...options, hosts: new HostLookup() }
  }

  start(): void {
    this.#polling = this.#poll()
  }

  /** Looks for changes at once. Costs a query. */
  readonly refresh = (): Promise<void> => {
    // One look at a time: an older answer must not undo a newer one.
    this.#looking = this.#looking.then(() => this.#look())
    return this.#looking
  }

  /** Resolves once what is under way has been delivered, or has failed. */
  async close(): Promise<void> {
    this.#stopping.abort() // no other one is begun
    await Promise.all([...this.#running.values()].map(({ sink }) => sink.stop()))
    await this.#polling
    await this.#looking
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await this.refresh()
      await delay(POLL_MS, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async #look(): Promise<void> {
    const { database, logger } = this.#options
    try {
      const rows = await asService(database, listWebhooks)
      this.#isFailing = false
      if (!this.#stopping.signal.aborted) this.#adjust(rows)
    } catch (error) {
      if (!this.#isFailing) logger.warn({ err: error }, 'webhooks cannot be read; trying again')
      this.#isFailing = true
    }
  }

  #adjust(rows: WebhookRow[]): void {
    const revisions = new Map(rows.map(({ id, revision }) => [id, revision]))
    for (const [id, running] of this.#running) {
      if (running.revision !== revisions.get(id) && !running.isEnding) void this.#end(id, running)
    }
    for (const row of rows) {
      if (this.#running.has(row.id)) continue
      const sink = runSink(this.#options, webhookSink(row, this.#options))
      this.#running.set(row.id, { revision: row.revision, sink, isEnding: false })
    }
  }

  /** A changed one begins anew only when it has ended: a session can have the same turn twice. */
  async #end(id: string, running: Running): Promise<void> {
    running.isEnding = true
    await running.sink.stop()
    this.#running.delete(id)
    await this.refresh()
  }
}
