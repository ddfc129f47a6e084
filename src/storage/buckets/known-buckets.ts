import { LRUCache } from 'lru-cache'
import type { Database } from '../../database/connection/client.ts'
import { findBucketSettings, type KnownSettings } from '../../database/queries/buckets.ts'
import { StorageError } from '../../model/errors.ts'

/**
 * What the settings of buckets that are remembered may take, about, in bytes: those of thousands. Plain SQL gives a bucket
 * as many types as it likes; one that has too many is not remembered.
 */
export const MOST_BYTES = 4_000_000

/** What an entry takes besides its texts, and a text besides its characters, about. */
const ENTRY_BYTES = 500
const TEXT_BYTES = 40

/**
 * The settings of buckets as they were when they were last heard of. Any server, and plain SQL, may have changed them
 * since: what is allowed by them has to be asked anew before it is done, and what is refused before it is refused.
 */
export class KnownBuckets {
  readonly #database: Database
  readonly #settings = new LRUCache<string, KnownSettings>({ maxSize: MOST_BYTES, sizeCalculation: bytesOf })

  constructor(database: Database) {
    this.#database = database
  }

  /**
   * As far as is known.
   *
   * @param uid of the bucket that is meant, or undefined for any of that name
   */
  get(id: string, uid?: string): KnownSettings | undefined {
    const known = this.#settings.get(id)
    return known && isMeant(known, uid) ? known : undefined
  }

  /** As they are now. @param uid as of `get` @throws NoSuchBucket */
  async find(id: string, uid?: string): Promise<KnownSettings> {
    return this.told(id, await findBucketSettings(this.#database, id), uid)
  }

  /** Takes what was told of a bucket for whoever needs one. @param uid as of `get` @throws NoSuchBucket */
  told(id: string, settings: KnownSettings | null, uid: string | undefined): KnownSettings {
    this.heard(id, settings)
    if (!settings || !isMeant(settings, uid)) throw new StorageError('NoSuchBucket')
    return settings
  }

  /** Remembers what was told of a bucket. */
  heard(id: string, settings: KnownSettings | null): void {
    if (settings) this.#settings.set(id, settings)
    else this.#settings.delete(id)
  }
}

function isMeant(bucket: KnownSettings, uid: string | undefined): boolean {
  return uid === undefined || bucket.uid === uid
}

/** What an entry takes of memory, about. */
function bytesOf({ allowedMimeTypes, mark }: KnownSettings, id: string): number {
  const texts = [id, mark, ...(allowedMimeTypes ?? [])]
  return texts.reduce((bytes, text) => bytes + TEXT_BYTES + 2 * text.length, ENTRY_BYTES)
}
