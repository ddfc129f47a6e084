import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

/** What a sealed secret was sealed with. */
export type SealedUnder = 'current' | 'previous' | 'unknown'

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const KEY_ID_BYTES = 6
/** Random, which is safe for billions of secrets under one key (NIST SP 800-38D, section 8.3). */
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Key id, then nonce, ciphertext and tag together; all in base64url. */
const FORM = /^v1\.([\w-]{8})\.([\w-]+)$/

/**
 * Seals the secrets that requests are signed with, which a verifier has to have in clear, and what else only the servers read:
 * AES-256-GCM under keys that follow from their secrets. What is sealed for one access key, or purpose, does not open for another.
 */
export class SecretSeal {
  /** By their ids; the current one first. */
  readonly #keys: Map<string, Buffer>

  /** @param secrets the current one, then those that still open what they have sealed */
  constructor(secrets: [string, ...string[]]) {
    this.#keys = new Map(secrets.map((secret) => [keyId(secret), derived(secret, 'key', KEY_BYTES)]))
  }

  seal(purpose: string, secret: string): string {
    const [[id, key]] = this.#keys as unknown as [[string, Buffer]] // there is one at least
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
    cipher.setAAD(Buffer.from(purpose))
    const sealed = Buffer.concat([nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return `v1.${id}.${sealed.toString('base64url')}`
  }

  /** Null for what was sealed with another secret, or for another purpose, or was changed. */
  open(purpose: string, text: string): string | null {
    const [, id = '', body = ''] = FORM.exec(text) ?? []
    const key = this.#keys.get(id)
    const sealed = Buffer.from(body, 'base64url')
    if (!key || sealed.length < NONCE_BYTES + TAG_BYTES) return null
    const nonce = sealed.subarray(0, NONCE_BYTES)
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(purpose))
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
    try {
      return (
        decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
      )
    } catch {
      return null // the tag is not of these bytes
    }
  }

  /** Which of the secrets a text names; whether it opens is another matter. */
  under(text: string): SealedUnder {
    const index = [...this.#keys.keys()].indexOf(FORM.exec(text)?.[1] ?? '')
    return index < 0 ? 'unknown' : index === 0 ? 'current' : 'previous'
  }
}

/** Tells secrets apart, and reveals nothing of them. */
function keyId(secret: string): string {
  return derived(secret, 'key id', KEY_ID_BYTES).toString('base64url')
}

function derived(secret: string, about: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `strongroom credentials ${about}`, bytes))
}
