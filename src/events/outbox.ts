import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../database/connection/client.ts'
import { oldestPosition, orderEvents, readEvents, type StorageEvent } from '../database/queries/events.ts'
import type { ServingSession } from '../database/queries/serving-session.ts'
import { type SinkTurn, tryTurnOfSink } from '../database/queries/sink-turns.ts'
import { StorageError } from '../model/errors.ts'

export interface OutboxOptions {
  database: Database
  /** Where it hears of other servers' events, and has its turns with sinks. */
  session: ServingSession
  logger: Logger
}

/** What others wrote, such as plain SQL, is found within this time. In milliseconds. */
const POLL_MS = 1000

/** At least so long from one ordering to the next: what is committed in between shares one. In milliseconds. */
const PACE_MS = 20

/**
 * `storage.events` as this server follows it (design §9, decision 0017). Events get their places in order here, after
 * their commit: at once when this server has made it, when another server says so, and within a second otherwise.
 */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #stopping = new AbortController()
  readonly #listeners = new Set<() => void>()
  #newest = 0
  #alarm = new Alarm()
  #settling: Settling[] = []
  #running: Promise<void> | undefined
  #isFailing = false

  constructor(options: OutboxOptions) {
    this.#options = options
    options.session.onPosition((newest) => this.#hear(newest))
  }

  start(): void {
    this.#running = this.#run()
  }

  /** To be called after a commit that has changed objects or buckets. Costs nothing by itself. */
  readonly wake = (): void => this.#alarm.ring()

  /** The newest position that is known here. */
  get newest(): number {
    return this.#newest
  }

  /**
   * The newest position, of a moment after the call: all that was committed before has its place at or below it.
   *
   * @throws DatabaseUnavailable
   */
  settled(): Promise<number> {
    const { signal } = this.#stopping
    if (signal.aborted) return Promise.reject(signal.reason)
    return new Promise((resolve, reject) => {
      this.#settling.push({ resolve, reject })
      this.wake()
    })
  }

  /** Calls `listener` whenever there are new events. Returns what ends that. One that fails keeps no other from it. */
  onNews(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves once there are events after `position`. @throws the signal's reason */
  async beyond(position: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#newest > position) return
    await new Promise<void>((resolve, reject) => {
      const end = this.onNews(() => {
        if (this.#newest <= position) return
        stop()
        resolve()
      })
      const abort = () => {
        stop()
        reject(signal.reason)
      }
      const stop = () => {
        end()
        signal.removeEventListener('abort', abort)
      }
      signal.addEventListener('abort', abort)
    })
  }

  /** The events after `position`, at most `limit`, in order. @throws DatabaseUnavailable */
  read(position: number, limit: number): Promise<StorageEvent[]> {
    return readEvents(this.#options.database, position, limit)
  }

  /** The first position whose event is still kept, or the next one to come. @throws DatabaseUnavailable */
  oldest(): Promise<number> {
    return oldestPosition(this.#options.database)
  }

  /** A turn as the one server that works for a sink, or null when another has it. @throws DatabaseUnavailable */
  tryTurn(sink: string): Promise<SinkTurn | null> {
    return tryTurnOfSink(this.#options.session, sink)
  }

  async close(): Promise<void> {
    this.#stopping.abort(new StorageError('ShuttingDown'))
    this.#alarm.ring()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    const { session, database } = this.#options
    let deafness: unknown = null // why nobody can be heard, who tells of new events
    while (!signal.aborted) {
      const settling = this.#settling
      this.#settling = []
      const pace = delay(PACE_MS, undefined, { ref: false })
      // Only makes it faster, so it is not waited for.
      void session.get().then(
        () => {
          deafness = null
        },
        (error: unknown) => {
          deafness = error
        },
      )
      try {
        this.#advance(await orderEvents(database))
        for (const { resolve } of settling) resolve(this.#newest)
        this.#noteState(deafness)
      } catch (error) {
        for (const { reject } of settling) reject(error)
        this.#noteState(error)
      }
      await pace
      if (this.#settling.length === 0) await this.#alarm.wait(POLL_MS)
    }
    for (const { reject } of this.#settling) reject(signal.reason)
  }

  /** Another server says so, or who has learned to speak as one: that is only a reason to look. */
  #hear(newest: number): void {
    if (newest > this.#newest) this.wake()
  }

  #advance(newest: number): void {
    if (newest <= this.#newest) return
    this.#newest = newest
    for (const listener of this.#listeners) {
      try {
        listener()
      } catch (error) {
        this.#options.logger.error({ err: error }, 'news of events did not reach all that wait for them')
      }
    }
  }

  /** One line when it begins to fail and one when it works again. */
  #noteState(error: unknown): void {
    const { logger } = this.#options
    if (error !== null && !this.#isFailing) logger.warn({ err: error }, 'events cannot be read; trying again')
    if (error === null && this.#isFailing) logger.info('events can be read again')
    this.#isFailing = error !== null
  }
}

interface Settling {
  resolve(newest: number): void
  reject(error: unknown): void
}

/** Wakes who waits, or who will wait next. */
class Alarm {
  #isRung = false
  #wakeUp: (() => void) | undefined

  ring(): void {
    this.#isRung = true
    this.#wakeUp?.()
  }

  /** @param ms the longest time to wait */
  async wait(ms: number): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms).unref()
        this.#wakeUp = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#wakeUp = undefined
    }
    this.#isRung = false
  }
}
