import { createHmac } from 'node:crypto'
import type { Database } from '../../database/connection/client.ts'
import { visibleNames } from '../../database/queries/objects.ts'
import { isShareActive } from '../../database/queries/shares.ts'
import { isWithin } from '../../lib/ip-network.ts'
import { uuidV7 } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import { organizationOf } from '../../model/organization.ts'
import type { FileStorage } from '../file-storage.ts'
import { isStorableText } from '../object/object-name.ts'
import type { Stored } from '../writing/commit.ts'
import type { UploadContent } from '../writing/upload-request.ts'
import { keysOf, signerOf } from './revocation-keys.ts'
import type { Revocations } from './revocations.ts'
import {
  type LinkLimits,
  readUrlToken,
  signedAt,
  signUrlToken,
  type UrlClaims,
  type UrlGrant,
  type UrlWanted,
  urlOf,
} from './url-token.ts'

export interface SignedUrlsOptions {
  database: Database
  files: FileStorage
  revocations: Revocations
  /** The current secret, then those still honoured after a rotation. */
  secrets: [current: string, ...previous: string[]]
  /** The longest life of a link, in seconds. */
  maxExpirySeconds: number
  /** Whether a link that says until when it works has to be right; Supabase's says nothing, and asks nothing. */
  checksExpires: boolean
  now: () => Date
}

/** A link to one object, for one action, for a time. */
export interface SignedUrl {
  bucket: string
  name: string
  token: string
  /** By which it can be taken back. */
  id: string
  expiresAt: Date
}

/** An object that somebody may see, and so may let others see. */
export interface Signable {
  bucket: string
  name: string
  bucketUid: string
  versionId?: string | undefined
}

/** How a link to download is made. */
export interface LinkOptions {
  expiresInSeconds: number
  /** The same text for all who ask about the same time, so that caches have it once; nobody has signed it then. */
  isStable?: boolean | undefined
  limits?: LinkLimits | undefined
}

/** What an upload token allows. */
export interface UploadGrant {
  bucket: string
  name: string
  /** The `sub` of the signer, who will own the object. */
  owner: string | null
  /** Of the signer; the object will belong to it. */
  organization: string | null
  upsert: boolean
  /** The bucket that the signer meant; undefined in tokens from before they said so. */
  bucketUid: string | undefined
}

/** How long a signed upload URL works, in seconds: what hosted Supabase gives (wire §3.11). */
const UPLOAD_SECONDS = 2 * 60 * 60

/** Makes signed URLs for those whom the policies allow, and honours them (design §7, decision 0075). */
export class SignedUrls {
  readonly #options: SignedUrlsOptions
  /** How often one was refused that was taken back, or from where it may not be used. */
  readonly refused = { revoked: 0, address: 0 }

  constructor(options: SignedUrlsOptions) {
    this.#options = options
  }

  /**
   * @param object.versionId of another version than what is there now
   * @throws NoSuchBucket, NoSuchKey or NoSuchVersion when the caller may not see it, InvalidParameter, DatabaseUnavailable
   */
  async signDownload(
    caller: Caller,
    object: Omit<Signable, 'bucketUid'>,
    options: LinkOptions,
  ): Promise<SignedUrl> {
    this.#check(options)
    const { bucket, name, versionId } = object
    const version = versionId === undefined ? undefined : { id: versionId }
    const { bucketUid } = await this.#options.files.find(caller, { access: 'policy', bucket, name, version })
    return this.issue(caller, { ...object, bucketUid }, options)
  }

  /** In the order asked; null for what the caller may not see. @throws InvalidParameter, DatabaseUnavailable */
  async signDownloads(
    caller: Caller,
    bucket: string,
    names: string[],
    options: LinkOptions,
  ): Promise<(SignedUrl | null)[]> {
    this.#check(options)
    const { database } = this.#options
    const visible = await visibleNames(database, caller, bucket, names.filter(isStorableText))
    const signed: (SignedUrl | null)[] = []
    for (const name of names) {
      const bucketUid = visible.get(name)
      signed.push(
        bucketUid === undefined ? null : await this.issue(caller, { bucket, name, bucketUid }, options),
      )
    }
    return signed
  }

  /** The longest life of a link, in seconds. */
  get maxExpirySeconds(): number {
    return this.#options.maxExpirySeconds
  }

  /** A link to what the caller is known to see. @throws InvalidParameter, DatabaseUnavailable */
  async issue(
    { subject }: Pick<Caller, 'subject'>,
    object: Signable,
    options: LinkOptions,
  ): Promise<SignedUrl> {
    this.#check(options)
    const { limits, expiresInSeconds } = options
    const scope = limits === undefined ? 'download' : 'limited'
    const target = { ...object, scope, limits } as const
    if (options.isStable) return this.#signStable(target, expiresInSeconds)
    return this.#sign({ ...target, expiresInSeconds }, subject)
  }

  /**
   * A link to upload one object, in the caller's name. The policies are asked now, not when it is used.
   *
   * @throws as `FileStorage.checkUpload`
   */
  async signUpload(
    caller: Caller,
    request: {
      bucket: string
      name: string
      upsert: boolean
      contentType: string | undefined
      userMetadata: UserMetadata | undefined
    },
  ): Promise<SignedUrl> {
    const { bucket, upsert } = request
    const { name, bucketUid } = await this.#options.files.checkUpload(caller, request)
    const expiresInSeconds = Math.min(UPLOAD_SECONDS, this.#options.maxExpirySeconds)
    const grant = { scope: 'upload', bucket, name, bucketUid, upsert, expiresInSeconds } as const
    const owner = caller.subject ?? undefined
    const organization = organizationOf(caller.claims) ?? undefined
    return this.#sign({ ...grant, owner, organization }, caller.subject)
  }

  /**
   * Checks a download token. Whoever holds one needs no policy, but for one to a folder (`SignedFolders.readerOf`).
   *
   * @param from the address of who brings it
   * @throws InvalidJWT, ExpiredToken, InvalidSignature, LinkRevoked when it was, or the share that has issued it is over,
   *   AccessDenied from elsewhere than it may be used, DatabaseUnavailable
   */
  async checkDownload(
    token: string,
    wanted: Omit<UrlWanted, 'scope'> & { scope?: 'folder' | undefined },
    from: string | undefined,
  ): Promise<UrlClaims> {
    const claims = this.#read(token, { ...wanted, scope: wanted.scope ?? 'download' })
    await this.#checkRevoked(claims, urlOf(wanted))
    if (claims.allowed_ip && !isWithin(from, claims.allowed_ip)) {
      this.refused.address++
      throw new StorageError('AccessDenied', { message: 'The signed URL is not for this address' })
    }
    if (claims.share !== undefined && !(await isShareActive(this.#options.database, claims.share))) {
      this.refused.revoked++
      throw new StorageError('LinkRevoked')
    }
    return claims
  }

  /**
   * Checks an upload token. Nothing of a body may be read before: anyone can send one.
   *
   * @throws InvalidJWT, ExpiredToken, InvalidSignature, LinkRevoked, DatabaseUnavailable
   */
  async checkUpload(token: string, wanted: Omit<UrlWanted, 'scope'>): Promise<UploadGrant> {
    const claims = this.#read(token, { ...wanted, scope: 'upload' })
    await this.#checkRevoked(claims, claims.url)
    const { bucket, name } = wanted
    const { owner = null, organization = null, upsert = false, bucket_uid: bucketUid } = claims
    return { bucket, name, owner, organization, upsert, bucketUid }
  }

  /**
   * Stores what the bearer of an upload token sends, as the signer's, by the server's own right.
   *
   * @throws as `FileStorage.upload`
   */
  async upload(caller: Caller, grant: UploadGrant, content: UploadContent): Promise<Stored> {
    const { bucket, name, upsert, bucketUid } = grant
    const request = { ...content, bucket, name, upsert, bucketUid }
    return this.#options.files.upload(this.signer(caller, grant), request)
  }

  /** Who uploads with a token: the server, in the signer's name (wire §5.7). */
  signer(caller: Caller, { owner, organization }: UploadGrant): Caller {
    return {
      ...caller,
      role: 'service_role',
      subject: owner,
      isSigner: true,
      claims: {
        role: 'service_role',
        ...(owner !== null && { sub: owner }),
        ...(organization !== null && { organization_id: organization }),
      },
    }
  }

  #read(token: string, { expires, ...target }: UrlWanted): UrlClaims {
    const { secrets, checksExpires, now } = this.#options
    return readUrlToken(token, { ...target, ...(checksExpires && { expires }) }, secrets, now())
  }

  /** @param used what it is used for now */
  async #checkRevoked(claims: UrlClaims, used: string): Promise<void> {
    const { revocations, secrets } = this.#options
    const latest = revocations.latest(() => {
      const { jti: id, url, owner } = claims
      // Those to upload have always said whose they are.
      const signer = claims.signer ?? (owner === undefined ? undefined : signerOf(owner, secrets[0]))
      return keysOf({ id, url, used, signer })
    })
    const moment = typeof latest === 'object' && latest !== null ? await latest : latest
    if (moment === null || moment < signedAt(claims)) return
    this.refused.revoked++
    throw new StorageError('LinkRevoked')
  }

  /** @throws InvalidParameter */
  #check({ expiresInSeconds, isStable, limits }: LinkOptions): void {
    checkExpiry(expiresInSeconds, this.#options.maxExpirySeconds)
    if (!isStable) return
    if (limits?.max_downloads !== undefined) {
      throw new StorageError('InvalidParameter', {
        message: 'A stable URL is the same for everybody: it cannot work a number of times',
      })
    }
    if (expiresInSeconds < 2) {
      throw new StorageError('InvalidParameter', { message: 'A stable URL works for 2 seconds at least' })
    }
  }

  #sign(grant: UrlGrant, subject: string | null): SignedUrl {
    const { secrets, now } = this.#options
    return signedBy(subject, grant, secrets[0], now())
  }

  /**
   * Of a time's halves, counted from 1970, each has one text: it works until the one after the next begins, so that half of the
   * time is left at least. One that was taken back within it is followed by another, again the same for everybody.
   */
  async #signStable(grant: Omit<UrlGrant, 'expiresInSeconds'>, expiresInSeconds: number): Promise<SignedUrl> {
    const [secret] = this.#options.secrets
    const half = Math.floor(expiresInSeconds / 2)
    const window = Math.floor(this.#options.now().getTime() / 1000 / half)
    const end = (window + 2) * half
    const url = urlOf(grant)
    const facts = JSON.stringify(['stable', url, grant.bucketUid, grant.versionId, grant.limits, end])
    for (let from = window * half * 1000; ; ) {
      const random = createHmac('sha256', secret).update(`${facts}\n${from}`).digest().subarray(0, 16)
      const id = uuidV7(new Date(from), random)
      const keys = () => keysOf({ id, url, used: url, signer: undefined })
      const revoked = await this.#options.revocations.latest(keys)
      if (revoked !== null && revoked >= from) {
        from = Math.floor(revoked) + 1
        continue
      }
      const lifetime = { expiresInSeconds: end - Math.floor(from / 1000) }
      const { bucket, name } = grant
      return { bucket, name, id, ...signUrlToken({ ...grant, ...lifetime, id }, secret, new Date(from)) }
    }
  }
}

/** Links that were made before the limit was set keep the life that they were promised. @throws InvalidParameter */
export function checkExpiry(seconds: number, most: number): void {
  if (seconds <= most) return
  throw new StorageError('InvalidParameter', {
    message: `expiresIn must be at most ${most} seconds (STORAGE_MAX_SIGNED_EXPIRY)`,
  })
}

/** Signs in somebody's name; null is nobody's. */
export function signedBy(
  subject: string | null,
  grant: UrlGrant,
  secret: string,
  now: Date,
  id = uuidV7(now),
): SignedUrl {
  const signer = subject === null ? undefined : signerOf(subject, secret)
  const { bucket, name } = grant
  return { bucket, name, id, ...signUrlToken({ ...grant, id, signer }, secret, now) }
}
