import { z } from 'zod'
import type { Database } from '../../database/connection/client.ts'
import { ownersOf } from '../../database/queries/links.ts'
import { uuidV7 } from '../../lib/uuid.ts'
import type { Caller, Identity } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { SecretSeal } from '../credentials/secret-seal.ts'
import { isStorableText } from '../object/object-name.ts'
import { checkExpiry, type SignedUrl, signedBy } from './signed-urls.ts'
import type { LinkLimits, UrlClaims } from './url-token.ts'

export interface SignedFoldersOptions {
  database: Pick<Database, 'read'>
  seal: SecretSeal
  /** Those that a token may name: fewer may be allowed than when a link was made. */
  roles: string[]
  /** The current secret, then those still honoured after a rotation. */
  secrets: [current: string, ...previous: string[]]
  /** The longest life of a link, in seconds. */
  maxExpirySeconds: number
  now: () => Date
}

/** How a link to all that is below a folder is made. */
export interface FolderOptions {
  expiresInSeconds: number
  /** Whether its bearer learns what is in it. */
  mayList: boolean
  limits?: LinkLimits | undefined
}

/** Links to all that is below a folder, as their signer sees it when they are used (decision 0075). */
export class SignedFolders {
  readonly #options: SignedFoldersOptions

  constructor(options: SignedFoldersOptions) {
    this.#options = options
  }

  /**
   * A link in the caller's name: who he is, with all that his token says, is in it, and nobody reads it there. His policies are
   * asked when it is used, about each object.
   *
   * @param prefix with or without the slash at its end; empty is the whole bucket
   * @throws NoSuchBucket, InvalidParameter, DatabaseUnavailable
   */
  async sign(caller: Caller, bucket: string, prefix: string, options: FolderOptions): Promise<SignedUrl> {
    const { seal, secrets, maxExpirySeconds, now } = this.#options
    const { expiresInSeconds, mayList, limits } = options
    checkExpiry(expiresInSeconds, maxExpirySeconds)
    const name = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
    const bucketUid = await this.#uidOf(bucket)
    const moment = now()
    const id = uuidV7(moment)
    const folder = { as: sealed(seal, id, caller), list: mayList }
    const grant = { scope: 'folder', bucket, name, bucketUid, expiresInSeconds, limits, folder } as const
    return signedBy(caller.subject, grant, secrets[0], moment, id)
  }

  /** In whose name the bearer reads. @throws InvalidJWT, AccessDenied when nobody may have that role any more */
  readerOf(bearer: Caller, { jti, as }: UrlClaims): Caller {
    const { seal, roles } = this.#options
    const signer = jti !== undefined && as !== undefined ? opened(seal, jti, as) : null
    if (!signer) throw new StorageError('InvalidJWT')
    if (!roles.includes(signer.role)) {
      throw new StorageError('AccessDenied', {
        message: 'The role of the signer is not one that callers may have',
      })
    }
    return { ...bearer, ...signer }
  }

  /** Whether the bucket is the one that was meant. @throws NoSuchBucket, DatabaseUnavailable */
  async checkBucket(bucket: string, { bucket_uid: meant }: UrlClaims): Promise<void> {
    if ((await this.#uidOf(bucket)) !== meant) throw new StorageError('NoSuchBucket')
  }

  async #uidOf(bucket: string): Promise<string> {
    const owners = isStorableText(bucket) ? await ownersOf(this.#options.database, bucket, '') : null
    if (!owners) throw new StorageError('NoSuchBucket')
    return owners.bucketUid
  }
}

const signerSchema = z.object({
  role: z.string(),
  subject: z.string().nullable(),
  claims: z.record(z.string(), z.unknown()),
})

/** Who has signed it, so that only the servers read that, and of this link alone. */
function sealed(seal: SecretSeal, linkId: string, { role, subject, claims }: Identity): string {
  return seal.seal(purposeOf(linkId), JSON.stringify({ role, subject, claims }))
}

/** Null for what was sealed for another link, or with a secret that counts no more. */
function opened(seal: SecretSeal, linkId: string, text: string): Identity | null {
  const said = seal.open(purposeOf(linkId), text)
  return said === null ? null : { ...signerSchema.parse(JSON.parse(said)), token: '' }
}

function purposeOf(linkId: string): string {
  return `signed folder ${linkId}`
}
