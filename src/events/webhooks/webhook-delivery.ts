import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import type { StorageEvent } from '../../database/queries/events.ts'
import {
  pendingDeliveries,
  settleRound,
  type UnfinishedDelivery,
} from '../../database/queries/webhook-deliveries.ts'
import type { WebhookRow } from '../../database/queries/webhooks.ts'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'
import type { DeliveryCounts } from '../delivery-counts.ts'
import { type EventFilter, matches } from '../event-filter.ts'
import type { Outbox } from '../outbox.ts'
import { backOff } from './back-off.ts'
import { CircuitBreaker } from './circuit-breaker.ts'
import { messagesOf } from './formats.ts'
import type { HostLookup } from './host-lookup.ts'
import { inOrder } from './in-order.ts'
import type { WebhookMessage } from './message.ts'
import { type Candidate, Round } from './round.ts'
import { type Answer, WebhookSender } from './sender.ts'
import type { Origin } from './supabase-format.ts'

export interface WebhookDeliveryOptions {
  database: Database
  outbox: Outbox
  logger: Logger
  hosts: HostLookup
  /** For one request, in milliseconds. */
  timeoutMs: number
  /** How often an event is tried before it is a dead letter. */
  attempts: number
  /** The wait after the first failure, in milliseconds. */
  backOffMs: number
  origin: Origin
  counts: DeliveryCounts
  /** Undefined where nothing is traced. */
  tracing: Tracing | undefined
}

/** Events of one round: so many are sent again at most when a server dies. */
const ROUND = 100

/** Requests to one receiver at once. */
const CONCURRENCY = 8

/** With so many pending no more are taken from the outbox, which keeps them as well. */
const MOST_PENDING = 1000

/** It looks again after this time, whatever it waits for. In milliseconds. */
const LONGEST_REST_MS = 60_000

/**
 * Brings one webhook its events: at least once, and in order for each object.
 *
 * What fails is written down as pending, in one transaction with the position up to which all is delivered or written
 * down. Later events of its objects wait behind it; all others go on. After a crash only the last round is sent again.
 */
export class WebhookDelivery {
  readonly #webhook: WebhookRow
  readonly #options: WebhookDeliveryOptions
  readonly #filter: EventFilter
  readonly #sender: WebhookSender
  readonly #breaker: CircuitBreaker
  #position: number
  #hasPending = true
  /** Whether it may take more from the outbox. */
  #takesNew = true
  /** Whether there is something that may be sent as soon as the receiver may get it. */
  #isLeft = false
  /** Until something else is due, in milliseconds. */
  #nextMs = 0

  constructor(webhook: WebhookRow, position: number, options: WebhookDeliveryOptions) {
    const { timeoutMs, backOffMs, hosts } = options
    const { allowPrivate, events, bucket } = webhook
    this.#webhook = webhook
    this.#position = position
    this.#options = options
    this.#filter = { bucket: bucket ?? undefined, types: events.length > 0 ? new Set(events) : undefined }
    this.#sender = new WebhookSender({ hosts, timeoutMs, allowPrivate, connections: CONCURRENCY })
    this.#breaker = new CircuitBreaker(backOffMs)
  }

  /**
   * Until the signal, or until the webhook is gone or has gone on elsewhere. What is under way is waited for, since it
   * may have arrived. To be called once.
   *
   * @throws DatabaseUnavailable
   */
  async run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted && (await this.#round(signal))) await this.#rest(signal)
    } finally {
      await this.#sender.close()
    }
  }

  /** Returns false when there is nothing to go on with. */
  async #round(signal: AbortSignal): Promise<boolean> {
    const { database, outbox } = this.#options
    const { id } = this.#webhook
    const { room, isOpen: wasOpen } = this.#breaker

    // 1. What is pending, as far as it is due and not behind another.
    const pending = this.#hasPending ? await pendingDeliveries(database, id, MOST_PENDING) : []
    const round = new Round(ROUND, room)
    round.addPending(pending)

    // 2. What is new.
    this.#takesNew = pending.length < MOST_PENDING
    const { newest } = outbox
    const limit = this.#takesNew && room > 0 && newest > this.#position ? round.space : 0
    const events = limit > 0 ? await outbox.read(this.#position, limit) : []
    this.#tellGap(events)
    for (const event of events) if (this.#wants(event)) round.addNew(event)

    // 3. They are sent.
    const delivered: number[] = []
    const unfinished: UnfinishedDelivery[] = []
    const sent = await inOrder(CONCURRENCY, round.candidates, async (candidate) => {
      if (!this.#mayBegin(candidate, signal)) return 'left'
      const answer = await this.#send(candidate.event)
      this.#note(candidate, answer)
      if (answer.ok) {
        if (candidate.isPending) delivered.push(candidate.event.position)
        return 'done'
      }
      const failure = this.#failure(candidate, answer)
      unfinished.push(failure)
      // What comes after a dead letter goes on.
      return failure.state === 'dead' ? 'done' : 'failed'
    })

    // 4. What has come of it is written down. A page that is not full has all that there was.
    const last = events.at(-1)?.position ?? this.#position
    const isBack = wasOpen && !this.#breaker.isOpen
    const { position, waiting, isLeft } = round.outcome(
      sent,
      limit > events.length ? Math.max(last, newest) : last,
    )
    unfinished.push(...waiting.map(waitingDelivery))
    const from = this.#position
    const isChanged = position > from || delivered.length > 0 || unfinished.length > 0 || isBack
    const result = { from, to: position, delivered, unfinished, isBack }
    if (isChanged && !(await settleRound(database, this.#webhook, result))) return false
    this.#position = position
    this.#hasPending = pending.length > delivered.length || unfinished.length > 0
    this.#isLeft = isLeft || room === 0
    this.#nextMs = isBack ? 0 : Math.min(round.nextMs, ...nextAttempts(unfinished))
    return true
  }

  /** Until there is something to do again. */
  async #rest(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const { pauseMs, restMs, room } = this.#breaker
    const isStopped = this.#isLeft || pauseMs > 0 || room === 0
    const waitMs = Math.min(this.#nextMs, isStopped ? pauseMs || restMs : LONGEST_REST_MS, LONGEST_REST_MS)
    const awake = new AbortController()
    const wakeUp = () => awake.abort()
    const timer = setTimeout(wakeUp, Math.ceil(waitMs)).unref()
    signal.addEventListener('abort', wakeUp)
    const news = this.#takesNew && !isStopped ? this.#position : Number.POSITIVE_INFINITY
    await this.#options.outbox.beyond(news, awake.signal).catch(() => {})
    clearTimeout(timer)
    signal.removeEventListener('abort', wakeUp)
  }

  #wants(event: StorageEvent): boolean {
    // The other format has no word for what happens to buckets.
    return (this.#webhook.format === 'standard' || event.path !== null) && matches(this.#filter, event)
  }

  #mayBegin({ attempts }: Candidate, signal: AbortSignal): boolean {
    return !signal.aborted && this.#breaker.pauseMs === 0 && (attempts > 0 || this.#breaker.room > 0)
  }

  async #send(event: StorageEvent): Promise<Answer> {
    for (const message of messagesOf(this.#webhook, event, this.#options.origin, new Date())) {
      const answer = await this.#sendTraced(event, message)
      if (!answer.ok) return answer
    }
    return { ok: true }
  }

  /** Whoever gets it goes on with the trace of the event, or of this delivery in it. */
  async #sendTraced({ traceparent }: StorageEvent, message: WebhookMessage): Promise<Answer> {
    const { id, url } = this.#webhook
    const send = (traceparent: string | null) =>
      this.#sender.send(url, {
        ...message,
        headers: { ...message.headers, ...(traceparent !== null && { traceparent }) },
      })
    const { tracing } = this.#options
    if (!tracing) return send(traceparent)
    const { hostname, port } = new URL(url) // receivers have secrets in their paths
    const span = tracing.follow('POST', traceparent, {
      'http.request.method': 'POST',
      'server.address': hostname,
      'server.port': Number(port) || undefined,
      'strongroom.webhook': id,
    })
    const answer = await send(tracing.traceparentOf(span))
    tracing.delivered(span, answer.ok ? null : (answer.status ?? 'unanswered'))
    return answer
  }

  /** What the answer says of the receiver. */
  #note({ attempts }: Candidate, answer: Answer): void {
    const { logger, counts } = this.#options
    const wasOpen = this.#breaker.isOpen
    if (answer.ok) {
      counts.delivered++
      this.#breaker.succeeded()
    } else this.#breaker.failed({ isNew: attempts === 0, retryAfterMs: answer.retryAfterMs })
    const webhook = this.#webhook.id
    if (!wasOpen && this.#breaker.isOpen && !answer.ok) {
      logger.warn({ webhook, status: answer.status }, `a webhook takes nothing: it ${answer.sentence}`)
    }
    if (wasOpen && !this.#breaker.isOpen) logger.info({ webhook }, 'a webhook is back')
  }

  #failure(
    { event, places, attempts: before }: Candidate,
    answer: Answer & { ok: false },
  ): UnfinishedDelivery {
    const { attempts: most, backOffMs, logger, counts } = this.#options
    const { status, sentence, retryAfterMs } = answer
    const attempts = before + 1
    const isDead = attempts >= most
    counts[isDead ? 'dead' : 'failed']++
    if (isDead) {
      const about = { webhook: this.#webhook.id, event: event.position, status, attempts }
      logger.warn(about, `an event is a dead letter: its webhook ${sentence}`)
    }
    return {
      event,
      places,
      state: isDead ? 'dead' : 'pending',
      attempts,
      waitMs: Math.max(backOff(backOffMs, attempts), retryAfterMs),
      lastStatus: status,
      lastError: sentence,
    }
  }

  /** Positions have no gaps, so one says that the outbox was trimmed. */
  #tellGap([first]: StorageEvent[]): void {
    if (first === undefined || first.position === this.#position + 1) return
    const about = { webhook: this.#webhook.id, after: this.#position, before: first.position }
    this.#options.logger.error(about, 'events were trimmed before their webhook took them')
  }
}

function waitingDelivery({ event, places }: Candidate): UnfinishedDelivery {
  return { event, places, state: 'pending', attempts: 0, waitMs: 0, lastStatus: null, lastError: null }
}

function nextAttempts(unfinished: UnfinishedDelivery[]): number[] {
  return unfinished
    .filter(({ state, attempts }) => state === 'pending' && attempts > 0)
    .map(({ waitMs }) => waitMs)
}
