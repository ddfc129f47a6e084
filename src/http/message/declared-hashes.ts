import { createHash, type Hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { Written } from '../../backend/backend.ts'
import { base64OfHex, isBase64Of } from '../../model/checksums.ts'
import { StorageError } from '../../model/errors.ts'

/** A hash that a client says its bytes have. */
interface Declared {
  /** As Node calls it. */
  algorithm: 'sha256' | 'sha512' | 'md5'
  /** Base64. */
  value: string
}

/** In bytes. */
const SIZES = { sha256: 32, sha512: 64, md5: 16 } as const

/** Of RFC 9530 §5. Of others that a client may name nothing is held against it. */
const DIGESTS: Record<string, Declared['algorithm']> = {
  'sha-256': 'sha256',
  'sha-512': 'sha512',
  md5: 'md5',
}

/** A member of a dictionary that is bytes, with parameters that mean nothing (RFC 9651 §3.2, §3.3.5). */
const MEMBER = /^([a-z*][\w.*-]*)=:([A-Za-z0-9+/]*={0,2}):(?:;.*)?$/

/**
 * What a raw body's headers say of its bytes: `x-content-sha256`, `Content-Digest`, `Repr-Digest` (RFC 9530), `Content-MD5`.
 *
 * @throws InvalidChecksum for what cannot be one
 */
export function hashesInHeaders(headers: IncomingHttpHeaders): Declared[] {
  const md5 = headers['content-md5']
  return [
    ...hashInHex(headers['x-content-sha256']?.toString(), 'x-content-sha256'),
    ...digestsIn(headers['content-digest']?.toString(), 'Content-Digest'),
    ...digestsIn(headers['repr-digest']?.toString(), 'Repr-Digest'),
    ...(md5 === undefined ? [] : [checked({ algorithm: 'md5', value: String(md5) }, 'Content-MD5')]),
  ]
}

/** @param source what it came in, for the error @throws InvalidChecksum */
export function hashInHex(text: string | undefined, source: string): Declared[] {
  const hash = sha256In(text, source)
  return hash === undefined ? [] : [{ algorithm: 'sha256', value: base64OfHex(hash) }]
}

/** A SHA-256 as its 64 digits, in lower case. @param source what it came in, for the error @throws InvalidChecksum */
export function sha256In(text: string | undefined, source: string): string | undefined {
  if (!text) return undefined
  if (/^[\da-f]{64}$/i.test(text)) return text.toLowerCase()
  throw new StorageError('InvalidChecksum', {
    message: `${source} must be a SHA-256 of 64 hexadecimal digits`,
  })
}

function digestsIn(header: string | undefined, source: string): Declared[] {
  if (header === undefined) return []
  return header.split(',').flatMap((member) => {
    const [, name = '', value = ''] = MEMBER.exec(member.trim()) ?? []
    if (name === '') {
      throw new StorageError('InvalidChecksum', {
        message: `${source} must be a dictionary of byte sequences`,
      })
    }
    const algorithm = Object.hasOwn(DIGESTS, name) ? DIGESTS[name] : undefined
    return algorithm === undefined ? [] : [checked({ algorithm, value }, source)]
  })
}

function checked(declared: Declared, source: string): Declared {
  if (isBase64Of(declared.value, SIZES[declared.algorithm])) return declared
  throw new StorageError('InvalidChecksum', {
    message: `${source} is not the base64 of ${declared.algorithm}`,
  })
}

/**
 * Holds bytes against the hashes that were declared, all of them. SHA-256 is left to the store, which computes it anyway; the
 * others are computed as the bytes pass.
 */
export class DeclaredHashes {
  readonly #declared: Declared[]
  readonly #running = new Map<Declared['algorithm'], Hash>()

  constructor(declared: Declared[]) {
    this.#declared = declared
  }

  /** Sees the bytes of a body that nobody reads yet. */
  watch(stream: Readable): void {
    for (const { algorithm } of this.#declared) {
      if (algorithm !== 'sha256') this.#running.set(algorithm, createHash(algorithm))
    }
    if (this.#running.size === 0) return
    stream.pause() // a listener would begin to read, and what passes before the reader comes is lost
    stream.on('data', (chunk: Uint8Array) => {
      for (const hash of this.#running.values()) hash.update(chunk)
    })
  }

  /** @param written all the bytes @throws InvalidChecksum */
  verify({ sha256 }: Pick<Written, 'sha256'>): void {
    const digests = new Map([...this.#running].map(([algorithm, hash]) => [algorithm, hash.digest('base64')]))
    digests.set('sha256', base64OfHex(sha256))
    for (const { algorithm, value } of this.#declared) {
      if (digests.get(algorithm) !== value) throw new StorageError('InvalidChecksum')
    }
  }
}
