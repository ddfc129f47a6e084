import type { Database } from '../../database/connection/client.ts'
import { visibleNames } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import { organizationOf } from '../../model/organization.ts'
import type { FileStorage } from '../file-storage.ts'
import { isStorableText } from '../object/object-name.ts'
import type { Stored } from '../writing/commit.ts'
import type { UploadContent } from '../writing/upload-request.ts'
import { readUrlToken, signUrlToken, type UrlClaims, type UrlGrant, type UrlWanted } from './url-token.ts'

export interface SignedUrlsOptions {
  database: Database
  files: FileStorage
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
  expiresAt: Date
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

/** Makes signed URLs for those whom the policies allow, and honours them (design §7). */
export class SignedUrls {
  readonly #options: SignedUrlsOptions

  constructor(options: SignedUrlsOptions) {
    this.#options = options
  }

  /**
   * @param versionId of another version than what is there now
   * @throws NoSuchBucket, NoSuchKey or NoSuchVersion when the caller may not see it, InvalidParameter
   */
  async signDownload(
    caller: Caller,
    bucket: string,
    name: string,
    expiresInSeconds: number,
    versionId?: string,
  ): Promise<SignedUrl> {
    this.#checkExpiry(expiresInSeconds)
    const version = versionId === undefined ? undefined : { id: versionId }
    const { bucketUid } = await this.#options.files.find(caller, { access: 'policy', bucket, name, version })
    return this.#sign({ bucket, name, bucketUid, expiresInSeconds, versionId })
  }

  /** In the order asked; null for what the caller may not see. @throws InvalidParameter */
  async signDownloads(
    caller: Caller,
    bucket: string,
    names: string[],
    expiresInSeconds: number,
  ): Promise<(SignedUrl | null)[]> {
    this.#checkExpiry(expiresInSeconds)
    const { database } = this.#options
    const visible = await visibleNames(database, caller, bucket, names.filter(isStorableText))
    return names.map((name) => {
      const bucketUid = visible.get(name)
      return bucketUid === undefined ? null : this.#sign({ bucket, name, bucketUid, expiresInSeconds })
    })
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
    const [secret] = this.#options.secrets
    const expiresInSeconds = Math.min(UPLOAD_SECONDS, this.#options.maxExpirySeconds)
    const grant = { scope: 'upload', bucket, name, bucketUid, upsert, expiresInSeconds } as const
    const owner = caller.subject ?? undefined
    const organization = organizationOf(caller.claims) ?? undefined
    const signed = signUrlToken({ ...grant, owner, organization }, secret, this.#options.now())
    return { bucket, name, ...signed }
  }

  /**
   * Checks a download token. Whoever holds one needs no policy.
   *
   * @throws InvalidJWT, ExpiredToken, InvalidSignature
   */
  checkDownload(token: string, bucket: string, name: string, expires?: string): UrlClaims {
    return this.#read(token, { scope: 'download', bucket, name, expires })
  }

  /**
   * Checks an upload token. Nothing of a body may be read before: anyone can send one.
   *
   * @throws InvalidJWT, ExpiredToken, InvalidSignature
   */
  checkUpload(token: string, bucket: string, name: string, expires?: string): UploadGrant {
    const claims = this.#read(token, { scope: 'upload', bucket, name, expires })
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

  /** Links that were made before the limit was set keep the life that they were promised. @throws InvalidParameter */
  #checkExpiry(expiresInSeconds: number): void {
    const { maxExpirySeconds } = this.#options
    if (expiresInSeconds <= maxExpirySeconds) return
    throw new StorageError('InvalidParameter', {
      message: `expiresIn must be at most ${maxExpirySeconds} seconds (STORAGE_MAX_SIGNED_EXPIRY)`,
    })
  }

  #sign(target: Omit<UrlGrant, 'scope'>): SignedUrl {
    const [secret] = this.#options.secrets
    const { bucket, name } = target
    return { bucket, name, ...signUrlToken({ ...target, scope: 'download' }, secret, this.#options.now()) }
  }
}
