import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import {
  createLocalJWKSet,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose'
import { LRUCache } from 'lru-cache'
import { type Identity, STANDARD_ROLES } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { remoteKeys } from './remote-keys.ts'
import { checkClaims, checkForm } from './token-form.ts'

export interface TokenVerifierOptions {
  /** Verifies HS256 tokens. */
  secret: string
  jwks: { keys: Record<string, unknown>[] } | undefined
  jwksUrl: string | undefined
  /** Roles besides the three that everyone has. */
  extraRoles: string[]
  /** Opaque keys that mean the anon role (wire §1.2). */
  publishableKeys: string[]
  /** Opaque keys that mean the service_role. */
  secretKeys: string[]
}

/** Never `none`, and never HMAC: a public key must not be taken for a shared secret (RFC 8725 §3.1). */
const ASYMMETRIC = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

/** Characters of all remembered tokens together. */
const REMEMBERED_CHARACTERS = 16 * 1024 * 1024

/** A token is asked about again after this time, so that a key taken out of a JWKS ceases to work. */
const REMEMBERED_MS = 5 * 60_000

/** Turns `Authorization` or `apikey` into an identity (wire §1.2, §1.3). */
export class TokenVerifier {
  readonly #secret: Uint8Array
  readonly #sharedKeys: SharedKey[]
  readonly #keySets: JWTVerifyGetKey[] = []
  readonly #roles: Set<string>
  readonly #opaque: { digest: Buffer; role: string }[]
  readonly #remembered = new LRUCache<string, Identity>({
    maxSize: REMEMBERED_CHARACTERS,
    sizeCalculation: (_identity, token) => token.length + 500,
    // Tokens end by the clock on the wall; the default one stands still while a machine sleeps.
    perf: { now: () => Date.now() },
  })

  constructor(options: TokenVerifierOptions) {
    this.#secret = new TextEncoder().encode(options.secret)
    this.#sharedKeys = (options.jwks?.keys ?? []).flatMap((key) => sharedKey(key) ?? [])
    if (options.jwks) this.#keySets.push(createLocalJWKSet(options.jwks))
    if (options.jwksUrl) this.#keySets.push(remoteKeys(options.jwksUrl))
    this.#roles = new Set([...STANDARD_ROLES, ...options.extraRoles])
    this.#opaque = [
      ...options.publishableKeys.map((key) => ({ digest: digest(key), role: 'anon' })),
      ...options.secretKeys.map((key) => ({ digest: digest(key), role: 'service_role' })),
    ]
  }

  /**
   * The identity that a request's token proves, or null when it carries none.
   *
   * @throws InvalidToken when it does not hold; AccessDenied when it names a role that callers may not have;
   *   AuthenticationUnavailable when the remote keys cannot be fetched
   */
  async identify(headers: IncomingHttpHeaders): Promise<Identity | null> {
    const token = bearerToken(headers)
    if (token === null) return null
    const remembered = this.#remembered.get(token)
    if (remembered) return remembered

    const opaque = this.#opaqueIdentity(token)
    if (opaque) return opaque
    const claims = await this.#verify(token)
    const identity = this.#identity(token, claims)
    const expiresMs = claims.exp === undefined ? Number.POSITIVE_INFINITY : claims.exp * 1000 - Date.now()
    if (expiresMs > 0) this.#remembered.set(token, identity, { ttl: Math.min(expiresMs, REMEMBERED_MS) })
    return identity
  }

  async #verify(token: string): Promise<JWTPayload> {
    try {
      checkForm(token)
      const claims = await this.#verifySignature(token)
      checkClaims(claims)
      return claims
    } catch (cause) {
      // jose says TypeError of a token that is none; anything else that it does not name is not the token's fault.
      if (cause instanceof errors.JOSEError || cause instanceof TypeError) throw invalidToken(cause)
      throw cause
    }
  }

  async #verifySignature(token: string): Promise<JWTPayload> {
    const { alg, kid } = decodeProtectedHeader(token)
    // Its type says text; who made the token may have thought otherwise.
    if (typeof alg === 'string' && alg.startsWith('HS')) {
      const shared = this.#sharedKeys.find((key) => key.kid === kid && kid !== undefined)
      const key = shared ?? { secret: this.#secret, alg: 'HS256' }
      return (await jwtVerify(token, key.secret, { algorithms: [key.alg] })).payload
    }
    return this.#verifyWithKeySets(token)
  }

  async #verifyWithKeySets(token: string): Promise<JWTPayload> {
    let failure: unknown = new errors.JWKSNoMatchingKey()
    for (const keys of this.#keySets) {
      try {
        return (await jwtVerify(token, keys, { algorithms: ASYMMETRIC })).payload
      } catch (error) {
        if (error instanceof errors.JWKSMultipleMatchingKeys) return await verifyWithAny(token, error)
        failure = error
        // Only a key that this set does not have may be in the next one.
        if (!(error instanceof errors.JWKSNoMatchingKey)) break
      }
    }
    throw failure
  }

  #identity(token: string, claims: JWTPayload): Identity {
    const role = claims.role ?? 'anon'
    if (typeof role !== 'string' || !this.#roles.has(role)) {
      throw new StorageError('AccessDenied', {
        message: 'The role in the token is not one that callers may have',
      })
    }
    return { role, subject: claims.sub ?? null, claims, token }
  }

  #opaqueIdentity(token: string): Identity | null {
    if (this.#opaque.length === 0) return null
    const given = digest(token)
    const key = this.#opaque.find((candidate) => timingSafeEqual(candidate.digest, given))
    return key ? { role: key.role, subject: null, claims: { role: key.role }, token } : null
  }
}

/** `Bearer`, in any case, may be left out; `apikey` counts only without `Authorization` (wire §1.2). */
function bearerToken(headers: IncomingHttpHeaders): string | null {
  const { authorization, apikey } = headers
  if (authorization !== undefined) {
    const token = authorization.replace(/^bearer(?: +|$)/i, '').trim()
    return token === '' ? null : token
  }
  return typeof apikey === 'string' && apikey.trim() !== '' ? apikey.trim() : null
}

interface SharedKey {
  kid: string
  secret: Uint8Array
  alg: string
}

/** An `oct` key of a key set, which jose's own sets leave out (RFC 7518 §6.4). */
function sharedKey(key: Record<string, unknown>): SharedKey | null {
  const { kty, kid, k, alg = 'HS256' } = key
  if (kty !== 'oct' || typeof kid !== 'string' || typeof k !== 'string' || typeof alg !== 'string')
    return null
  return { kid, secret: Buffer.from(k, 'base64url'), alg }
}

/** A token without `kid` may fit several keys of one kind. */
async function verifyWithAny(
  token: string,
  candidates: errors.JWKSMultipleMatchingKeys,
): Promise<JWTPayload> {
  for await (const key of candidates) {
    try {
      return (await jwtVerify(token, key, { algorithms: ASYMMETRIC })).payload
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error
    }
  }
  throw new errors.JWSSignatureVerificationFailed()
}

/** With the challenge of RFC 6750 §3.1. Only what jose says of a token is told; other errors speak of our insides. */
function invalidToken(cause: Error): StorageError {
  const headers = { 'WWW-Authenticate': 'Bearer error="invalid_token"' }
  const message = cause instanceof errors.JOSEError ? cause.message : 'The token is malformed'
  return new StorageError('InvalidToken', { cause, message, headers })
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
