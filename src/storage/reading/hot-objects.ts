import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import type { Outbox } from '../../events/outbox.ts'
import type { Change, Invalidate } from '../object/changes.ts'
import { ByteCache } from './byte-cache.ts'
import { CacheInvalidation } from './cache-invalidation.ts'
import { RowCache } from './row-cache.ts'

/** Of the memory, the part for rows; the rest is for bytes. */
const ROWS_SHARE = 0.25

/** Other processes that may have in memory what this one changes. */
export interface Peers {
  /** Resolves once none of them answers with what was before. */
  invalidate(changes: Change[]): Promise<void>
  /** Drops from this process's memory what another has changed. */
  onChanges: (changes: Change[]) => void
}

/** The memory for what is read again and again, and all that keeps it from being out of date (decision 0020). */
export class HotObjects {
  /** Undefined when there is no memory for it. */
  readonly rowCache: RowCache | undefined
  readonly byteCache: ByteCache | undefined
  readonly #invalidation: CacheInvalidation | undefined
  readonly #outbox: Outbox
  readonly #peers: Peers | undefined

  /** @param bytes of memory; 0 keeps nothing */
  constructor(
    bytes: number,
    parts: { database: Database; outbox: Outbox; logger: Logger; peers: Peers | undefined },
  ) {
    const { database, outbox, logger, peers } = parts
    this.#outbox = outbox
    this.#peers = peers
    if (bytes === 0) return
    const rowCache = new RowCache(bytes * ROWS_SHARE)
    this.rowCache = rowCache
    this.byteCache = new ByteCache(bytes * (1 - ROWS_SHARE))
    this.#invalidation = new CacheInvalidation({ database, outbox, rowCache, logger })
    if (peers) peers.onChanges = (changes) => this.#drop(changes)
  }

  start(): void {
    this.#invalidation?.start()
  }

  async close(): Promise<void> {
    await this.#invalidation?.close()
  }

  readonly invalidate: Invalidate = async (changes) => {
    this.#drop(changes)
    this.#outbox.wake()
    if (this.rowCache) await this.#peers?.invalidate(changes)
  }

  #drop(changes: Change[]): void {
    for (const { bucket, names } of changes) {
      if (bucket === null) this.rowCache?.clear()
      else if (names === null) this.rowCache?.dropBucket(bucket)
      else for (const name of names) this.rowCache?.drop(bucket, name)
    }
  }
}
