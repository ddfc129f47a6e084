import type { Hash } from 'node:crypto'
import type { ChunkReader } from '../../backend/backend.ts'

/** So much of a chunk, at its end, may be hashed while the disk flushes, in bytes: the main thread has nothing to do then. */
const LATE_BYTES = 2 * 1024 * 1024

/** What all chunks together may have in memory for that. */
const MOST_BYTES = 16 * 1024 * 1024

/** So much is hashed before others have their turn: some 0.1 ms. */
const SLICE_BYTES = 256 * 1024

/** How much of all chunks waits to be hashed, in bytes. */
export class LateRoom {
  #waiting = 0

  take(bytes: number): boolean {
    if (this.#waiting + bytes > MOST_BYTES) return false
    this.#waiting += bytes
    return true
  }

  free(bytes: number): void {
    this.#waiting -= bytes
  }
}

export interface LateHashOptions extends ChunkReader {
  /** Has seen what is before the chunk. */
  hash: Hash
  /** Length of the chunk in bytes, or null when nobody knows it: then all of it is hashed as it comes. */
  size: number | null
  room: LateRoom
}

/**
 * Hashes a chunk as it comes, but for its end: that waits until all has come, and is hashed in slices while the disk and the
 * database are waited for. Each piece has to stay as it is meanwhile, so it is given back here.
 */
export class LateHash {
  readonly #options: LateHashOptions
  /** What waits, in order, and whether it is stored. */
  readonly #late = new Map<Uint8Array, boolean>()
  #seen = 0 // bytes of the chunk

  constructor(options: LateHashOptions) {
    this.#options = options
  }

  update(bytes: Uint8Array): void {
    const { hash, size, room } = this.#options
    this.#seen += bytes.length
    const isLate = size !== null && size - this.#seen < LATE_BYTES
    if (isLate && !this.#late.has(bytes) && room.take(bytes.length)) this.#late.set(bytes, false)
    else {
      // What has come before it goes first.
      this.#hashSome(Number.POSITIVE_INFINITY)
      hash.update(bytes)
    }
    if (this.#seen === size) this.#hashSlices()
  }

  /** To be called with what is stored, in place of `giveBack`. */
  giveBack(chunks: Uint8Array[]): void {
    const hashed = chunks.filter((chunk) => !this.#late.has(chunk))
    for (const chunk of chunks) if (this.#late.has(chunk)) this.#late.set(chunk, true)
    this.#options.giveBack?.(hashed)
  }

  /** Of all that has come. */
  finish(): Hash {
    this.#hashSome(Number.POSITIVE_INFINITY)
    return this.#options.hash
  }

  /** When nobody wants the hash: nothing more is hashed. */
  drop(): void {
    for (const { length } of this.#late.keys()) this.#options.room.free(length)
    this.#late.clear()
  }

  #hashSlices(): void {
    setImmediate(() => {
      this.#hashSome(SLICE_BYTES)
      if (this.#late.size > 0) this.#hashSlices()
    })
  }

  #hashSome(most: number): void {
    const stored: Uint8Array[] = []
    let hashed = 0
    for (const [bytes, isStored] of this.#late) {
      if (hashed >= most) break
      this.#options.hash.update(bytes)
      hashed += bytes.length
      this.#options.room.free(bytes.length)
      this.#late.delete(bytes)
      if (isStored) stored.push(bytes)
    }
    if (stored.length > 0) this.#options.giveBack?.(stored)
  }
}
