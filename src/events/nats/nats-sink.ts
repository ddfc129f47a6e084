import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { NatsSettings } from '../../config/nats.ts'
import type { Database } from '../../database/connection/client.ts'
import { advanceSink, enrolSink, type StorageEvent, sinkPosition } from '../../database/queries/events.ts'
import type { DeliveryCounts } from '../delivery-counts.ts'
import { eventJson, messageId, placesOf } from '../event.ts'
import type { Outbox } from '../outbox.ts'
import type { Sink } from '../sink.ts'
import { NatsConnection, type NatsMessage } from './nats-connection.ts'

export interface NatsSinkOptions {
  settings: NatsSettings
  database: Database
  outbox: Outbox
  logger: Logger
  counts: DeliveryCounts
}

/** Events that are read at once. */
const PAGE = 100

/** From a failure to the next try, in milliseconds. */
const RETRY_MS = 1000

/**
 * Publishes every event to NATS: `storage.object.created` and so on, with the event as JSON. A message's id is the
 * event's position, so a stream drops what it has had already, as long as its `duplicate_window` is.
 */
export class NatsSink implements Sink {
  readonly name = 'nats'
  readonly #options: NatsSinkOptions
  #isFailing = false

  private constructor(options: NatsSinkOptions) {
    this.#options = options
  }

  /**
   * With its place, so that it gets what happens from now on, whenever NATS can be reached.
   *
   * @throws DatabaseUnavailable
   */
  static async open(options: NatsSinkOptions): Promise<NatsSink> {
    const sink = new NatsSink(options)
    await enrolSink(options.database, sink.name)
    return sink
  }

  /** @throws DatabaseUnavailable */
  async work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const failure = await this.#feed(signal)
      if (signal.aborted) return
      this.#noteState(failure)
      await delay(RETRY_MS, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  /** Sends what there is and what comes, until the signal, or until NATS fails. Returns how it has failed. */
  async #feed(signal: AbortSignal): Promise<unknown> {
    let connection: NatsConnection
    try {
      connection = await NatsConnection.open(this.#options.settings, signal)
    } catch (error) {
      return error
    }
    try {
      let position = await this.#position()
      const either = AbortSignal.any([signal, connection.lost])
      while (!either.aborted) {
        const { outbox } = this.#options
        if (outbox.newest <= position) {
          this.#noteState(null)
          await outbox.beyond(position, either).catch(() => {})
          continue
        }
        const sent = await this.#sendPage(connection, position)
        position = await this.#advance(position, sent.reached)
        if (sent.failure !== undefined) return sent.failure
        this.#noteState(null)
      }
      return connection.lost.reason
    } finally {
      await connection.close()
    }
  }

  /**
   * Sends one page of the events after a position.
   *
   * @returns up to where NATS has them, and why it has no more of them
   */
  async #sendPage(
    connection: NatsConnection,
    after: number,
  ): Promise<{ reached: number; failure?: unknown }> {
    const { outbox, logger, counts } = this.#options
    const { newest } = outbox
    const events = await outbox.read(after, PAGE)
    const lost = (events[0]?.position ?? newest + 1) - after - 1
    if (lost > 0) logger.warn({ lost, after }, 'events were trimmed before NATS had them')
    let reached = after
    for (const run of runs(events.filter((event) => this.#fits(connection, event)))) {
      const { arrived, failure } = await connection.send(run.map((event) => this.#message(event)))
      reached = run[arrived - 1]?.position ?? reached
      counts.delivered += arrived
      counts.failed += run.length - arrived
      if (failure !== undefined) return { reached, failure }
    }
    return { reached: events.at(-1)?.position ?? newest }
  }

  /** One that is too large would keep all others back for ever. Plain SQL can make such. */
  #fits(connection: NatsConnection, event: StorageEvent): boolean {
    const message = this.#message(event)
    if (connection.takes(message)) return true
    const { id, subject } = message
    this.#options.logger.error({ id, subject }, 'an event is larger than NATS takes, and is left out')
    return false
  }

  #message(event: StorageEvent): NatsMessage {
    const { prefix } = this.#options.settings
    return {
      subject: event.type.replace(/^storage/, prefix),
      id: messageId(event),
      traceparent: event.traceparent,
      body: JSON.stringify(eventJson(event)),
    }
  }

  /** Where this sink is. */
  async #position(): Promise<number> {
    const { database, outbox } = this.#options
    return sinkPosition(database, this.name, await outbox.settled())
  }

  /** Keeps how far it has got. Returns where it is, which is elsewhere when somebody else has moved it. */
  async #advance(from: number, to: number): Promise<number> {
    if (from === to || (await advanceSink(this.#options.database, this.name, from, to))) return to
    return this.#position()
  }

  /** One line when NATS goes away, and one when it is back. */
  #noteState(failure: unknown): void {
    const { logger, settings } = this.#options
    const about = { sink: this.name, servers: settings.servers }
    if (failure !== null && !this.#isFailing) {
      logger.warn({ ...about, err: failure }, 'NATS takes no events; trying again')
    }
    if (failure === null && this.#isFailing) logger.info(about, 'NATS takes events again')
    this.#isFailing = failure !== null
  }
}

/**
 * Cuts events into runs in which each object is only once, and a bucket's event is alone. What is sent together may
 * arrive in parts, the later ones first when NATS has trouble; so the next run waits until the one before has arrived.
 */
function runs(events: StorageEvent[]): StorageEvent[][] {
  const found: StorageEvent[][] = []
  let places = new Set<string>()
  for (const event of events) {
    const own = placesOf(event)
    const run = found.at(-1)
    const isOfBucket = event.path === null || run?.[0]?.path === null
    if (run && !isOfBucket && !own.some((place) => places.has(place))) {
      run.push(event)
    } else {
      found.push([event])
      places = new Set()
    }
    for (const place of own) places.add(place)
  }
  return found
}
