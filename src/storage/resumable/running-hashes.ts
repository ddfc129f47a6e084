import { createHash, type Hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** The SHA-256 of a version's first bytes. */
export interface RunningHash {
  hash: Hash
  /** How many bytes it has seen. */
  offset: number
}

/** A hash takes some hundred bytes. */
const MOST = 10_000

/**
 * The SHA-256 of versions that arrive in chunks, for as long as all chunks come to this process. A hash cannot be
 * stored: a version of which another process has had a chunk is read once at its end.
 */
export class RunningHashes {
  readonly #hashes = new LRUCache<string, RunningHash & { attempt: number }>({ max: MOST })

  /**
   * The hash of what is before `offset`, to go on with; undefined when not all of it has passed here.
   *
   * @param attempt counts the requests that have had the version, on all servers; those that had it one after the other from
   *   one server may share a number. One that is missing here was had by another server, which may not know yet that it has
   *   lost the version, and still write.
   */
  take(version: string, offset: number, attempt: number): RunningHash | undefined {
    if (attempt === 1 && offset === 0) return { hash: createHash('sha256'), offset: 0 }
    const known = this.#hashes.get(version)
    if (known?.offset !== offset || known.attempt < attempt - 1) return undefined
    // A copy: the chunk may be taken back, and the next one begins here again.
    return { hash: known.hash.copy(), offset }
  }

  keep(version: string, running: RunningHash, attempt: number): void {
    this.#hashes.set(version, { ...running, attempt })
  }

  forget(version: string): void {
    this.#hashes.delete(version)
  }
}
