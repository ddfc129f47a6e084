import { createHmac, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { parseJson } from '../../lib/bounded-json.ts'
import { timeOfUuidV7, UUID } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'

/**
 * Signed URLs are two pure functions: one makes a token, one reads it (design §7, wire §3.11).
 *
 * A token is a compact JWS (RFC 7515), HMAC-SHA256 over the facts in `UrlClaims`. Its key is not the one of
 * login tokens. Were somebody to configure the same for both, neither would still pass for the other: a
 * login lacks `scope` and `url`, which are demanded here, and a URL token lacks `sub` and `role`, so it is
 * at most an anonymous login.
 */

/**
 * What the bearer of a token may do. `limited` is a download under conditions that the token names: servers from before
 * these do not know the word, and refuse it. The same goes for `folder`, which is of all that is below one.
 */
export type UrlScope = (typeof SCOPES)[number]

const SCOPES = ['download', 'limited', 'folder', 'upload', 'render'] as const

/** What a download may be limited by. */
const limits = {
  /** How often it may be downloaded. */
  max_downloads: z.int().min(1).exactOptional(),
  /** From where: networks, as `parseNetwork` writes them. */
  allowed_ip: z.array(z.string()).exactOptional(),
  /** The header of the answer, whatever the link says. */
  disposition: z.string().exactOptional(),
  /** The share that has issued it, which has to be active. */
  share: z.string().exactOptional(),
}

/** Of a token, as it travels. */
export type LinkLimits = z.infer<z.ZodObject<typeof limits>>

/** What a token binds, as it travels. Times are whole seconds since 1970. */
export type UrlClaims = z.infer<typeof claimsSchema>

const claimsSchema = z.object({
  /** `<bucket>/<name>`, decoded. A bucket has no slash in its name, so the first one divides the two. */
  url: z.string(),
  /** Of the bucket that was signed for: one that is made again under its name is another. Old tokens lack it. */
  bucket_uid: z.string().exactOptional(),
  scope: z.enum(SCOPES),
  /** By which it can be taken back; a UUID that says when it was signed, to the millisecond. Old tokens lack it. */
  jti: z.string().regex(UUID).exactOptional(),
  /** Who has signed it, as `signerOf` says it. */
  signer: z.string().exactOptional(),
  iat: z.int(),
  exp: z.int(),
  /** Download only: the version that is meant, if it is not what is there at the time. */
  versionId: z.string().exactOptional(),
  ...limits,
  /** Folder only: in whose name it is read, sealed, and whether it may be listed. */
  as: z.string().exactOptional(),
  list: z.boolean().exactOptional(),
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
  id?: string | undefined
  signer?: string | undefined
  versionId?: string | undefined
  /** Of the scope `limited`. */
  limits?: LinkLimits | undefined
  /** Of the scope `folder`. */
  folder?: { as: string; list: boolean } | undefined
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
    ...(grant.id !== undefined && { jti: grant.id }),
    ...(grant.signer !== undefined && { signer: grant.signer }),
    ...(grant.versionId !== undefined && { versionId: grant.versionId }),
    ...(grant.owner !== undefined && { owner: grant.owner }),
    ...(grant.organization !== undefined && { organization: grant.organization }),
    ...(grant.upsert !== undefined && { upsert: grant.upsert }),
    ...grant.limits,
    ...grant.folder,
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
 * Reads a token, whatever it is for.
 *
 * @param secrets the current one, then those that are still honoured after a rotation
 * @throws InvalidJWT when it is malformed, altered, or signed with no secret of ours
 * @throws ExpiredToken when it is ours and its time is over
 */
export function openUrlToken(token: string, secrets: string[], now: Date): UrlClaims {
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
  return claims
}

/**
 * Reads a token that must be for exactly `wanted`.
 *
 * @throws as `openUrlToken`
 * @throws InvalidSignature when it is for another action or object, or works until another time than the link says
 */
export function readUrlToken(token: string, wanted: UrlWanted, secrets: string[], now: Date): UrlClaims {
  const claims = openUrlToken(token, secrets, now)
  // Compared plainly: the bearer can read the claims, so timing tells nothing new.
  if (!ALLOWED[wanted.scope].includes(claims.scope)) {
    throw new StorageError('InvalidSignature', {
      message: `The signed URL token has scope ${claims.scope}; expected scope ${wanted.scope}`,
    })
  }
  const isFor = claims.scope === 'folder' ? isBelow(claims.url, wanted) : claims.url === urlOf(wanted)
  if (!isFor) throw new StorageError('InvalidSignature')
  if (wanted.expires !== undefined && wanted.expires !== String(claims.exp)) {
    throw new StorageError('InvalidSignature', {
      message: 'The signed URL works until another time than its expires says',
    })
  }
  return claims
}

/**
 * When a token was signed, in milliseconds since 1970. One from before it had an id says the second alone: whatever was taken
 * back within that is taken to be later.
 */
export function signedAt({ jti, iat }: Pick<UrlClaims, 'jti' | 'iat'>): number {
  return jti === undefined ? iat * 1000 : timeOfUuidV7(jti)
}

/** Which scopes are good for what is wanted. */
const ALLOWED: Record<UrlScope, UrlScope[]> = {
  download: ['download', 'limited', 'folder'],
  limited: ['limited'],
  folder: ['folder'],
  upload: ['upload'],
  render: ['render'],
}

/** Whether something is in a folder, which ends with a slash. The bucket is told apart by the first one. */
function isBelow(folder: string, wanted: UrlTarget): boolean {
  return folder.indexOf('/') === wanted.bucket.length && urlOf(wanted).startsWith(folder)
}

/** What a token says that it is for. */
export function urlOf(target: Pick<UrlTarget, 'bucket' | 'name'>): string {
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
