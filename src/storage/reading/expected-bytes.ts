import { createHash } from 'node:crypto'
import type { Database } from '../../database/connection/client.ts'
import { findVersionParts, type VersionPart } from '../../database/queries/version-parts.ts'

/** What is known of an object's bytes: the SHA-256 of the whole, or those of the parts of which it was made. */
export type ExpectedBytes = string | VersionPart[]

/** Compares bytes that pass with those that are expected. */
export interface Comparison {
  update(bytes: Uint8Array): void
  /** Whether all that have passed are those, and no fewer. */
  holds(): boolean
}

/** Of a row's version; null when nothing is known. */
export async function expectedBytes(
  database: Database,
  { checksum, version }: { checksum: string | null; version: string },
): Promise<ExpectedBytes | null> {
  return checksum ?? findVersionParts(database, version)
}

export function compareWith(expected: ExpectedBytes): Comparison {
  return typeof expected === 'string' ? new WholeComparison(expected) : new PartsComparison(expected)
}

class WholeComparison implements Comparison {
  readonly #hash = createHash('sha256')

  constructor(private readonly sha256: string) {}

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes)
  }

  holds(): boolean {
    return this.#hash.digest('hex') === this.sha256
  }
}

class PartsComparison implements Comparison {
  readonly #parts: VersionPart[]
  #hash = createHash('sha256')
  #next = 0
  /** Bytes that the part has had. */
  #seen = 0
  #holds = true

  constructor(parts: VersionPart[]) {
    this.#parts = parts
    this.#pass()
  }

  update(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length && this.#holds; ) {
      const part = this.#parts[this.#next]
      if (!part) {
        this.#holds = false
        return
      }
      const end = Math.min(bytes.length, start + part.size - this.#seen)
      this.#hash.update(bytes.subarray(start, end))
      this.#seen += end - start
      start = end
      this.#pass()
    }
  }

  holds(): boolean {
    return this.#holds && this.#next === this.#parts.length
  }

  /** Judges parts that have all their bytes. */
  #pass(): void {
    for (let part = this.#parts[this.#next]; part?.size === this.#seen; part = this.#parts[this.#next]) {
      this.#holds &&= this.#hash.digest('hex') === part.sha256
      this.#hash = createHash('sha256')
      this.#seen = 0
      this.#next++
    }
  }
}
