import type { IncomingMessage } from 'node:http'
import { errors } from 'jose'
import type { Logger } from 'pino'
import type { Identity } from '../../../model/caller.ts'
import { hasCode, StorageError } from '../../../model/errors.ts'
import type { TokenVerifier } from '../../auth/token-verifier.ts'
import type { RequestContext } from '../../surface.ts'
import { parseQuery } from '../query.ts'
import { canonicalQuery, canonicalRequest, type SignedAddress } from './canonical-request.ts'
import { isSignature } from './chunk-signatures.ts'
import type { Credentials } from './credentials.ts'
import { signatureInForm } from './form.ts'
import { ALGORITHM, type GivenSignature, signatureInHeader } from './header.ts'
import { refuseOtherSchemes } from './other-schemes.ts'
import { type Payload, payloadOf } from './payload.ts'
import { isPresigned, LONGEST_SECONDS, signatureInQuery } from './query.ts'
import { type CredentialScope, parseCredential } from './scope.ts'
import { SigningKeys, sha256Hex, signatureOf } from './signing-key.ts'
import { refuseOtherTimes } from './time.ts'

export interface SignatureOptions {
  /** Of this server. */
  region: string
  credentials: Credentials
  /** With these a session's requests are signed, whose user's token they bring: the anon keys (wire §6.1). */
  sessionSecrets: string[]
  tokens: TokenVerifier
  /** The addresses that a client may have signed for, the most likely first. */
  addresses: (request: RequestContext) => Iterable<SignedAddress>
  logger: Logger
  now: () => Date
}

/** What a good signature proves. */
export interface Verified {
  identity: Identity
  payload: Payload
}

/** A pair of keys that a request may have been signed with; without an identity that is the session's. */
interface Candidate {
  secret: string
  identity?: Identity
}

/** Headers that change what is done have to be signed, all but these: the signature holds them otherwise, or proxies add them. */
const MAY_BE_UNSIGNED = new Set(['x-amz-content-sha256', 'x-amz-date', 'x-amz-cf-id', 'x-amz-user-agent'])

/** Verifies AWS Signature Version 4, wherever a request carries it (wire §6.2). */
export class SignatureVerifier {
  readonly #options: SignatureOptions
  readonly #keys = new SigningKeys()

  constructor(options: SignatureOptions) {
    this.#options = options
  }

  /**
   * @throws AccessDenied without a signature; InvalidRequest, InvalidAuthorization, InvalidPresignedUrl,
   *   RequestTimeTooSkewed, ExpiredToken, InvalidAccessKeyId, SignatureDoesNotMatch, InvalidToken
   */
  async verify(request: RequestContext): Promise<Verified> {
    // 1. It is of now, for us, and holds what it has to.
    const given = carriedBy(request)
    const scope = this.#checkScope(given)
    refuseUnsigned(request.incoming, given.signedHeaders)

    // 2. Somebody has the secret that it was made with.
    const canonicals = () => this.#canonicals(request, given)
    for (const { secret, identity } of await this.#candidates(scope, given.token)) {
      const key = this.#keys.of(secret, scope)
      if (!isMadeWith(key, given, scope, canonicals())) continue

      // 3. And is who the pair, or the session's token, says.
      const { at, signature, payloadHash } = given
      const payload = payloadOf(payloadHash, { key, at, scope: scope.text, signature })
      if (!payload) throw new StorageError('InvalidRequest', { message: UNKNOWN_PAYLOAD })
      return { identity: await this.#identity(identity, scope, given.token), payload }
    }
    this.#logMismatch(request, canonicals())
    throw new StorageError('SignatureDoesNotMatch')
  }

  /**
   * Verifies the signature of a form, which is over its policy (wire §6.8).
   *
   * @param fields by their names in lower case
   * @throws AccessDenied without a signature, and as `verify`
   */
  async verifyForm(fields: ReadonlyMap<string, string>): Promise<Identity> {
    const { policy, credential, at, signature, token } = signatureInForm(fields)
    const scope = this.#checkScope({ at, credential, expiresInSeconds: LONGEST_SECONDS })
    for (const { secret, identity } of await this.#candidates(scope, token)) {
      if (!isSignature(signature, signatureOf(this.#keys.of(secret, scope), policy))) continue
      return this.#identity(identity, scope, token)
    }
    throw new StorageError('SignatureDoesNotMatch')
  }

  /** @throws InvalidAuthorization, RequestTimeTooSkewed, ExpiredToken, AccessDenied */
  #checkScope(given: Pick<GivenSignature, 'at' | 'credential' | 'expiresInSeconds'>): CredentialScope {
    const { now, region } = this.#options
    refuseOtherTimes(given.at, given.expiresInSeconds, now())
    return parseCredential(given.credential, given.at, region)
  }

  /** @throws InvalidAccessKeyId, and as `S3Credentials.find` */
  async #candidates({ accessKeyId }: CredentialScope, token: string | undefined): Promise<Candidate[]> {
    if (token !== undefined) return this.#options.sessionSecrets.map((secret) => ({ secret }))
    const found = this.#options.credentials.find(accessKeyId)
    const credential = found instanceof Promise ? await found : found
    if (!credential) throw new StorageError('InvalidAccessKeyId')
    return [credential]
  }

  /** Whose a signature is that has held. @throws as `#sessionIdentity` */
  async #identity(
    identity: Identity | undefined,
    { accessKeyId }: CredentialScope,
    token: string | undefined,
  ): Promise<Identity> {
    if (!identity) return this.#sessionIdentity(token)
    this.#options.credentials.onUse(accessKeyId)
    return identity
  }

  /** @throws ExpiredToken, InvalidToken, and as `TokenVerifier.identify` */
  async #sessionIdentity(token = ''): Promise<Identity> {
    const identity = await this.#options.tokens.identify({ authorization: token }).catch((error: unknown) => {
      const isExpired = hasCode(error, 'InvalidToken') && error.cause instanceof errors.JWTExpired
      // By this word clients fetch new credentials.
      if (isExpired) throw new StorageError('ExpiredToken', { message: 'The session token has expired' })
      throw error
    })
    if (!identity) throw new StorageError('InvalidToken', { message: 'The session token is empty' })
    return identity
  }

  /** What the signature may be over, the most likely first. The others are made when they are needed. */
  *#canonicals(request: RequestContext, given: GivenSignature): Generator<string> {
    const { incoming, target } = request
    const { signedHeaders, payloadHash } = given
    const query = canonicalQuery(target.query, 'X-Amz-Signature')
    const parts = { method: incoming.method ?? 'GET', query, signedHeaders, payloadHash }
    for (const address of this.#options.addresses(request)) yield canonicalRequest(incoming, address, parts)
  }

  /** Tells an operator who looks for it what a client should have signed: without tokens. */
  #logMismatch({ requestId }: RequestContext, canonicals: Iterable<string>): void {
    const { logger } = this.#options
    if (!logger.isLevelEnabled('debug')) return
    const [canonicalRequest = ''] = canonicals
    logger.debug(
      { requestId, canonicalRequest: canonicalRequest.replace(TOKENS, '$1[hidden]') },
      'a signature is of another request than this one',
    )
  }
}

const TOKENS = /(x-amz-security-token[:=])[^\n&]*/gi

const UNKNOWN_PAYLOAD =
  'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a SHA-256 in lower-case hex, STREAMING-UNSIGNED-PAYLOAD-TRAILER, ' +
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD or STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER'

/** @throws AccessDenied, InvalidRequest, InvalidAuthorization, InvalidPresignedUrl */
function carriedBy({ incoming, target }: RequestContext): GivenSignature {
  const { authorization } = incoming.headers
  const isInHeader = authorization?.startsWith(`${ALGORITHM} `) === true
  if (isPresigned(target.query)) {
    if (isInHeader) throw new StorageError('InvalidRequest', { message: 'A request has one signature' })
    return signatureInQuery(incoming, parseQuery(target.query))
  }
  if (isInHeader) return signatureInHeader(incoming.headers, authorization)
  refuseOtherSchemes(authorization, target.query)
  throw new StorageError('AccessDenied', {
    message: 'The S3 protocol needs a request that is signed by Signature Version 4',
  })
}

/** @throws AccessDenied */
function refuseUnsigned({ headers }: IncomingMessage, signedHeaders: string[]): void {
  if (!signedHeaders.includes('host')) {
    throw new StorageError('AccessDenied', { message: 'The host must be signed' })
  }
  for (const name in headers) {
    if (!name.startsWith('x-amz-') || signedHeaders.includes(name) || MAY_BE_UNSIGNED.has(name)) continue
    throw new StorageError('AccessDenied', { message: `The header ${name} must be signed` })
  }
}

function isMadeWith(
  key: Buffer,
  { at, signature }: GivenSignature,
  scope: CredentialScope,
  canonicals: Iterable<string>,
): boolean {
  for (const canonical of canonicals) {
    const toSign = `${ALGORITHM}\n${at}\n${scope.text}\n${sha256Hex(canonical)}`
    if (isSignature(signature, signatureOf(key, toSign))) return true
  }
  return false
}
