import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Location } from '../../model/location.ts'
import type { StoredObject } from '../object/stored-object.ts'
import { nameKey } from './row-cache.ts'

/** Versions that were read once lately. A second read makes one worth its place; a single look at many does not. */
const SEEN_ONCE = 20_000

/**
 * The bytes of small objects that are read again and again, whoever may read them: a version's bytes never change, so
 * that nothing in here can be out of date. Whether somebody may see an object is asked before, each time.
 */
export class ByteCache {
  readonly #bytes: LRUCache<string, Uint8Array<ArrayBuffer>>
  readonly #seen = new LRUCache<string, true>({ max: SEEN_ONCE })
  /** Where the bytes of these objects were when they were kept. By their buckets and names. */
  readonly #kept = new LRUCache<string, Location>({ max: SEEN_ONCE })

  /** How often bytes were found here, and how often those of a small object had to be read. */
  hits = 0
  misses = 0

  /** @param maxBytes of memory, at least 1 */
  constructor(maxBytes: number) {
    this.#bytes = new LRUCache({ maxSize: maxBytes, sizeCalculation: (bytes) => bytes.length + ENTRY_BYTES })
  }

  /** Undefined also when they are not as many as the row says, to which plain SQL may have given any size. */
  get({ location, size }: Pick<StoredObject, 'location' | 'size'>): Uint8Array<ArrayBuffer> | undefined {
    const bytes = location ? this.#bytes.get(keyOf(location)) : undefined
    if (bytes?.length !== size) return undefined
    this.hits++
    return bytes
  }

  /** Of memory, about. */
  get bytes(): number {
    return this.#bytes.calculatedSize
  }

  /** The version of this object whose bytes are in here, if any are that were its own. */
  versionOf(bucket: string, name: string): string | undefined {
    const location = this.#kept.get(nameKey(bucket, name))
    return location && this.#bytes.has(keyOf(location)) ? location.version : undefined
  }

  /** Keeps what was just read, the second time; only if it is what was uploaded: from here no disk is asked again. */
  keep({ bucket, name, location, checksum }: StoredObject, bytes: Uint8Array<ArrayBuffer>): void {
    this.misses++
    if (location === null || checksum === null) return
    const key = keyOf(location)
    if (!this.#seen.has(key)) {
      this.#seen.set(key, true)
      return
    }
    if (createHash('sha256').update(bytes).digest('hex') !== checksum) return
    this.#bytes.set(key, bytes)
    this.#kept.set(nameKey(bucket, name), location)
  }
}

/** With its bucket: a row that plain SQL made may name the version of an object in another one. */
function keyOf({ bucket, version }: Location): string {
  return `${bucket}/${version}`
}

/** What an entry takes besides its bytes, about. */
const ENTRY_BYTES = 300
