import { LRUCache } from 'lru-cache'
import type { StoredObject } from '../object/stored-object.ts'

/** A row is used only so long after the last look at what others have changed. In milliseconds. */
const FRESH_MS = 1000

/** What an entry takes in memory besides its metadata, about. In bytes. */
const ENTRY_BYTES = 1500

/** A row on its way from the database, which a change may overtake. */
interface Reading {
  isOvertaken: boolean
}

/**
 * Rows of objects in public buckets, which anybody may read: no policy is asked about them, so that they can be
 * answered from memory. Never out of date for what this server and its workers have changed, since `drop` comes between
 * a commit and its answer; and for at most a second for what others have, since `CacheInvalidation` follows them and
 * nothing is told from here when it does not.
 */
export class RowCache {
  readonly #rows: LRUCache<string, StoredObject>
  readonly #reading = new Map<string, Set<Reading>>()
  /** How often somebody was answered by a row from here, which he counts himself; and how often one had to be read. */
  hits = 0
  misses = 0
  #freshUntil = Number.NEGATIVE_INFINITY
  /** By the clock on the wall, since the other one stands still while a machine sleeps. */
  #freshUntilDate = Number.NEGATIVE_INFINITY
  #askedAt = Number.NEGATIVE_INFINITY
  #onAsked: (() => void) | undefined

  /** @param maxBytes of memory, at least 1 */
  constructor(maxBytes: number) {
    this.#rows = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ systemMetadata, userMetadata }) =>
        ENTRY_BYTES + JSON.stringify([systemMetadata, userMetadata]).length,
    })
  }

  get(bucket: string, name: string): StoredObject | undefined {
    const now = performance.now()
    this.#askedAt = now
    if (now < this.#freshUntil && Date.now() < this.#freshUntilDate)
      return this.#rows.get(nameKey(bucket, name))
    this.#onAsked?.()
    return undefined
  }

  /** Of memory, about. */
  get bytes(): number {
    return this.#rows.calculatedSize
  }

  /** Reads a row by `find`, and keeps it if anybody may see it and no change has overtaken it. */
  async remember<Found extends { isPublic: boolean; object: StoredObject }>(
    bucket: string,
    name: string,
    find: () => Promise<Found>,
  ): Promise<Found> {
    const key = nameKey(bucket, name)
    const reading: Reading = { isOvertaken: false }
    const beside = this.#reading.get(key) ?? new Set()
    this.#reading.set(key, beside.add(reading))
    try {
      const found = await find()
      if (found.isPublic) this.misses++
      // That a mark is taken away is no event.
      const isToKeep = found.isPublic && !found.object.isCorrupted && !reading.isOvertaken
      if (isToKeep) this.#rows.set(key, found.object)
      return found
    } finally {
      beside.delete(reading)
      if (beside.size === 0) this.#reading.delete(key)
    }
  }

  drop(bucket: string, name: string): void {
    const key = nameKey(bucket, name)
    this.#rows.delete(key)
    for (const reading of this.#reading.get(key) ?? []) reading.isOvertaken = true
  }

  dropBucket(bucket: string): void {
    const first = nameKey(bucket, '')
    for (const key of this.#rows.keys()) if (key.startsWith(first)) this.#rows.delete(key)
    for (const [key, readings] of this.#reading) {
      if (key.startsWith(first)) for (const reading of readings) reading.isOvertaken = true
    }
  }

  clear(): void {
    this.#rows.clear()
    for (const readings of this.#reading.values()) for (const reading of readings) reading.isOvertaken = true
  }

  /** The buckets of which there are rows here, or on their way. */
  get buckets(): string[] {
    return [...new Set([...this.#rows.keys(), ...this.#reading.keys()].map(bucketOf))]
  }

  /** Those of them that kept no versions when a row was read. */
  get unversionedBuckets(): string[] {
    const keys = new Set<string>()
    for (const [key, { versionId }] of this.#rows.entries()) if (versionId === null) keys.add(bucketOf(key))
    return [...keys]
  }

  /** All that was committed before this moment of `performance.now()` has been dropped. */
  confirm(moment: number): void {
    this.#freshUntil = moment + FRESH_MS
    this.#freshUntilDate = Date.now() + this.#freshUntil - performance.now()
  }

  /**
   * Resolves once somebody asks, or at once if somebody did less than `ms` milliseconds ago.
   *
   * @throws the signal's reason
   */
  async asked(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (performance.now() - this.#askedAt < ms) return
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      this.#onAsked = () => {
        signal.removeEventListener('abort', onAbort)
        this.#onAsked = undefined
        resolve()
      }
    })
  }
}

/** By what an object is found in memory. A legal name holds no line break. */
export function nameKey(bucket: string, name: string): string {
  return `${bucket}\n${name}`
}

function bucketOf(key: string): string {
  return key.slice(0, key.lastIndexOf('\n'))
}
