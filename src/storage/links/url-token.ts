import { createHmac, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'

/**
 * Signed URLs are two pure functions: one makes a token, one reads it (design §7, wire §3.11).
 *
 * A token is a compact JWS (RFC 7515), HMAC-SHA256 over the facts in `UrlClaims`. Its key is not the one of
 * login tokens. Were somebody to configure the same for both, neither would still pass for the other: a
 * login lacks `scope` and `url`, which are demanded here, and a URL token lacks `sub` and `role`, so it is
 * at most an anonymous login.
 */

/** What the bearer of a token may do. */
export type UrlScope = (typeof SCOPES)[number]

const SCOPES = ['download', 'upload', 'render'] as const

/** What a token binds, as it travels. Times are whole seconds since 1970. */
export type UrlClaims = z.infer<typeof claimsSchema>

const claimsSchema = z.object({
  /** `<bucket>/<name>`, decoded. A bucket has no slash in its name, so the first one divides the two. */
  url: z.string(),
  /** Of the bucket that was signed for: one that is made again under its name is another. Old tokens lack it. */
  bucket_uid: z.string().exactOptional(),
  scope: z.enum(SCOPES),
  iat: z.int(),
  exp: z.int(),
  /** Download only: the version that is meant, if it is not what is there at the time. */
  versionId: z.string().exactOptional(),
  /** Upload only: the `sub` of the signer, who will own the object. */
  owner: z.string().exactOptional(),
  /** Upload only: the organisation that the signer's token named, to which the object will belong. */
  organization: z.string().exactOptional(),
  /** Upload only: whether an object of that name may be replaced. */
  upsert: z.boolean().exactOptional(),
})

/** The object and the action a token is for. */
export interface UrlTarget {
  scope: UrlScope
  bucket: string
  name: string
}

/** What a link says, beside its token. */
export interface UrlWanted extends UrlTarget {
  /** Until when the link says that it works, in seconds since 1970; undefined when it does not. */
  expires?: string | undefined
}

export interface UrlGrant extends UrlTarget {
  /** Undefined makes a token as there were before: for the bucket's name alone. */
  bucketUid: string | undefined
  expiresInSeconds: number
  versionId?: string | undefined
  owner?: string | undefined
  organization?: string | undefined
  upsert?: boolean | undefined
}

/** In characters. A name of 1024 bytes needs about a third of it; anything longer is not worth a hash. */
const MAX_TOKEN_LENGTH = 8192

/** The last moment a JavaScript `Date` can name, in seconds. */
const MAX_TIME_SECONDS = 8_640_000_000_000

/** An unknown `kid` is allowed, an unknown `crit` must not be (RFC 7515 §4.1.11). */
const headerSchema = z.object({
  alg: z.literal('HS256'),
  kid: z.string().optional(),
  crit: z.never().optional(),
})

/**
 * Makes a token, and says when it will cease to work (a whole second, for `expires_at` and `Expires`).
 *
 * @throws InvalidParameter when the lifetime is no positive number of seconds, or the token would be too long
 */
export function signUrlToken(grant: UrlGrant, secret: string, now: Date): { token: string; expiresAt: Date } {
  const iat = Math.floor(now.getTime() / 1000)
  const exp = iat + grant.expiresInSeconds
  if (!Number.isInteger(grant.expiresInSeconds) || grant.expiresInSeconds < 1 || exp > MAX_TIME_SECONDS) {
    throw new StorageError('InvalidParameter', { message: 'expiresIn must be a positive number of seconds' })
  }
  const claims: UrlClaims = {
    url: urlOf(grant),
    ...(grant.bucketUid !== undefined && { bucket_uid: grant.bucketUid }),
    scope: grant.scope,
    ...(grant.versionId !== undefined && { versionId: grant.versionId }),
    ...(grant.owner !== undefined && { owner: grant.owner }),
    ...(grant.organization !== undefined && { organization: grant.organization }),
    ...(grant.upsert !== undefined && { upsert: grant.upsert }),
    iat,
    exp,
  }
  const header = { alg: 'HS256', typ: 'JWT', kid: keyId(secret) }
  const signed = `${encodeJson(header)}.${encodeJson(claims)}`
  const token = `${signed}.${sign(signed, secret)}`
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new StorageError('InvalidParameter', { message: 'The signed URL would be too long' })
  }
  return { token, expiresAt: new Date(exp * 1000) }
}

/**
 * Reads a token that must be for exactly `wanted`.
 *
 * @param secrets the current one, then those that are still honoured after a rotation
 * @throws InvalidJWT when it is malformed, altered, or signed with no secret of ours
 * @throws ExpiredToken when it is ours and its time is over
 * @throws InvalidSignature when it is for another action or object, or works until another time than the link says
 */
export function readUrlToken(token: string, wanted: UrlWanted, secrets: string[], now: Date): UrlClaims {
  // 1. The shape, before anything costs time. 43 characters are the 32 bytes of an HMAC-SHA256.
  if (token.length > MAX_TOKEN_LENGTH) throw new StorageError('InvalidJWT')
  const parts = /^([\w-]+)\.([\w-]+)\.([\w-]{43})$/.exec(token)
  if (!parts?.[1] || !parts[2] || !parts[3]) throw new StorageError('InvalidJWT')
  const [, headerPart, claimsPart, signature] = parts

  // 2. The signature. The header only chooses among our own secrets; the algorithm is not its to choose.
  const { kid } = decodeJson(headerPart, headerSchema)
  const named = secrets.filter((secret) => keyId(secret) === kid)
  const candidates = named.length > 0 ? named : secrets
  const signed = `${headerPart}.${claimsPart}`
  if (!candidates.some((secret) => isEqual(signature, sign(signed, secret)))) {
    throw new StorageError('InvalidJWT')
  }

  // 3. The claims: from here on they are our own words. None without scope or end has ever been ours.
  const claims = decodeJson(claimsPart, claimsSchema)
  if (claims.exp * 1000 <= now.getTime()) throw new StorageError('ExpiredToken')

  // 4. What it is for. Compared plainly: the bearer can read the claims, so timing tells nothing new.
  if (claims.scope !== wanted.scope) {
    throw new StorageError('InvalidSignature', {
      message: `The signed URL token has scope ${claims.scope}; expected scope ${wanted.scope}`,
    })
  }
  if (claims.url !== urlOf(wanted)) throw new StorageError('InvalidSignature')
  if (wanted.expires !== undefined && wanted.expires !== String(claims.exp)) {
    throw new StorageError('InvalidSignature', {
      message: 'The signed URL works until another time than its expires says',
    })
  }
  return claims
}

function urlOf(target: UrlTarget): string {
  return `${target.bucket}/${target.name}`
}

/** Tells our secrets apart and reveals nothing: no text that we sign looks like this label. */
function keyId(secret: string): string {
  return createHmac('sha256', secret).update('strongroom signed url key id').digest('hex').slice(0, 8)
}

function sign(text: string, secret: string): string {
  return createHmac('sha256', secret).update(text).digest('base64url')
}

/** As texts, not bytes: four spellings of the last base64url character decode to the same bytes. */
function isEqual(given: string, expected: string): boolean {
  return given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected))
}

function encodeJson(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decodeJson<T>(part: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(parseJson(Buffer.from(part, 'base64url').toString()))
  } catch (cause) {
    throw new StorageError('InvalidJWT', { cause })
  }
}
