import { timingSafeEqual } from 'node:crypto'
import type { Logger } from 'pino'
import type { Identity } from '../../../model/caller.ts'
import { StorageError } from '../../../model/errors.ts'
import type { TokenVerifier } from '../../auth/token-verifier.ts'
import type { RequestContext } from '../../surface.ts'
import { canonicalQuery, canonicalRequest, type SignedAddress } from './canonical-request.ts'
import type { Credential, Credentials } from './credentials.ts'
import { ALGORITHM, type GivenSignature, signatureInHeader } from './header.ts'
import { type Payload, payloadOf } from './payload.ts'
import { parseCredential } from './scope.ts'
import { SigningKeys, sha256Hex, signatureOf } from './signing-key.ts'
import { parseSignedTime, refuseSkew } from './time.ts'

export interface SignatureOptions {
  region: string
  credentials: Credentials
  /** With these a session's requests are signed, whose user's token they bring: the anon keys (wire §6.1). */
  sessionSecrets: string[]
  tokens: TokenVerifier
  /** The addresses that a client may have signed for, the most likely first. */
  addresses: (request: RequestContext) => SignedAddress[]
  logger: Logger
  now: () => Date
}

/** What a good signature proves. */
export interface Verified {
  identity: Identity
  payload: Payload
}

/** Headers that change what is done have to be signed, all but these: the signature holds them otherwise, or proxies add them. */
const MAY_BE_UNSIGNED = new Set(['x-amz-content-sha256', 'x-amz-date', 'x-amz-cf-id', 'x-amz-user-agent'])

/** Verifies AWS Signature Version 4 (wire §6.2). */
export class SignatureVerifier {
  readonly #options: SignatureOptions
  readonly #keys = new SigningKeys()

  constructor(options: SignatureOptions) {
    this.#options = options
  }

  /**
   * @throws AccessDenied without a signature; InvalidRequest, InvalidAuthorization, RequestTimeTooSkewed, InvalidAccessKeyId,
   *   SignatureDoesNotMatch, InvalidToken
   */
  async verify(request: RequestContext): Promise<Verified> {
    const { headers } = request.incoming
    const { authorization } = headers
    if (!authorization?.startsWith(ALGORITHM)) throw new StorageError('AccessDenied', { message: UNSIGNED })
    const given = signatureInHeader(headers, authorization)
    const { now, region } = this.#options
    // 1. It is of now, for us, and holds what it has to.
    const atMs = parseSignedTime(given.at)
    if (Number.isNaN(atMs)) {
      throw new StorageError('AccessDenied', { message: 'x-amz-date must be as 20130524T000000Z' })
    }
    refuseSkew(atMs, now())
    const scope = parseCredential(given.credential, given.at, region)
    refuseUnsigned(request, given.signedHeaders)
    const payload = payloadOf(given.payloadHash)
    if (!payload) {
      throw new StorageError('InvalidRequest', {
        message:
          'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a streaming form, or a SHA-256 in lower-case hex',
      })
    }

    // 2. Somebody has the secret that it was made with.
    const candidates = await this.#candidates(scope.accessKeyId, given)
    const isMadeWith = ({ secret }: { secret: string }) =>
      this.#isMadeWith(this.#keys.of(secret, scope), scope.text, given, request)
    const found = candidates.find(isMadeWith)
    if (!found) throw new StorageError('SignatureDoesNotMatch')

    // 3. And is who the pair, or the session's token, says.
    return { identity: found.identity ?? (await this.#sessionIdentity(given.token ?? '')), payload }
  }

  async #candidates(
    accessKeyId: string,
    { token }: GivenSignature,
  ): Promise<{ secret: string; identity?: Credential['identity'] }[]> {
    if (token !== undefined) return this.#options.sessionSecrets.map((secret) => ({ secret }))
    const found = this.#options.credentials.find(accessKeyId)
    const credential = found instanceof Promise ? await found : found
    if (!credential) throw new StorageError('InvalidAccessKeyId')
    return [credential]
  }

  async #sessionIdentity(token: string): Promise<Identity> {
    const identity = await this.#options.tokens.identify({ authorization: token })
    if (!identity) throw new StorageError('InvalidToken', { message: 'The session token is empty' })
    return identity
  }

  #isMadeWith(key: Buffer, scope: string, given: GivenSignature, request: RequestContext): boolean {
    const { incoming, target } = request
    const { signedHeaders, payloadHash, at } = given
    const query = canonicalQuery(target.query)
    const wanted = Buffer.from(given.signature, 'hex')
    if (given.signature.length !== 64 || wanted.length !== 32) return false
    const parts = { method: incoming.method ?? 'GET', query, signedHeaders, payloadHash }
    for (const address of this.#options.addresses(request)) {
      const canonical = canonicalRequest(incoming, address, parts)
      const stringToSign = `${ALGORITHM}\n${at}\n${scope}\n${sha256Hex(canonical)}`
      if (timingSafeEqual(signatureOf(key, stringToSign), wanted)) return true
      const { requestId } = request
      this.#options.logger.debug(
        { requestId, canonicalRequest: withoutToken(canonical) },
        'a signature is of another request than this one',
      )
    }
    return false
  }
}

const UNSIGNED = 'The S3 protocol needs a request signed by AWS Signature Version 4'

/** @throws InvalidAuthorization, AccessDenied */
function refuseUnsigned({ incoming }: RequestContext, signedHeaders: string[]): void {
  if (!signedHeaders.includes('host'))
    throw new StorageError('AccessDenied', { message: 'The host must be signed' })
  for (const name in incoming.headers) {
    if (!name.startsWith('x-amz-') || signedHeaders.includes(name) || MAY_BE_UNSIGNED.has(name)) continue
    throw new StorageError('AccessDenied', { message: `The header ${name} of the request must be signed` })
  }
}

/** Of a canonical request, all that a log may hold. */
function withoutToken(canonical: string): string {
  return canonical.replace(/(x-amz-security-token[:=])[^\n&]*/gi, '$1[hidden]')
}
