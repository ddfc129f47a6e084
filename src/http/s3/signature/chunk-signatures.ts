import { timingSafeEqual } from 'node:crypto'
import { ALGORITHM, EMPTY_HASH } from './header.ts'
import { sha256Hex, signatureOf } from './signing-key.ts'

/** Where the signatures of a body's chunks begin. */
export interface ChunkSeed {
  key: Buffer
  /** As `20130524T000000Z`. */
  at: string
  /** As `CredentialScope.text`. */
  scope: string
  /** Of the request, in hex. */
  signature: string
}

/**
 * The signatures of a body's chunks, each made over the one before, so that none can be left out, repeated or moved (AWS
 * Signature Version 4, "Transferring payload in multiple chunks").
 */
export class ChunkSignatures {
  readonly #seed: ChunkSeed
  #previous: string

  constructor(seed: ChunkSeed) {
    this.#seed = seed
    this.#previous = seed.signature
  }

  /** Whether the next chunk has this signature. @param hash of its bytes, in hex */
  isOfChunk(given: string, hash: string): boolean {
    return this.#isNext(given, 'PAYLOAD', `${EMPTY_HASH}\n${hash}`)
  }

  /** Whether what stands behind the last chunk has this signature. @param lines `name:value`, each with a line feed */
  isOfTrailer(given: string, lines: string): boolean {
    return this.#isNext(given, 'TRAILER', sha256Hex(lines))
  }

  #isNext(given: string, kind: 'PAYLOAD' | 'TRAILER', what: string): boolean {
    const { key, at, scope } = this.#seed
    const wanted = signatureOf(key, `${ALGORITHM}-${kind}\n${at}\n${scope}\n${this.#previous}\n${what}`)
    this.#previous = given
    return isSignature(given, wanted)
  }
}

/** Compares in constant time. @param given in lower-case hex, or no signature at all */
export function isSignature(given: string, wanted: Buffer): boolean {
  if (!/^[\da-f]{64}$/.test(given)) return false
  return timingSafeEqual(Buffer.from(given, 'hex'), wanted)
}
