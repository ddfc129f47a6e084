import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { forgetRates, settleRates } from '../../database/queries/rates.ts'
import { type Rate, REQUEST_KINDS, type RequestKind } from '../../model/rate.ts'
import { type Bucket, Meter, type Standing } from './meter.ts'

export interface SharedRatesOptions {
  /** None is no limit. */
  rates: Partial<Record<RequestKind, Rate | undefined>>
  database: Database
  logger: Logger
  /** How many clients are known at once. */
  mostClients?: number
}

/** Of all kinds together: about 20 MB. */
const MOST_CLIENTS = 100_000

/** The others hear of a request after so long at the most. In milliseconds. */
const SETTLE_MS = 250

/** With one statement. */
const CLIENTS_AT_ONCE = 1000

/** After a failure. In milliseconds. */
const RETRY_MS = 1000

/** Between two lines in the log about failures. In milliseconds. */
const WARNING_MS = 60_000

/** So often the empty buckets of all servers are taken away. In milliseconds. */
const FORGET_MS = 60_000

interface Untold extends Pick<Bucket, 'client' | 'untold' | 'untoldSince'> {
  kind: RequestKind
}

/**
 * Rate limits of clients that ask several servers (decision 0063). Each counts by itself, so that no request waits for the
 * database, and tells the others some times a second, by one statement, what it has let in. While the database is away each
 * goes on by itself.
 */
export class SharedRates {
  readonly #options: SharedRatesOptions
  readonly #meters: ReadonlyMap<RequestKind, Meter>
  #timer: NodeJS.Timeout | undefined
  #settling: Promise<void> = Promise.resolve()
  #isClosed = false
  #warnedAt = Number.NEGATIVE_INFINITY
  /** By chance a while ago, so that servers which start together do not all forget together. */
  #forgotAt = performance.now() - Math.random() * FORGET_MS

  constructor(options: SharedRatesOptions) {
    this.#options = options
    const { rates, mostClients = MOST_CLIENTS } = options
    const limited = REQUEST_KINDS.flatMap((kind) => {
      const rate = rates[kind]
      return rate ? [{ kind, rate }] : []
    })
    const each = Math.ceil(mostClients / limited.length)
    this.#meters = new Map(limited.map(({ kind, rate }) => [kind, new Meter(rate, each)]))
  }

  /** Counts a request, if it is let in. Null where there is no limit. @param now by `performance.now()` */
  take(kind: RequestKind, client: string, now: number): Standing | null {
    const meter = this.#meters.get(kind)
    if (!meter) return null
    const standing = meter.take(client, now)
    if (standing.waitMs === 0) this.#settleAfter(SETTLE_MS)
    return standing
  }

  /** Tells the others the last of it. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#settling
    await this.#settle()
  }

  #settleAfter(ms: number): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = setTimeout(() => {
      this.#settling = this.#settle().then((isDone) => {
        this.#timer = undefined
        const hasMore = [...this.#meters.values()].some(({ hasUntold }) => hasUntold)
        if (hasMore) this.#settleAfter(isDone ? SETTLE_MS : RETRY_MS)
      })
    }, ms).unref()
  }

  /** Never fails: what could not be told is told later. Returns whether it was. */
  async #settle(): Promise<boolean> {
    const { database, logger } = this.#options
    const told = this.#takeUntold()
    if (told.length === 0) return true
    try {
      const now = performance.now()
      const additions = told.map(({ kind, client, untold, untoldSince }) => ({
        kind,
        client,
        ageMs: now - untoldSince,
        additionMs: untold * this.#meterOf(kind).requestMs,
      }))
      const settled = await settleRates(database, additions)
      const heardAt = performance.now()
      for (const { kind, client, leftMs } of settled) {
        this.#meters.get(kind as RequestKind)?.settle(client, leftMs, heardAt)
      }
      await this.#forgetNowAndThen()
      return true
    } catch (err) {
      for (const one of told) this.#meterOf(one.kind).putBack(one)
      if (performance.now() - this.#warnedAt > WARNING_MS) {
        this.#warnedAt = performance.now()
        logger.warn({ err }, 'rate limits hold for each server by itself: the database does not add them up')
      }
      return false
    }
  }

  #takeUntold(): Untold[] {
    const each = Math.floor(CLIENTS_AT_ONCE / this.#meters.size)
    return [...this.#meters].flatMap(([kind, meter]) =>
      meter.takeUntold(each).map((untold) => ({ ...untold, kind })),
    )
  }

  async #forgetNowAndThen(): Promise<void> {
    if (performance.now() - this.#forgotAt < FORGET_MS) return
    this.#forgotAt = performance.now()
    await forgetRates(this.#options.database).catch((err: unknown) => {
      this.#options.logger.debug({ err }, 'the rates of clients who have gone were not forgotten')
    })
  }

  #meterOf(kind: RequestKind): Meter {
    return this.#meters.get(kind) as Meter // what is untold is of one
  }
}
