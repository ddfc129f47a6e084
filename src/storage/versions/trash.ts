import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import {
  deleteTrash,
  emptyTrash,
  listTrash,
  type Purged,
  restoreTrash,
  type TrashEntry,
  type TrashedObject,
  type TrashTarget,
} from '../../database/queries/trash.ts'
import { UUID } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { SecretSeal } from '../credentials/secret-seal.ts'
import { type Change, type Invalidate, withInvalidation } from '../object/changes.ts'
import { isStorableText, type NameRules, parseObjectName } from '../object/object-name.ts'
import { removeBytes } from '../writing/byte-removal.ts'
import { asUploadError } from '../writing/commit.ts'
import { decodePlace, encodePlace } from './trash-cursor.ts'

export interface TrashOptions {
  database: Database
  backend: Backend
  logger: Logger
  invalidate: Invalidate
  nameRules: NameRules
  /** For places that clients hand back. */
  seal: SecretSeal
}

export interface TrashPageRequest {
  bucket: string | undefined
  prefix: string
  /** The subject of who has deleted it. */
  deletedBy: string | undefined
  /** `next` of the page before. */
  cursor: string | undefined
  limit: number
}

export interface RestoreOptions {
  /** Another name in the same bucket. */
  to?: string | undefined
  /** Whether what has the name gives way. */
  overwrite: boolean
}

/** What became of several, each as if it were alone. */
export interface RestoredEach {
  restored: TrashedObject[]
  failed: { id: string; error: StorageError }[]
}

const BATCH = 500

/** The coordinator for the trash: each public method is one operation (docs/versions.md). */
export class Trash {
  /** How much this process has removed for good. */
  purged = 0
  readonly #options: TrashOptions

  constructor(options: TrashOptions) {
    this.#options = options
  }

  /**
   * A page of what the caller may see, by bucket, name and age. It may have fewer entries than it might, or none, though there are
   * more behind them.
   *
   * @throws InvalidParameter when the cursor is not one of ours; TooManyQuestions, DatabaseTimeout
   */
  async list(
    caller: Caller,
    asker: string,
    { bucket, prefix, deletedBy, cursor, limit }: TrashPageRequest,
  ): Promise<{ entries: TrashEntry[]; next: string | null }> {
    const after = cursor === undefined ? null : decodePlace(this.#options.seal, cursor)
    const texts = [bucket, prefix, deletedBy].filter((text) => text !== undefined)
    if (!texts.every(isStorableText)) return { entries: [], next: null }
    const query = { bucket: bucket ?? null, prefix, deletedBy: deletedBy ?? null, after, limit }
    const { entries, end } = await this.#options.database.questions.ask(asker, (database) =>
      listTrash(database, caller, query),
    )
    return { entries, next: end && encodePlace(this.#options.seal, end) }
  }

  /**
   * Brings one back, as it was.
   *
   * @throws NoSuchTrashItem, InvalidKey, KeyAlreadyExists, ObjectLocked; AccessDenied, also when the caller may not replace what has the name
   */
  async restore(
    caller: Caller,
    target: TrashTarget,
    { to, overwrite }: RestoreOptions,
  ): Promise<TrashedObject> {
    const { database, nameRules } = this.#options
    const name = to === undefined ? null : parseObjectName(to, nameRules)
    const wanted = parseTarget(target)
    // Until the answer says it: a commit whose answer is lost may have brought back anything that is meant.
    const changes: Change[] = [
      'id' in wanted
        ? { bucket: null, names: null }
        : { bucket: wanted.bucket, names: [name ?? wanted.name] },
    ]
    const commit = async () => {
      const done = await restoreTrash(database, caller, wanted, { to: name, overwrite })
      if (done === null) throw new StorageError('NoSuchTrashItem')
      if (done === 'taken') throw new StorageError('KeyAlreadyExists')
      if (done === 'kept') throw new StorageError('AccessDenied')
      changes[0] = { bucket: done.object.bucket, names: [done.object.name] }
      return done
    }
    try {
      const { object, removals } = await withInvalidation(this.#options, changes, commit)
      await removeBytes(this.#options, removals)
      return object
    } catch (error) {
      throw asUploadError(error)
    }
  }

  /** Brings several back, each as if it were alone. */
  async restoreEach(caller: Caller, ids: string[], options: RestoreOptions): Promise<RestoredEach> {
    const done: RestoredEach = { restored: [], failed: [] }
    for (const id of new Set(ids)) {
      try {
        done.restored.push(await this.restore(caller, { id }, options))
      } catch (error) {
        if (!(error instanceof StorageError) || error.status >= 500) throw error
        done.failed.push({ id, error })
      }
    }
    return done
  }

  /** Removes one for good. @throws NoSuchTrashItem, KeptByRule when the caller may see it, ObjectLocked */
  async delete(caller: Caller, id: string): Promise<Purged> {
    const target = parseTarget({ id })
    const purged = await deleteTrash(this.#options.database, caller, target.id)
    if (purged === null) throw new StorageError('NoSuchTrashItem')
    if (purged === 'kept') throw new StorageError('KeptByRule')
    this.purged++
    await removeBytes(this.#options, purged.removals)
    return purged
  }

  /**
   * Removes for good what is the caller's own, or in a bucket of his, or, for the service, anybody's; nothing that is locked. Goes
   * on to its end though the client leaves.
   *
   * @returns how much
   */
  async empty(
    caller: Caller,
    { bucket, olderThanDays }: { bucket: string | undefined; olderThanDays: number },
  ): Promise<number> {
    const { database, logger } = this.#options
    if (!isStorableText(bucket ?? '')) return 0
    let gone = 0
    for (let count = BATCH; count === BATCH; ) {
      const asked = { bucket: bucket ?? null, olderThanDays, limit: BATCH }
      const done = await emptyTrash(database, caller, asked)
      count = done.count
      gone += count
      this.purged += count
      await removeBytes(this.#options, done.removals)
    }
    if (gone > 0) logger.info({ bucket, gone, by: caller.subject }, 'the trash was emptied')
    return gone
  }
}

/** @throws NoSuchTrashItem for what nothing can be called */
function parseTarget<T extends TrashTarget>(target: T): T {
  if ('id' in target) {
    const id = target.id.toLowerCase()
    if (UUID.test(id)) return { ...target, id }
  } else if (isStorableText(target.bucket) && isStorableText(target.name)) {
    return target
  }
  throw new StorageError('NoSuchTrashItem')
}
