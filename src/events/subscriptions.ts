import { setMaxListeners } from 'node:events'
import { setTimeout as delay, setImmediate as yieldToOthers } from 'node:timers/promises'
import type { Logger } from 'pino'
import { atMost } from '../at-most.ts'
import type { Database } from '../database/client.ts'
import type { Claimant, StorageEvent } from '../database/events.ts'
import { StorageError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'
import { formsOf } from './event.ts'
import type { Outbox } from './outbox.ts'
import { visibleEvents } from './visible-events.ts'

/** Somebody who hears events as long as he is connected. */
export interface Subscriber {
  /** Asked anew for every event, so a fresh token counts at once; null hears nothing. */
  readonly claimant: Claimant | null
  /** Whether this is one of the events asked for. Says nothing of rights. */
  wants(event: StorageEvent): boolean
  /** Gets what may be heard, in order. Must not fail and must not wait: who is too slow is to be dropped. */
  deliver(events: StorageEvent[]): void
}

export interface SubscriptionsOptions {
  database: Database
  outbox: Outbox
  logger: Logger
}

/** Each costs memory and a part of every event. */
const MAX_SUBSCRIBERS = 20_000

/** Events of one round. */
const BATCH = 500

/** Questions to the database at once: uploads need it too. */
const CONCURRENT_QUESTIONS = 2

/** Pages of replays at once, beside those: after a restart all listeners come back together. */
const CONCURRENT_REPLAYS = 2

/** After so long at a stretch others have their turn. In milliseconds. */
const SLICE_MS = 5

/** A rest takes so many times as long as the deliveries before it, so that a thousand listeners slow no upload much. */
const REST_PER_WORK = 3

/** After a failure. In milliseconds. */
const RETRY_MS = 1000

/**
 * Hands out events to the subscribers of this server: to each only what the policies let him read, asked under his
 * claims. Subscribers with equal claims are asked for together.
 */
export class Subscriptions {
  readonly #options: SubscriptionsOptions
  readonly #stopping = new AbortController()
  /** With the position after which each begins. */
  readonly #subscribers = new Map<Subscriber, number>()
  /** All up to here has been handed out, or is about to be. */
  #position = 0
  /** All up to here has been handed out. */
  #handedOut = 0
  #isRunning = false
  readonly #replays = atMost(CONCURRENT_REPLAYS)

  constructor(options: SubscriptionsOptions) {
    this.#options = options
    setMaxListeners(0, this.stopping)
    options.outbox.onNews(() => this.#start())
  }

  /** Aborted when the server stops. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Every subscriber has had all up to this position that he may hear. */
  get handedOut(): number {
    return this.#handedOut
  }

  /** @throws TooManySubscribers when no more can be added */
  admit(): void {
    if (this.#subscribers.size >= MAX_SUBSCRIBERS) throw new StorageError('TooManySubscribers')
  }

  /**
   * Adds a subscriber, who hears what is committed from now on.
   *
   * @returns what ends it
   * @throws DatabaseUnavailable, TooManySubscribers
   */
  async add(subscriber: Subscriber): Promise<() => void> {
    this.admit()
    const newest = await this.#options.outbox.settled()
    return this.addAfter(newest, subscriber) ?? this.#add(newest, subscriber)
  }

  /**
   * Adds a subscriber who has had all up to a position.
   *
   * @returns what ends it; null if more than that has been handed out by now, so that he must read on first
   */
  addAfter(position: number, subscriber: Subscriber): (() => void) | null {
    if (this.#subscribers.size === 0) this.#position = this.#options.outbox.newest
    return position < this.#position ? null : this.#add(position, subscriber)
  }

  #add(after: number, subscriber: Subscriber): () => void {
    this.#subscribers.set(subscriber, after)
    this.#start()
    return () => void this.#subscribers.delete(subscriber)
  }

  /**
   * A page of what was before: the events after a position that a subscriber hears, by his wishes and his rights, and
   * how far they go. Waits for its turn.
   *
   * @param limit how many events are looked at
   * @throws as `visibleEvents`; the signal's reason
   */
  replay(
    subscriber: Subscriber,
    { after, limit, signal }: { after: number; limit: number; signal: AbortSignal },
  ): Promise<{ heard: StorageEvent[]; position: number }> {
    const { outbox } = this.#options
    return this.#replays(async () => {
      signal.throwIfAborted()
      const { newest } = outbox
      const page = await outbox.read(after, limit)
      // Without one, all was trimmed.
      const position = page.at(-1)?.position ?? newest
      const { claimant } = subscriber
      if (claimant === null) return { heard: [], position }
      const asked = page.filter((event) => formsOf(event).some((form) => subscriber.wants(form)))
      const visible = await visibleEvents(this.#options, claimant, asked)
      return { heard: visible.filter((event) => subscriber.wants(event)), position }
    })
  }

  /** Ends the handing out. */
  close(): void {
    this.#stopping.abort()
    this.#subscribers.clear()
  }

  #start(): void {
    if (this.#isRunning || this.#subscribers.size === 0) return
    this.#isRunning = true
    void this.#run()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted && this.#subscribers.size > 0 && this.#position < this.#options.outbox.newest) {
      try {
        const workedMs = await this.#handOut()
        await delay(REST_PER_WORK * workedMs, undefined, { ref: false })
      } catch (error) {
        // A fault of ours with one subscriber must not end it for all.
        this.#options.logger.error({ err: error }, 'a batch of events was not handed out to all')
        await delay(RETRY_MS, undefined, { ref: false })
      }
    }
    this.#isRunning = false
  }

  /** Hands out one batch. Returns how long this server itself was busy with it, in milliseconds. */
  async #handOut(): Promise<number> {
    const { outbox } = this.#options
    const { newest } = outbox
    const events = await this.#whenAnswered(() => outbox.read(this.#position, BATCH))
    // Whoever joins from here on does so behind this batch. Without one, it was trimmed before it was read.
    this.#position = events?.at(-1)?.position ?? newest
    const work = new Work()
    let members = [...this.#subscribers].map(([subscriber, after]) => ({ subscriber, after }))
    while (members.length > 0) {
      const changed: Member[] = []
      const groups = await this.#groups(events ?? [], members, work)
      await inParallel(CONCURRENT_QUESTIONS, groups, async (group) => {
        const visible = await this.#whenAnswered(() =>
          visibleEvents(this.#options, group.claimant, [...group.wanted]),
        )
        await this.#deliver(group, visible ?? [], { changed, work })
      })
      // They are asked for again: what another may hear is not theirs.
      members = changed
    }
    this.#handedOut = this.#position
    return work.ms
  }

  /** Who wants something of this batch, by claims. */
  async #groups(events: StorageEvent[], members: Member[], work: Work): Promise<Group[]> {
    const groups = new Map<string, Group>()
    const candidates = events.map((event) => ({ event, forms: formsOf(event) }))
    for (const { subscriber, after } of members) {
      const { claimant } = subscriber
      if (claimant === null) continue
      const wanted = await work.slice(() =>
        candidates.filter(
          ({ event, forms }) => event.position > after && forms.some((form) => subscriber.wants(form)),
        ),
      )
      if (wanted.length === 0) continue
      const key = keyOf(claimant)
      const group = groups.get(key) ?? { key, claimant, members: [], wanted: new Set() }
      groups.set(key, group)
      group.members.push({ subscriber, after })
      for (const { event } of wanted) group.wanted.add(event)
    }
    // In the order of the batch, whoever came first.
    return [...groups.values()].map((group) => ({
      ...group,
      wanted: new Set(events.filter((event) => group.wanted.has(event))),
    }))
  }

  /** @param changed gets those whose claims are others since the question was asked */
  async #deliver(
    { key, claimant: asked, members }: Group,
    events: StorageEvent[],
    { changed, work }: { changed: Member[]; work: Work },
  ): Promise<void> {
    for (const member of members) {
      const { subscriber, after } = member
      await work.slice(() => {
        const { claimant } = subscriber
        // He may have left, or lost his token.
        if (!this.#subscribers.has(subscriber) || claimant === null) return
        if (claimant !== asked && keyOf(claimant) !== key) {
          changed.push(member)
          return
        }
        const wanted = events.filter((event) => event.position > after && subscriber.wants(event))
        if (wanted.length > 0) subscriber.deliver(wanted)
      })
    }
  }

  /** Asks until there is an answer; undefined once the server stops. One line in the log says that it waits. */
  async #whenAnswered<T>(ask: () => Promise<T>): Promise<T | undefined> {
    const { signal } = this.#stopping
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      try {
        return await ask()
      } catch (error) {
        if (signal.aborted) break
        if (isFirst) this.#options.logger.warn({ err: error }, 'events wait for the database')
        await delay(RETRY_MS, undefined, { signal, ref: false }).catch(() => {})
      }
    }
    return undefined
  }
}

interface Member {
  subscriber: Subscriber
  after: number
}

/** Work for many, with pauses in which others have their turn. */
class Work {
  /** How long it took so far, in milliseconds. */
  ms = 0
  #sinceMs = 0

  /** Does a part of it, which cannot be interrupted. */
  slice<T>(part: () => T): T | Promise<T> {
    const startedAt = performance.now()
    const result = part()
    const tookMs = performance.now() - startedAt
    this.ms += tookMs
    this.#sinceMs += tookMs
    if (this.#sinceMs < SLICE_MS) return result
    this.#sinceMs = 0
    return yieldToOthers(result)
  }
}

interface Group {
  key: string
  claimant: Claimant
  members: Member[]
  wanted: Set<StorageEvent>
}

/** Equal for those who may hear the same. */
function keyOf({ role, claims }: Claimant): string {
  return `${role} ${JSON.stringify(claims)}`
}
