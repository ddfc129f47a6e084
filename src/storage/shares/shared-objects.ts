import type { Database } from '../../database/connection/client.ts'
import {
  endShare,
  findShare,
  type SharePermissions,
  type ShareRow,
  useShare,
} from '../../database/queries/shares.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { FileStorage } from '../file-storage.ts'
import type { SignedUrl, SignedUrls } from '../links/signed-urls.ts'
import type { StoredObject } from '../object/stored-object.ts'
import { AccessTotals } from './access-totals.ts'
import { SecretChecks } from './secret-checks.ts'
import { SHARE_ID } from './share-secrets.ts'

export interface SharedObjectsOptions {
  database: Database
  files: FileStorage
  urls: Pick<SignedUrls, 'issue'>
  /** The longest life of a signed URL, in seconds. */
  maxExpirySeconds: number
}

/** What somebody with the link brings. */
export interface ShareAccess {
  id: string
  /** Of a share without a password. */
  token: string | undefined
  password: string | undefined
}

/** What he gets. */
export interface SharedObject {
  share: ShareRow
  object: StoredObject
  /** Null where none was issued. */
  url: SignedUrl | null
}

interface Opened {
  share: ShareRow
  object: StoredObject
  bucketUid: string
}

/** How long an issued URL works at the most, in seconds. */
const URL_SECONDS = 900

/** The coordinator for whoever has a share's link: each public method is one operation (docs/shares.md, decision 0076). */
export class SharedObjects {
  readonly #options: SharedObjectsOptions
  readonly #checks: SecretChecks
  /** What became of attempts to use one. */
  readonly totals = new AccessTotals()

  constructor(options: SharedObjectsOptions) {
    this.#options = options
    this.#checks = new SecretChecks(options.database)
  }

  /**
   * What is shared, for whoever has the secret, with a URL to download it where the share lets him: that is a download.
   *
   * @param isInfo no URL, and nothing is counted
   * @throws NoSuchShare, ShareSecretRequired, InvalidShareSecret, TooManyShareSecrets, ShareExhausted, ShareForbids, NoSuchKey
   */
  access(caller: Caller, access: ShareAccess, { isInfo }: { isInfo: boolean }): Promise<SharedObject> {
    return this.totals.of(this.#access(caller, access, isInfo))
  }

  async #access(caller: Caller, access: ShareAccess, isInfo: boolean): Promise<SharedObject> {
    const opened = await this.#open(caller, access, 'view')
    if (!isInfo && opened.share.permissions.download) return this.#issue(caller, opened)
    if (!isInfo) await this.#use(caller, opened.share, false)
    return { ...opened, url: null }
  }

  /** A URL to download it: that is a download. @throws as `access` */
  download(caller: Caller, access: ShareAccess, { isInfo }: { isInfo: boolean }): Promise<SharedObject> {
    return this.totals.of(this.#download(caller, access, isInfo))
  }

  async #download(caller: Caller, access: ShareAccess, isInfo: boolean): Promise<SharedObject> {
    const opened = await this.#open(caller, access, 'download')
    return isInfo ? { ...opened, url: null } : this.#issue(caller, opened)
  }

  /**
   * Deletes what is shared, in the sharer's name: his policies decide. That ends the share.
   *
   * @throws as `access`, and as `FileStorage.remove`
   */
  deleteFile(caller: Caller, access: ShareAccess): Promise<Pick<SharedObject, 'object'>> {
    return this.totals.of(this.#delete(caller, access))
  }

  async #delete(caller: Caller, access: ShareAccess): Promise<Pick<SharedObject, 'object'>> {
    const { share, object } = await this.#open(caller, access, 'delete')
    const { share_id: id, sharer_role: role, shared_by: subject, sharer_claims: claims } = share
    const { bucket, name, version } = object
    const sharer = { ...withoutSecrets(caller), role, subject, claims, token: '' }
    // It alone, and not what another may have put in its place by now.
    await this.#options.files.remove(sharer, bucket, name, { isVersion: version ?? '' })
    await endShare(this.#options.database, id, caller.operation)
    return { object }
  }

  /** Steps 1 to 5 of docs/shares.md: the first that fails is what is told. */
  async #open(
    caller: Caller,
    { id, token, password }: ShareAccess,
    right: keyof SharePermissions,
  ): Promise<Opened> {
    const { database, files } = this.#options
    // 1. There is such a share, and it is not over.
    const share = SHARE_ID.test(id) ? await findShare(database, id) : null
    if (!share?.is_active || share.seconds_left < 1) throw new StorageError('NoSuchShare')

    // 2. The secret. Whom it is for needs none.
    const isRecipient = caller.subject !== null && caller.subject === share.shared_with
    if (!isRecipient) {
      const sent = share.password_hash === null ? token : password
      if (sent === undefined) throw new StorageError('ShareSecretRequired')
      await this.#checks.check(share, sent)
    }

    // 3. There is a download left. 4. It is allowed.
    const { max_downloads: most, download_count: count } = share
    if (most !== null && count >= most) throw new StorageError('ShareExhausted')
    if (!share.permissions[right]) throw new StorageError('ShareForbids')

    // 5. The object is there.
    const { bucket, name } = share
    if (bucket === null || name === null) throw new StorageError('NoSuchKey')
    const found = await files.find(withoutSecrets(caller), { access: 'signed', bucket, name })
    if (found.object.id !== share.object_id) throw new StorageError('NoSuchKey')
    return { share, object: found.object, bucketUid: found.bucketUid }
  }

  /** It is counted before anything is given away. */
  async #issue(caller: Caller, opened: Opened): Promise<SharedObject> {
    const { urls, maxExpirySeconds } = this.#options
    const { share, object, bucketUid } = opened
    const used = await this.#use(caller, share, true)
    const { bucket, name } = object
    const url = await urls.issue(
      { subject: share.shared_by },
      { bucket, name, bucketUid },
      {
        expiresInSeconds: Math.min(URL_SECONDS, share.seconds_left, maxExpirySeconds),
        limits: { share: share.share_id },
      },
    )
    return { share: used, object, url }
  }

  async #use({ operation }: Caller, share: ShareRow, isCounted: boolean): Promise<ShareRow> {
    const use = { share: share.share_id, isCounted, operation }
    const count = await useShare(this.#options.database, use)
    if (count === null) throw new StorageError(isCounted ? 'ShareExhausted' : 'NoSuchShare')
    return { ...share, download_count: count }
  }
}

/** What the database is told of a request is read by policies, and may get into its log: no secret of a share does. */
function withoutSecrets(caller: Caller): Caller {
  return { ...caller, path: caller.path.split('?', 1)[0] ?? '', headers: {} }
}
