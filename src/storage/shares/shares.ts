import type { Database } from '../../database/connection/client.ts'
import {
  changeShare,
  createShare,
  endShare,
  endSharesOf,
  findSharable,
  findShare,
  listShares,
  type ShareChanges,
  type SharePermissions,
  type ShareRow,
} from '../../database/queries/shares.ts'
import { UUID } from '../../lib/uuid.ts'
import { type Caller, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { FileStorage } from '../file-storage.ts'
import { type IdempotentRequest, type IdempotentRequests, requestHash } from '../idempotent-requests.ts'
import { isStorableText } from '../object/object-name.ts'
import { decodeSharePlace, encodeSharePlace } from './share-cursor.ts'
import { hashPassword, hashToken, newShareId, newToken, SHARE_ID } from './share-secrets.ts'

export interface SharesOptions {
  database: Database
  files: Pick<FileStorage, 'find'>
  idempotency: Pick<IdempotentRequests, 'once'>
}

export interface ShareRequest {
  /** What is shared: an object by its id, or its name. */
  target: { id: string } | { bucket: string; path: string }
  sharedWith: string | null
  sharedWithEmail: string | null
  permissions: SharePermissions
  password: string | null
  hours: number
  maxDownloads: number | null
}

/** What is changed of one; undefined stays. */
export interface ShareChange {
  hours?: number | undefined
  maxDownloads?: number | null | undefined
  permissions?: Partial<SharePermissions> | undefined
  /** Null: a token is made instead. */
  password?: string | null | undefined
}

/** With the token where one was made: it is told this once. */
export interface SharedWithToken {
  share: ShareRow
  token: string | null
}

export interface SharePageRequest {
  objectId: string | undefined
  active: boolean | undefined
  /** Those that are shared with the caller, instead of those that he shares. */
  isWithMe: boolean
  /** `next` of the page before. */
  cursor: string | undefined
  limit: number
}

/** What makes a share the same when it is made again. */
interface ShareNote {
  id: string
  token: string | null
}

/** Active ones that one user may have, so that nobody fills the table. */
const MOST_OF_ONE = 10_000

/** Ended at a time. */
const BATCH = 500

/** The coordinator for who shares: each public method is one operation (docs/shares.md, decision 0076). */
export class Shares {
  readonly #options: SharesOptions

  constructor(options: SharesOptions) {
    this.#options = options
  }

  /**
   * Shares an object with whoever has the link and its secret.
   *
   * @param once by which the same request is told the same share again
   * @throws NoSuchBucket, NoSuchKey when the caller does not see it, AccessDenied when it is another's, TooManyShares, and as
   *   `IdempotentRequests.once`
   */
  async create(
    caller: Caller,
    request: ShareRequest,
    once: Pick<IdempotentRequest<ShareNote, ShareNote>, 'key' | 'who' | 'isService'>,
  ): Promise<SharedWithToken & { isReplay: boolean }> {
    const { database, idempotency } = this.#options
    const hash = requestHash('share', request)
    let made: ShareRow | null = null
    const { answer: note, isReplay } = await idempotency.once<ShareNote, ShareNote>({
      ...once,
      request: hash,
      note: () => ({ id: newShareId(), token: request.password === null ? newToken() : null }),
      work: async (note, isAgain) => {
        made = isAgain ? await findShare(database, note.id) : null
        made ??= await this.#create(caller, request, note)
        return { answer: note, request: hash }
      },
    })
    const share = made ?? (await findShare(database, note.id))
    if (!share) throw new StorageError('NoSuchShare')
    return { share, token: note.token, isReplay }
  }

  async #create(caller: Caller, request: ShareRequest, note: ShareNote): Promise<ShareRow> {
    const { database } = this.#options
    const objectId = await this.#requireOwner(caller, request.target)
    const { password } = request
    const { id, token } = note
    const share = await createShare(
      database,
      {
        share_id: id,
        object_id: objectId,
        shared_by: caller.subject,
        sharer_role: caller.role,
        sharer_claims: caller.claims,
        shared_with: request.sharedWith,
        shared_with_email: request.sharedWithEmail,
        permissions: request.permissions,
        password_hash: password === null ? null : await hashPassword(password),
        token_hash: token && hashToken(token),
        max_downloads: request.maxDownloads,
      },
      { hours: request.hours, most: MOST_OF_ONE, operation: caller.operation },
    )
    if (!share) throw new StorageError('TooManyShares')
    return share
  }

  /** A page of the caller's own, or of those with him, newest first; for the service of all. @throws InvalidParameter */
  async list(
    caller: Caller,
    { objectId, active, isWithMe, cursor, limit }: SharePageRequest,
  ): Promise<{ shares: ShareRow[]; next: string | null }> {
    const after = cursor === undefined ? null : decodeSharePlace(cursor)
    const { subject } = caller
    const isService = caller.role === 'service_role'
    if (subject === null && (isWithMe || !isService)) return { shares: [], next: null }
    const found = await listShares(this.#options.database, {
      sharer: isService || isWithMe ? null : subject,
      recipient: isWithMe ? subject : null,
      objectId: objectId ?? null,
      active: active ?? null,
      after,
      limit: limit + 1,
    })
    const shares = found.slice(0, limit)
    const last = shares.at(-1)
    return { shares, next: found.length > limit && last ? encodeSharePlace(last) : null }
  }

  /** For who manages it. @throws NoSuchShare for others, too */
  async get(caller: Caller, id: string): Promise<ShareRow> {
    const share = SHARE_ID.test(id) ? await findShare(this.#options.database, id) : null
    if (!share || !mayManage(caller, share)) throw new StorageError('NoSuchShare')
    return share
  }

  /** @throws NoSuchShare when it is over, and for who does not manage it */
  async change(caller: Caller, id: string, change: ShareChange): Promise<SharedWithToken> {
    const share = await this.get(caller, id)
    const { hours, maxDownloads, permissions, password } = change
    const token = password === null ? newToken() : null
    const changes: ShareChanges = {}
    if (maxDownloads !== undefined) changes.max_downloads = maxDownloads
    if (permissions !== undefined) changes.permissions = { ...share.permissions, ...permissions }
    if (password !== undefined) {
      changes.password_hash = password === null ? null : await hashPassword(password)
      changes.token_hash = token && hashToken(token)
    }
    const changed = await changeShare(this.#options.database, id, changes, hours ?? null)
    if (!changed) throw new StorageError('NoSuchShare')
    return { share: changed, token }
  }

  /** Ends one, and the URLs that it has issued. Twice is once. @throws NoSuchShare for who does not manage it */
  async revoke(caller: Caller, id: string): Promise<ShareRow> {
    const share = await this.get(caller, id)
    await endShare(this.#options.database, id, caller.operation)
    return share
  }

  /** Ends all of a sharer. Returns how many. @throws RoleNotAllowed */
  async revokeAllOf(caller: Caller, sharer: string): Promise<number> {
    requireService(caller)
    const { database } = this.#options
    const { operation } = caller
    let count = 0
    for (;;) {
      const ended = await endSharesOf(database, { sharer, most: BATCH, operation })
      count += ended
      if (ended < BATCH) return count
    }
  }

  /** @returns the id of what he may share */
  async #requireOwner(caller: Caller, target: ShareRequest['target']): Promise<string> {
    const { database, files } = this.#options
    const isPossible =
      'id' in target ? UUID.test(target.id) : isStorableText(target.bucket) && isStorableText(target.path)
    const found = isPossible ? await findSharable(database, target) : null
    if (found && caller.role === 'service_role') return found.objectId
    // By the policies, whether he sees it, and why not.
    const place = found ?? ('id' in target ? null : { bucket: target.bucket, name: target.path })
    if (!place) throw new StorageError('NoSuchKey')
    const { bucket, name } = place
    const { object } = await files.find(caller, { access: 'policy', bucket, name })
    if (object.id !== found?.objectId) throw new StorageError('NoSuchKey')
    const { subject } = caller
    const isOwner = subject !== null && (found.owner === subject || found.bucketOwner === subject)
    if (!isOwner) {
      throw new StorageError('AccessDenied', {
        message: 'An object is shared by its owner, or by that of its bucket',
      })
    }
    return object.id
  }
}

function mayManage({ role, subject }: Caller, { shared_by, bucket_owner }: ShareRow): boolean {
  return role === 'service_role' || (subject !== null && (shared_by === subject || bucket_owner === subject))
}
