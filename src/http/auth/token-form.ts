import { errors, type JWTPayload } from 'jose'
import { fromBase64url } from '../../lib/base64url.ts'
import { checkComplexity, JsonTooComplex } from '../../lib/bounded-json.ts'
import { areStorable } from '../../lib/storable-text.ts'

/** Policies look into claims, and PostgreSQL and JSON.stringify call themselves for each level. */
const MAX_CLAIMS_DEPTH = 100

/**
 * Looks whether a token is a compact JWS (RFC 7515 §7.1) in its one spelling, and may be parsed: its header is read
 * before its signature is, so anybody may have made it.
 *
 * @throws JWSInvalid
 */
export function checkForm(token: string): void {
  const [header, claims, signature, ...more] = token.split('.', 4).map(fromBase64url)
  if (!header || !claims || !signature || more.length > 0) {
    throw new errors.JWSInvalid('The token is malformed')
  }
  try {
    checkComplexity(header.toString())
    checkComplexity(claims.toString(), MAX_CLAIMS_DEPTH)
  } catch (cause) {
    if (!(cause instanceof JsonTooComplex)) throw cause
    throw new errors.JWSInvalid(`The token ${cause.message}`, { cause })
  }
}

/** @throws JWTClaimValidationFailed for what PostgreSQL would not take, so that each question would fail */
export function checkClaims(claims: JWTPayload): void {
  // The type of the claims says text; who signed them may have thought otherwise.
  if ((claims.sub ?? null) !== null && typeof claims.sub !== 'string') {
    throw new errors.JWTClaimValidationFailed('"sub" claim must be a string', claims, 'sub')
  }
  if (!areStorable(claims)) {
    throw new errors.JWTClaimValidationFailed('The claims hold a NUL or half a character', claims)
  }
}
