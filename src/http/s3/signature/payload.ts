/** What the signature says of the body. */
export type Payload =
  /** Nothing. */
  | { kind: 'unsigned' }
  /** Its SHA-256, in hex. */
  | { kind: 'sha256'; hash: string }

const HASH = /^[\da-f]{64}$/

/** Undefined for what is none of the words of S3. @param word of x-amz-content-sha256 */
export function payloadOf(word: string): Payload | undefined {
  if (word === 'UNSIGNED-PAYLOAD') return { kind: 'unsigned' }
  return HASH.test(word) ? { kind: 'sha256', hash: word } : undefined
}
