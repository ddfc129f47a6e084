import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from '../../database/connection/client.ts'
import { ownersOf, revokeLinks } from '../../database/queries/links.ts'
import { type Caller, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { FileStorage } from '../file-storage.ts'
import { isStorableText } from '../object/object-name.ts'
import { EVERY_LINK, linkKey, objectKey, signerKey, signerOf } from './revocation-keys.ts'
import type { Revocations } from './revocations.ts'
import { openUrlToken, type UrlClaims, urlOf } from './url-token.ts'

export interface LinkRevokerOptions {
  database: Database
  files: FileStorage
  revocations: Revocations
  /** The current secret, then those still honoured after a rotation. */
  secrets: [current: string, ...previous: string[]]
  /** The longest life of a link, in seconds. */
  maxExpirySeconds: number
  now: () => Date
}

/** Which signed URLs are to end: those that all of it is true of, and that were signed up to a moment. */
export interface RevokeRequest {
  /** One, by itself. */
  token?: string | undefined
  id?: string | undefined
  /** Of one object, or of a folder as such. */
  object?: { bucket: string; name: string } | undefined
  /** Of those whom this one has signed for. */
  subject?: string | undefined
  /** Undefined is now. */
  before?: Date | undefined
}

/** What was taken back. */
export interface Revoked {
  moment: Date
  /** Of the one, where it was one. */
  id?: string | undefined
  object?: { bucket: string; name: string } | undefined
}

/** That one who is not the service may have taken back at a time, so that nobody fills tables and memories. */
const MOST_OF_ONE = 10_000

/** No link has ever been promised a longer life by default: what is taken back is remembered so long. In milliseconds. */
const LONGEST_LIFE_MS = 3650 * 24 * 60 * 60 * 1000

/** Takes signed URLs back (decision 0075). */
export class LinkRevoker {
  readonly #options: LinkRevokerOptions
  /** How often something was taken back. */
  revoked = 0

  constructor(options: LinkRevokerOptions) {
    this.#options = options
  }

  /**
   * Ends links. When it returns this server knows, and the others do within a second.
   *
   * @throws InvalidParameter for what goes together with nothing; InvalidJWT, ExpiredToken of a token; NoSuchBucket, NoSuchKey,
   *   AccessDenied, RoleNotAllowed for who may not; TooManyRevocations
   */
  async revoke(caller: Caller, request: RevokeRequest): Promise<Revoked> {
    const { database, revocations, now } = this.#options
    const asked = now()
    const { keys, ends = this.#longest(asked), ...about } = await this.#judge(caller, request)
    const moment = request.before ?? asked
    if (moment > asked) {
      throw new StorageError('InvalidParameter', { message: 'before must not be in the future' })
    }
    const revoker = caller.role === 'service_role' ? null : caller.subject
    const told = {
      link_id: about.id ?? null,
      bucket: about.object?.bucket ?? null,
      path: about.object?.name ?? null,
      subject: request.subject ?? null,
      before: moment.toISOString(),
      revoked_by: caller.subject,
    }
    const isDone = await revokeLinks(database, { keys, moment, ends, told, revoker, most: MOST_OF_ONE })
    if (!isDone) throw new StorageError('TooManyRevocations')
    await revocations.learn()
    // What is signed from here on is later.
    if (now().getTime() === asked.getTime()) await delay(1)
    this.revoked++
    return { moment, ...about }
  }

  /** Whether he may, and by which keys. */
  async #judge(
    caller: Caller,
    { token, id, object, subject, before }: RevokeRequest,
  ): Promise<Omit<Revoked, 'moment'> & { keys: string[]; ends?: Date }> {
    const { secrets, now } = this.#options
    const named = [token, id ?? object, subject].filter((one) => one !== undefined)
    if (named.length > 1 || ((token ?? id) !== undefined && before !== undefined)) {
      throw new StorageError('InvalidParameter', {
        message:
          'Say one of token, id (with bucket and path), bucket and path, or subject; the latter two, or nothing, with before',
      })
    }
    if (token !== undefined) return this.#judgeToken(caller, openUrlToken(token, secrets, now()))
    if (object !== undefined) {
      await this.#checkOwner(caller, object)
      const url = urlOf(object)
      return { keys: [id === undefined ? objectKey(url) : linkKey(id, url)], id, object }
    }
    if (id !== undefined) {
      if (caller.role !== 'service_role') {
        throw new StorageError('InvalidParameter', {
          message: 'An id alone is for the service: send bucket and path with it, or the token',
        })
      }
      return { keys: [linkKey(id)], id }
    }
    if (subject !== undefined) {
      if (caller.subject !== subject) requireService(caller)
      return { keys: secrets.map((secret) => signerKey(signerOf(subject, secret))) }
    }
    if (before === undefined) {
      throw new StorageError('InvalidParameter', {
        message: 'Say what to revoke: token, id, bucket and path, subject, or before',
      })
    }
    requireService(caller)
    return { keys: [EVERY_LINK] }
  }

  /** One link may be taken back by whoever has signed it, too. */
  async #judgeToken(caller: Caller, { jti: id, signer, owner, url, exp }: UrlClaims) {
    if (id === undefined) {
      throw new StorageError('InvalidParameter', {
        message: 'This URL is from before they had an id: revoke those of its bucket and path',
      })
    }
    const { subject } = caller
    const isSigner =
      subject !== null &&
      (owner === subject || this.#options.secrets.some((secret) => signerOf(subject, secret) === signer))
    const slash = url.indexOf('/')
    const object = { bucket: url.slice(0, slash), name: url.slice(slash + 1) }
    if (!isSigner) await this.#checkOwner(caller, object)
    return { keys: [linkKey(id)], ends: new Date(exp * 1000), id, object }
  }

  /** @throws NoSuchBucket, NoSuchKey for what he does not see, AccessDenied for what is another's */
  async #checkOwner(caller: Caller, { bucket, name }: { bucket: string; name: string }): Promise<void> {
    const { database, files } = this.#options
    const isStorable = isStorableText(bucket) && isStorableText(name)
    const owners = isStorable ? await ownersOf(database, bucket, name) : null
    if (!owners) throw new StorageError('NoSuchBucket')
    const { role, subject } = caller
    if (role === 'service_role') return
    if (subject !== null && (owners.bucket === subject || owners.object === subject)) return
    await files.find(caller, { access: 'policy', bucket, name })
    throw new StorageError('AccessDenied', {
      message:
        'Signed URLs are revoked by the owner of the object, that of its bucket, or who has signed them',
    })
  }

  #longest(from: Date): Date {
    const lifeMs = Math.max(this.#options.maxExpirySeconds * 1000, LONGEST_LIFE_MS)
    return new Date(from.getTime() + lifeMs)
  }
}
