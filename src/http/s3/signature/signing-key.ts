import { createHmac, hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { CredentialScope } from './scope.ts'

/** Keys of so many credentials and days are at hand. */
const MOST_KEYS = 1000

/** The keys that signatures of one day are made with, each derived once (AWS Signature Version 4, "Derive a signing key"). */
export class SigningKeys {
  readonly #derived = new LRUCache<string, Buffer>({ max: MOST_KEYS })

  of(secret: string, scope: CredentialScope): Buffer {
    // By the secret: nothing is remembered of one that has been replaced.
    const name = `${scope.date}/${scope.region}/${secret}`
    let key = this.#derived.get(name)
    if (!key) {
      key = deriveKey(secret, scope)
      this.#derived.set(name, key)
    }
    return key
  }
}

function deriveKey(secret: string, { date, region }: CredentialScope): Buffer {
  return ['s3', 'aws4_request'].reduce(hmac, hmac(hmac(`AWS4${secret}`, date), region))
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

/** In lower-case hex, as all hashes of a signature. @param text in which each character is a byte */
export function sha256Hex(text: string): string {
  return hash('sha256', Buffer.from(text, 'latin1'), 'hex')
}

/** The last step: what a signature is. */
export function signatureOf(key: Buffer, stringToSign: string): Buffer {
  return hmac(key, stringToSign)
}
