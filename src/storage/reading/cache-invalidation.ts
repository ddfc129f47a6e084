import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { stillPublic } from '../../database/queries/buckets.ts'
import { changedNames } from '../../database/queries/events.ts'
import type { Outbox } from '../../events/outbox.ts'
import type { RowCache } from './row-cache.ts'

/** From one look at what others have changed to the next, in milliseconds. Well below the second that is promised. */
const ROUND_MS = 300

/** Without a request for a public object for so long, there are no more looks. In milliseconds. */
const UNUSED_MS = 5000

/** Events that are read at once. */
const PAGE = 1000

/** So far behind, to begin anew costs less than to catch up. In events. */
const TOO_MANY = 20_000

/**
 * Drops from the cache of public objects what other servers, or plain SQL, have changed. It looks only while the cache
 * is in use; what is in there is not used until the next look has been made.
 */
export class CacheInvalidation {
  readonly #options: { database: Database; outbox: Outbox; rowCache: RowCache; logger: Logger }
  readonly #stopping = new AbortController()
  #position = Number.NEGATIVE_INFINITY
  #isFailing = false
  #running: Promise<void> | undefined

  constructor(options: { database: Database; outbox: Outbox; rowCache: RowCache; logger: Logger }) {
    this.#options = options
  }

  start(): void {
    this.#running = this.#run()
  }

  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { rowCache, logger } = this.#options
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await rowCache.asked(UNUSED_MS, signal).catch(() => {})
      if (signal.aborted) return
      const startedAt = performance.now()
      try {
        await this.#catchUp()
        rowCache.confirm(startedAt)
        this.#isFailing = false
      } catch (error) {
        if (!signal.aborted && !this.#isFailing) {
          logger.warn({ err: error }, 'changes of public objects cannot be followed; they are not cached')
          this.#isFailing = true
        }
      }
      await delay(ROUND_MS, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  /** @throws DatabaseUnavailable */
  async #catchUp(): Promise<void> {
    const { database, outbox, rowCache } = this.#options
    const { buckets, unversionedBuckets } = rowCache
    const [newest, open] = await Promise.all([
      outbox.settled(),
      stillPublic(database, buckets, unversionedBuckets),
    ])
    for (const bucket of buckets) if (!open.has(bucket)) rowCache.dropBucket(bucket)
    // Positions that count anew are those of another database, put in this one's place.
    if (newest - this.#position > TOO_MANY || newest < this.#position) {
      rowCache.clear()
      this.#position = newest
    }
    while (this.#position < newest) {
      const changes = await changedNames(database, this.#position, PAGE)
      if (changes[0]?.position !== this.#position + 1) {
        rowCache.clear() // what the retention has taken away nobody can name any more
        this.#position = newest
        return
      }
      for (const { bucket, path, oldBucket, oldPath } of changes) {
        if (bucket === null) continue
        if (path === null) rowCache.dropBucket(bucket)
        else rowCache.drop(bucket, path)
        if (oldBucket !== null && oldPath !== null) rowCache.drop(oldBucket, oldPath)
      }
      this.#position = changes.at(-1)?.position ?? newest
    }
  }
}
