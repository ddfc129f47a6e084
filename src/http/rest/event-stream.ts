import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { Claimant, StorageEvent } from '../../database/queries/events.ts'
import { EVENTS_LOST, eventJson } from '../../events/event.ts'
import { type EventFilter, matches } from '../../events/event-filter.ts'
import type { Outbox } from '../../events/outbox.ts'
import type { Gap, Subscriber } from '../../events/subscribers/batch.ts'
import type { Subscriptions } from '../../events/subscribers/subscriptions.ts'
import { atExpiry, tokenExpiry } from '../../events/subscribers/token-expiry.ts'
import { StorageError } from '../../model/errors.ts'
import type { Listeners } from '../connection/listeners.ts'
import type { Backlog } from '../connection/unread.ts'

export interface EventStreamOptions {
  outbox: Outbox
  subscriptions: Subscriptions
  listeners: Listeners
  logger: Logger
  /** When nothing happens for so long, something is sent all the same, so that the line stays open. In milliseconds. */
  keepAliveMs: number
}

/** Who has left more unread when there is news is dropped; it comes back and reads on at its own pace. In bytes. */
const MAX_UNREAD = 1024 * 1024

/** Events of a replay that are read at once. */
const PAGE = 200

/** After this time readers come back. In milliseconds. */
const RETRY_MS = 2000

/** One reader's stream of events (WHATWG HTML §9.2), as long as it is open. */
export class EventStream implements Subscriber {
  readonly #outgoing: ServerResponse
  readonly #claimant: Claimant
  readonly #filter: EventFilter
  readonly #options: EventStreamOptions
  readonly #expiresAt: number
  readonly #backlog: Backlog
  /** The reader has all up to here that it may hear, and knows so. */
  #position = 0
  /** It has caught up, and hears what the others hear. */
  #isLive = false

  constructor(
    outgoing: ServerResponse,
    claimant: Claimant,
    filter: EventFilter,
    options: EventStreamOptions,
  ) {
    this.#outgoing = outgoing
    this.#claimant = claimant
    this.#filter = filter
    this.#options = options
    this.#expiresAt = tokenExpiry(claimant)
    this.#backlog = options.listeners.unread.open((reason) => this.#cutOff(reason))
  }

  get claimant(): Claimant | null {
    return Date.now() < this.#expiresAt ? this.#claimant : null
  }

  wants(event: StorageEvent): boolean {
    return matches(this.#filter, event)
  }

  deliver(events: StorageEvent[]): void {
    this.#dropIfSlow()
    this.#send(events)
  }

  miss(gap: Gap): void {
    this.#dropIfSlow()
    this.#sendGap(gap)
  }

  /**
   * Answers, and goes on by itself until the reader leaves, its token expires or the server stops.
   *
   * @param after the last event that the reader has had; null begins with what is committed from now on
   * @param share as `shareOf`
   * @throws DatabaseUnavailable, TooManySubscribers, TooManyOfOneCaller, InvalidRequest; then nothing was sent
   */
  async open(after: number | null, share: string | null): Promise<void> {
    const { outbox, subscriptions, listeners, keepAliveMs } = this.#options
    const newest = await outbox.settled()
    const oldest = after === null ? newest : await outbox.oldest()
    if (this.#outgoing.destroyed) return // the reader left in the meantime, and nothing would say so again
    // Such a response never hears that its connection has gone.
    if (this.#outgoing.socket === null) {
      const message = 'A stream of events cannot wait for other answers on its connection'
      throw new StorageError('InvalidRequest', { message })
    }
    this.#outgoing.once('close', listeners.enter(share))
    this.#position = Math.min(after ?? newest, newest)
    this.#outgoing.writeHead(200, EVENT_STREAM_HEADERS)
    // With the position, so that a reader who loses the line before the first event misses none.
    this.#write(Buffer.from(`retry: ${RETRY_MS}\nid: ${this.#position}\n\n`))
    if (after !== null && (after > newest || after + 1 < oldest)) {
      // Trimmed by now, or of another database: what is missing has to be looked up by other means.
      this.#sendGap({ after, oldest })
    }
    const closed = new AbortController()
    this.#outgoing.once('close', () => closed.abort())
    const { signal } = closed
    const end = () => this.#outgoing.end()
    const keepAlive = setInterval(() => this.#keepAlive(), keepAliveMs).unref()
    const takeBack = atExpiry(this.#expiresAt, end)
    subscriptions.stopping.addEventListener('abort', end, { signal })
    signal.addEventListener('abort', () => {
      clearInterval(keepAlive)
      takeBack()
      this.#backlog.close()
    })
    this.#follow(signal).catch((error: unknown) => {
      if (signal.aborted) return
      this.#options.logger.warn({ err: error }, 'a stream of events was cut off; its reader will come back')
      this.#outgoing.destroy()
    })
  }

  /** Reads up to where the others are, and goes on with them. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { subscriptions } = this.#options
    while (!signal.aborted && !this.#outgoing.writableEnded) {
      const leave = subscriptions.addAfter(this.#position, this)
      if (leave) {
        signal.addEventListener('abort', leave)
        this.#isLive = true
        return
      }
      const { heard, gap, position } = await subscriptions.replay(this, {
        after: this.#position,
        limit: PAGE,
        signal,
      })
      if (signal.aborted) return
      this.#send(heard)
      if (gap) this.#sendGap(gap)
      this.#position = position
      if (this.#outgoing.writableNeedDrain) await once(this.#outgoing, 'drain', { signal })
    }
  }

  #send(events: StorageEvent[]): void {
    const last = events.at(-1)
    if (last === undefined || this.#outgoing.writableEnded) return
    this.#write(listBytes(events))
    this.#position = last.position
  }

  /** Without a position of its own: who comes back at once may have better luck. */
  #sendGap(gap: Gap): void {
    if (this.#outgoing.writableEnded) return
    this.#write(gapBytes(gap))
  }

  /** Before there is more for it: how much comes at once says nothing about its reader. */
  #dropIfSlow(): void {
    if (this.#outgoing.writableLength > MAX_UNREAD) this.#cutOff('too slow a reader')
  }

  /** Tells how far everything is known, so that a reader who comes back after a quiet time need not go far back. */
  #keepAlive(): void {
    if (this.#outgoing.writableEnded) return // its last bytes wait for a slow reader
    const handedOut = this.#options.subscriptions.handedOutTo(this)
    const isLater = this.#isLive && handedOut > this.#position
    if (isLater) this.#position = handedOut
    this.#write(isLater ? Buffer.from(`id: ${handedOut}\n\n`) : NOTHING)
  }

  #write(bytes: Buffer): void {
    if (this.#outgoing.destroyed) return
    this.#backlog.add(bytes)
    this.#outgoing.write(bytes, this.#backlog.read)
  }

  #cutOff(reason: string): void {
    this.#options.logger.info({ reason }, 'a stream of events was cut off; its reader will come back')
    this.#outgoing.destroy()
  }
}

export const EVENT_STREAM_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-store',
  'X-Accel-Buffering': 'no', // nginx would keep events back
}

/** A comment. */
const NOTHING = Buffer.from(':\n\n')

/** Of what is being handed out: all readers get the same. */
const bytesOf = new WeakMap<StorageEvent | Gap, Buffer>()

/** The list that was made last of those that begin with an event. */
const lists = new WeakMap<StorageEvent, { events: StorageEvent[]; bytes: Buffer }>()

/** One write costs a reader far less than one for each event, and most readers get the same list. */
function listBytes(events: StorageEvent[]): Buffer {
  const [first] = events
  if (first === undefined) return Buffer.alloc(0)
  const last = lists.get(first)
  const isSame =
    last?.events.length === events.length && last.events.every((event, index) => event === events[index])
  if (isSame) return last.bytes
  const bytes = events.length === 1 ? eventBytes(first) : Buffer.concat(events.map(eventBytes))
  lists.set(first, { events, bytes })
  return bytes
}

function eventBytes(event: StorageEvent): Buffer {
  return sharedBytes(event, () => {
    const data = JSON.stringify(eventJson(event))
    return `id: ${event.position}\nevent: ${event.type}\ndata: ${data}\n\n`
  })
}

function gapBytes(gap: Gap): Buffer {
  return sharedBytes(gap, () => `event: ${EVENTS_LOST}\ndata: ${JSON.stringify(gap)}\n\n`)
}

function sharedBytes(of: StorageEvent | Gap, text: () => string): Buffer {
  let bytes = bytesOf.get(of)
  if (bytes === undefined) {
    bytes = Buffer.from(text())
    bytesOf.set(of, bytes)
  }
  return bytes
}
