import { type ChunkSeed, ChunkSignatures } from './chunk-signatures.ts'

/** What the signature says of the body. */
export type Payload =
  /** Nothing. */
  | { kind: 'unsigned' }
  /** Its SHA-256, in hex. */
  | { kind: 'sha256'; hash: string }
  /** That it comes in chunks of S3's own: with signatures of their own or without, and with headers behind them or without. */
  | { kind: 'chunked'; signatures: ChunkSignatures | null; hasTrailer: boolean }

/** Undefined for what is none of S3's words. @param word of x-amz-content-sha256 */
export function payloadOf(word: string, seed: ChunkSeed): Payload | undefined {
  switch (word) {
    case 'UNSIGNED-PAYLOAD':
      return UNSIGNED
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'chunked', signatures: null, hasTrailer: true }
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
      return { kind: 'chunked', signatures: new ChunkSignatures(seed), hasTrailer: false }
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      return { kind: 'chunked', signatures: new ChunkSignatures(seed), hasTrailer: true }
    default:
      return HASH.test(word) ? { kind: 'sha256', hash: word } : undefined
  }
}

const UNSIGNED: Payload = { kind: 'unsigned' }

const HASH = /^[\da-f]{64}$/
