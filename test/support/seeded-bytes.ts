import { createCipheriv, createHash } from 'node:crypto'

/** Bytes that look random, and are the same for the same seed. Many of them cost little. */
export function seededBytes(seed: string, length: number): Buffer {
  const key = createHash('sha256').update(seed).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}

/** As `checksum` has it in what the server says of an object. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
