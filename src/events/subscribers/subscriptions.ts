import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import type { StorageEvent } from '../../database/queries/events.ts'
import { forEachConcurrent, limitConcurrency } from '../../lib/concurrency.ts'
import { formsOf } from '../event.ts'
import type { Outbox } from '../outbox.ts'
import { Batch, type Gap, type Group, type Member, type Subscriber } from './batch.ts'
import { visibleEvents } from './visible-events.ts'

export interface SubscriptionsOptions {
  database: Database
  outbox: Outbox
  logger: Logger
}

/** Events of one round. */
const BATCH = 500

/** Questions to the database at once: uploads need it too. */
const CONCURRENT_QUESTIONS = 2

/** Pages of replays at once, beside those: after a restart all listeners come back together. */
const CONCURRENT_REPLAYS = 2

/** A batch waits so long for what the policies say of each group of listeners. In milliseconds. */
const PATIENCE_MS = 1000

/** Groups that go on by themselves since they were too slow; with more, all wait for them. */
const MAX_BEHIND = 2

/** Of a subscriber who is behind: after all positions, so that nothing is handed to him beside what he catches up with. */
const BEHIND = Number.POSITIVE_INFINITY

/**
 * A rest takes so many times as long as the deliveries before it: the fewer and larger they are, the less they cost. With
 * 3, uploads beside a thousand listeners were measured at 0.58 of those without, with 9 at 0.80.
 */
const REST_PER_WORK = 9

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
  #behind = 0
  #isRunning = false
  readonly #replays = limitConcurrency(CONCURRENT_REPLAYS)

  constructor(options: SubscriptionsOptions) {
    this.#options = options
    setMaxListeners(0, this.stopping)
    options.outbox.onNews(() => this.#start())
  }

  /** How many subscribers there are. */
  get size(): number {
    return this.#subscribers.size
  }

  /** Aborted when the server stops. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** A subscriber has had all up to this position that he may hear, and may have had more. */
  handedOutTo(subscriber: Subscriber): number {
    return this.#subscribers.get(subscriber) === BEHIND ? 0 : this.#handedOut
  }

  /**
   * Adds a subscriber, who hears what is committed from now on.
   *
   * @returns what ends it
   * @throws DatabaseUnavailable
   */
  async add(subscriber: Subscriber): Promise<() => void> {
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
   * how far they go. The gap is null unless some may be missing from it. Waits for its turn.
   *
   * @param limit how many events are looked at
   * @throws as `visibleEvents`; the signal's reason
   */
  replay(
    subscriber: Subscriber,
    { after, limit, signal }: { after: number; limit: number; signal: AbortSignal },
  ): Promise<{ heard: StorageEvent[]; gap: Gap | null; position: number }> {
    const { outbox } = this.#options
    return this.#replays(async () => {
      signal.throwIfAborted()
      const { newest } = outbox
      const page = await outbox.read(after, limit)
      const position = page.at(-1)?.position ?? newest // without one, all was trimmed
      const { claimant } = subscriber
      if (claimant === null) return { heard: [], gap: null, position }
      const asked = page.filter((event) => formsOf(event).some((form) => subscriber.wants(form)))
      const { visible, unasked } = await visibleEvents(this.#options, claimant, asked)
      const isForgotten = (page[0]?.position ?? position + 1) > after + 1
      const gap = isForgotten || unasked.length > 0 ? { after, oldest: position + 1 } : null
      return { heard: visible.filter((event) => subscriber.wants(event)), gap, position }
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
      const workedMs = await this.#handOut()
      await delay(REST_PER_WORK * workedMs, undefined, { ref: false })
    }
    this.#isRunning = false
  }

  /** Hands out one batch. Returns how long this server itself was busy with it, in milliseconds. */
  async #handOut(): Promise<number> {
    const page = await this.#read(this.#position)
    if (!page) return 0
    const { batch, position } = page
    // Whoever joins from here on does so behind this batch.
    this.#position = position
    await this.#hand(batch, this.#members(), async (group, handing) => {
      // Nobody waits long for others, whose policies may be slow.
      if (this.#behind >= MAX_BEHIND || !(await isLate(handing, PATIENCE_MS))) return handing
      void this.#catchUp(group.members, { position, batch, handing })
      return []
    })
    this.#handedOut = position
    return batch.workedMs
  }

  /** Goes on with a group that was too slow for a batch, until it has what the others have. */
  async #catchUp(members: Member[], begun: { position: number; batch: Batch; handing: Promise<Member[]> }) {
    const { logger } = this.#options
    logger.warn({ listeners: members.length }, 'policies are slow for some listeners; their events come late')
    this.#behind++
    for (const { subscriber } of members) this.#put(subscriber, BEHIND)
    let { position } = begun
    await this.#hand(begun.batch, await begun.handing)
    while (position < this.#position) {
      const page = await this.#read(position)
      if (!page) return
      await this.#hand(page.batch, members)
      position = page.position
    }
    this.#behind--
    for (const { subscriber, after } of members) this.#put(subscriber, Math.max(after, position))
  }

  /**
   * Asks for each group of these members what of a batch it may hear, and gives it that. Never fails: who cannot be
   * given his events is told that he has missed some.
   *
   * @param wait for a group, and says who is to be asked for again
   */
  async #hand(
    batch: Batch,
    members: Member[],
    wait: (group: Group, handing: Promise<Member[]>) => Promise<Member[]> = (_group, handing) => handing,
  ): Promise<void> {
    try {
      for (let rest = members; rest.length > 0; ) {
        const changed: Member[] = []
        await forEachConcurrent(CONCURRENT_QUESTIONS, await batch.groups(rest), async (group) => {
          changed.push(...(await wait(group, this.#handTo(batch, group))))
        })
        rest = changed
      }
    } catch (error) {
      await batch.miss(members, error) // of nobody in particular: it may concern all
    }
    const { count, first } = batch.takeFailures()
    if (count > 0) this.#options.logger.error({ err: first, count }, 'events could not be handed out to all')
  }

  /** Returns who is to be asked for again. */
  async #handTo(batch: Batch, group: Group): Promise<Member[]> {
    try {
      const answer = await this.#whenAnswered(() =>
        visibleEvents(this.#options, group.claimant, group.wanted),
      )
      return answer ? await batch.deliver(group, answer) : []
    } catch (error) {
      await batch.miss(group.members, error)
      return []
    }
  }

  /** The events after a position, and how far they go: all was trimmed where there are none. Null once the server stops. */
  async #read(after: number): Promise<{ batch: Batch; position: number } | null> {
    const { outbox } = this.#options
    const { newest } = outbox
    const events = await this.#whenAnswered(() => outbox.read(after, BATCH))
    if (!events) return null
    const position = events.at(-1)?.position ?? newest
    const gap = { after, oldest: position + 1 }
    return { batch: new Batch(events, gap, (subscriber) => this.#subscribers.has(subscriber)), position }
  }

  #members(): Member[] {
    return [...this.#subscribers].map(([subscriber, after]) => ({ subscriber, after }))
  }

  /** Changes the position after which a subscriber hears events, if he is still there. */
  #put(subscriber: Subscriber, after: number): void {
    if (this.#subscribers.has(subscriber)) this.#subscribers.set(subscriber, after)
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

/** Whether a promise has not come to an end within this time. @throws what it throws until then */
async function isLate(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<true>((resolve) => {
    timer = setTimeout(resolve, ms, true).unref()
  })
  return Promise.race([promise.then(() => false), late]).finally(() => clearTimeout(timer))
}
