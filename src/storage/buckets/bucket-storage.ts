import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import { asCaller, asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import {
  type BucketChanges,
  type BucketListQuery,
  type BucketPage,
  type BucketRow,
  type BucketStats,
  bucketHoldsAnything,
  bucketStats,
  deleteBucket,
  findBucket,
  insertBucket,
  listBuckets,
  lockBucket,
  pageOfBuckets,
  updateBucket,
  type VersionDefaults,
} from '../../database/queries/buckets.ts'
import { sayDeletion } from '../../database/queries/deletion.ts'
import { ownRemovals } from '../../database/queries/listed-versions.ts'
import { hasLocked } from '../../database/queries/object-locks.ts'
import { deleteHistory } from '../../database/queries/object-versions.ts'
import { databaseTime, deleteAnyObjects } from '../../database/queries/objects.ts'
import type { BucketPolicy } from '../../database/schema.ts'
import { SingleFlight } from '../../lib/single-flight.ts'
import { type Caller, requireService } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'
import { parsePathTemplate } from '../object/made-name.ts'
import type { NameRules } from '../object/object-name.ts'
import { removeBytes } from '../writing/byte-removal.ts'
import { bucketValidators, parseBucketName, parseFileSizeLimit, parseMimePatterns } from './bucket-rules.ts'

export interface BucketStorageOptions {
  database: Database
  backend: Backend
  logger: Logger
  /** Largest object, in bytes, whatever a bucket says. */
  maxFileSize: number
  nameRules: NameRules
  versionDefaults: VersionDefaults
  /** Whether who may not see a bucket hears that it is not empty (wire §2.3). */
  tellsOfHidden: boolean
  invalidate: Invalidate
}

/** A bucket's settings as a client sends them; undefined leaves a setting as it is, null clears it. */
export interface BucketRequest {
  /** Beats `public`, if both are given. */
  policy?: BucketPolicy | undefined
  /** Supabase's word for the policy `public`. */
  public?: boolean | undefined
  /** Bytes, or a size such as `"5MB"`. */
  fileSizeLimit?: number | string | null | undefined
  allowedMimeTypes?: string[] | null | undefined
  versioningStatus?: BucketRow['versioningStatus'] | undefined
  /** Whether versions can be locked, which is never taken back. */
  objectLock?: boolean | undefined
  /** For how many days each version is locked from when it becomes current. */
  retentionDays?: number | null | undefined
  /** 0 and null are no trash. */
  trashDays?: number | null | undefined
  /** Null is as the server's settings say; so is what is left out where versions are switched on. */
  maxVersions?: number | null | undefined
  versionRetentionDays?: number | null | undefined
  /** Null is the server's own. */
  pathTemplate?: string | null | undefined
}

export interface NewBucketRequest extends BucketRequest {
  id: string
  name: string
  type: BucketRow['type']
}

const NO_VERSIONS = { maxVersions: null, versionRetentionDays: null }

/** How many objects one transaction deletes when a bucket is emptied. */
const EMPTY_BATCH = 1000

/** After so many more it is told how far the emptying is; one of fewer is not told of. */
const TOLD_OBJECTS = 10_000

/** The coordinator for buckets: each public method is one operation (wire §2.3). */
export class BucketStorage {
  /** How much of the trash this process has removed for good, with all of a bucket. */
  purgedTrash = 0
  readonly #options: BucketStorageOptions
  readonly #database: Database
  readonly #counting = new SingleFlight<Map<string, BucketStats>>()

  constructor(options: BucketStorageOptions) {
    this.#options = options
    this.#database = options.database
  }

  /**
   * Makes a bucket that the caller owns.
   *
   * @throws InvalidBucketName, InvalidRequest, EntityTooLarge, InvalidMimeType, AccessDenied, BucketAlreadyExists,
   *   PreconditionFailed
   */
  async create(caller: Caller, request: NewBucketRequest, condition?: WriteCondition): Promise<void> {
    const { nameRules } = this.#options
    const id = parseBucketName(request.id, nameRules)
    const name = parseBucketName(request.name, nameRules)
    const { versionDefaults } = this.#options
    const settings = this.#settings(request)
    const versioningStatus = request.versioningStatus ?? (request.objectLock ? 'ENABLED' : 'DISABLED')
    const unsaid = versioningStatus === 'ENABLED' ? versionDefaults : NO_VERSIONS
    const commit = () =>
      asCaller(this.#database, caller, async (tx) => {
        await insertBucket(tx, {
          id,
          name,
          ownerId: caller.subject,
          policy: request.policy ?? (request.public ? 'public' : 'private'),
          fileSizeLimit: settings.fileSizeLimit ?? null,
          allowedMimeTypes: settings.allowedMimeTypes ?? null,
          type: request.type,
          versioningStatus,
          objectLock: request.objectLock ?? false,
          retentionDays: request.retentionDays ?? null,
          trashDays: settings.trashDays ?? 0,
          maxVersions: settings.maxVersions ?? unsaid.maxVersions,
          versionRetentionDays: settings.versionRetentionDays ?? unsaid.versionRetentionDays,
          pathTemplate: settings.pathTemplate ?? null,
        })
        demand(condition, null)
      })
    try {
      await withInvalidation(this.#options, [{ bucket: id, names: null }], commit)
    } catch (error) {
      if (!hasCode(error, 'ResourceAlreadyExists')) throw error
      if (condition) {
        const taken = await asCaller(this.#database, caller, (tx) => findBucket(tx, id))
        if (taken) demand(condition, bucketValidators(taken))
      }
      throw new StorageError('BucketAlreadyExists', { cause: error.cause })
    }
  }

  /** Finds a bucket that the caller may see. @throws NoSuchBucket when absent or hidden */
  async get(caller: Caller, id: string): Promise<BucketRow> {
    const bucket = await asCaller(this.#database, caller, (tx) => findBucket(tx, id))
    if (!bucket) throw new StorageError('NoSuchBucket')
    return bucket
  }

  /**
   * Sees to it that there is such a bucket, whoever may see it: there may be objects in it that more may see, and uploads
   * tell as much.
   *
   * @throws NoSuchBucket
   */
  async demand(id: string): Promise<BucketRow> {
    const bucket = await asService(this.#database, (tx) => findBucket(tx, id))
    if (!bucket) throw new StorageError('NoSuchBucket')
    return bucket
  }

  /** The buckets that the caller may see. @throws TooManyQuestions, DatabaseTimeout */
  list(caller: Caller, asker: string, query: BucketListQuery): Promise<BucketRow[]> {
    return this.#database.questions.ask(asker, (database) =>
      asCaller(database, caller, (tx) => listBuckets(tx, query)),
    )
  }

  /** The same, one page of them in order of their names. @throws as `list` */
  page(caller: Caller, asker: string, page: BucketPage): Promise<BucketRow[]> {
    return this.#database.questions.ask(asker, (database) =>
      asCaller(database, caller, (tx) => pageOfBuckets(tx, page)),
    )
  }

  /**
   * How much is in each bucket. For buckets that the caller was allowed to see.
   *
   * @throws TooManyQuestions, DatabaseTimeout
   */
  async stats(asker: string, ids: string[]): Promise<(id: string) => BucketStats> {
    const question = JSON.stringify([...ids].sort())
    const found = await this.#database.questions.ask(asker, (database) =>
      this.#counting.of(question, () => asService(database, (tx) => bucketStats(tx, ids))),
    )
    return (id) => found.get(id) ?? { fileCount: 0, totalSize: 0 }
  }

  /**
   * Changes the settings that are given. Objects that are in the bucket stay, whatever the new ones say.
   *
   * @throws NoSuchBucket when absent or hidden, AccessDenied, KeptByRule, InvalidRequest, EntityTooLarge, InvalidMimeType,
   *   InvalidParameter when versions cannot be switched so, ObjectLocked when a lock would be taken back, PreconditionFailed
   */
  async update(
    caller: Caller,
    id: string,
    request: BucketRequest,
    condition?: WriteCondition,
  ): Promise<void> {
    const changes: BucketChanges = this.#settings(request)
    if (request.policy !== undefined) changes.policy = request.policy
    else if (request.public !== undefined) changes.public = request.public
    if (request.versioningStatus !== undefined) changes.versioningStatus = request.versioningStatus
    if (request.objectLock !== undefined) changes.objectLock = request.objectLock
    if (request.retentionDays !== undefined) changes.retentionDays = request.retentionDays
    const commit = () =>
      asCaller(this.#database, caller, async (tx) => {
        const before = condition && (await lockBucket(tx, id))
        if (await updateBucket(tx, id, changes, this.#options.versionDefaults))
          return demand(condition, before ? bucketValidators(before) : null)
        throw new StorageError((await findBucket(tx, id)) ? 'KeptByRule' : 'NoSuchBucket')
      })
    await withInvalidation(this.#options, [{ bucket: id, names: null }], commit)
  }

  /**
   * Deletes the objects that were in the bucket when it was asked, with all versions, and returns when they are gone. The
   * original queues the work; here a bucket can be deleted right after. For the service alone, since no policy
   * is asked about the objects.
   *
   * Goes on to its end though the client leaves, or what stands before us gives up waiting; the log tells how far it is.
   * When the server stops meanwhile, what is gone is gone, and the rest is for whoever asks again.
   *
   * @throws RoleNotAllowed, NoSuchBucket, ResourceReferenced, ObjectLocked; ResourceNotEmpty when a trigger keeps objects
   */
  async empty(caller: Caller, id: string): Promise<void> {
    requireService(caller)
    const before = await asService(this.#database, async (tx) => {
      if (!(await findBucket(tx, id))) throw new StorageError('NoSuchBucket')
      return databaseTime(tx)
    })
    // Before anything goes: all of it, or nothing. What is locked from now on is kept where it is met.
    if (await hasLocked(this.#database, id)) {
      throw new StorageError('ObjectLocked', { message: 'The bucket has versions that are locked' })
    }
    const { logger } = this.#options
    for (let deleted = 0; ; ) {
      const commit = () =>
        asService(this.#database, async (tx) => {
          await sayDeletion(tx, 'purge')
          const done = await deleteAnyObjects(tx, id, before, EMPTY_BATCH)
          return { ...done, removals: await ownRemovals(tx) }
        })
      const { chosen, kept, removals } = await withInvalidation(
        this.#options,
        [{ bucket: id, names: null }],
        commit,
      )
      await removeBytes(this.#options, removals)
      const told = Math.floor(deleted / TOLD_OBJECTS)
      deleted += chosen - kept
      if (chosen === EMPTY_BATCH && kept < chosen) {
        if (Math.floor(deleted / TOLD_OBJECTS) > told)
          logger.info({ bucket: id, deleted }, 'emptying a bucket')
        continue
      }
      if (deleted >= TOLD_OBJECTS) logger.info({ bucket: id, deleted }, 'the bucket was emptied')
      if (kept === 0) return this.#emptyHistory(id, before)
      const message = 'The bucket is not empty: a trigger of the database keeps some of its objects'
      throw new StorageError('ResourceNotEmpty', { message })
    }
  }

  /** Deletes what was there before: versions, markers and the trash. Nobody has it in memory. */
  async #emptyHistory(id: string, before: string): Promise<void> {
    const { logger } = this.#options
    for (let versions = 0, trash = 0; ; ) {
      const gone = await asService(this.#database, async (tx) => {
        const done = await deleteHistory(tx, id, before, EMPTY_BATCH)
        return { ...done, removals: await ownRemovals(tx) }
      })
      this.purgedTrash += gone.trash
      await removeBytes(this.#options, gone.removals)
      const told = Math.floor((versions + trash) / TOLD_OBJECTS)
      versions += gone.count - gone.trash
      trash += gone.trash
      if (gone.count === EMPTY_BATCH) {
        if (Math.floor((versions + trash) / TOLD_OBJECTS) > told)
          logger.info({ bucket: id, versions, trash }, "emptying a bucket's history")
        continue
      }
      if (versions + trash > 0)
        logger.info({ bucket: id, versions, trash }, "the bucket's history was emptied")
      return
    }
  }

  /**
   * Deletes an empty bucket.
   *
   * @throws NoSuchBucket when absent or hidden, KeptByRule, ResourceNotEmpty, ResourceReferenced,
   *   PreconditionFailed
   */
  async delete(caller: Caller, id: string, condition?: WriteCondition): Promise<void> {
    const { tellsOfHidden } = this.#options
    if (tellsOfHidden) {
      // Wire §2.3: existence and emptiness are found by the server, before the policies are asked.
      await asService(this.#database, async (tx) => {
        if (!(await findBucket(tx, id))) throw new StorageError('NoSuchBucket')
        if (await bucketHoldsAnything(tx, id)) throw new StorageError('ResourceNotEmpty')
      })
    }
    const commit = () =>
      asCaller(this.#database, caller, async (tx) => {
        const deleted = await deleteBucket(tx, id)
        if (deleted) return demand(condition, bucketValidators(deleted))
        const isSeen = !tellsOfHidden && (await findBucket(tx, id))
        throw new StorageError(isSeen ? 'KeptByRule' : 'NoSuchBucket')
      })
    try {
      await withInvalidation(this.#options, [{ bucket: id, names: null }], commit)
    } catch (error) {
      // What keeps it is the server's to find: the caller may delete the bucket, and see none of its objects.
      const isFull =
        (hasCode(error, 'BucketReference') || hasCode(error, 'ResourceReferenced')) &&
        (await asService(this.#database, (tx) => bucketHoldsAnything(tx, id)))
      throw isFull ? new StorageError('ResourceNotEmpty', { cause: error.cause }) : error
    }
  }

  /** The settings in their stored form, checked. */
  #settings(request: BucketRequest): Omit<BucketChanges, 'policy' | 'public' | 'versioningStatus'> {
    const { fileSizeLimit, allowedMimeTypes, trashDays, maxVersions, versionRetentionDays } = request
    const { pathTemplate } = request
    const { versionDefaults } = this.#options
    return {
      ...(fileSizeLimit !== undefined && {
        fileSizeLimit: parseFileSizeLimit(fileSizeLimit, this.#options.maxFileSize),
      }),
      ...(allowedMimeTypes !== undefined && { allowedMimeTypes: parseMimePatterns(allowedMimeTypes) }),
      ...(trashDays !== undefined && { trashDays: trashDays ?? 0 }),
      ...(maxVersions !== undefined && { maxVersions: maxVersions ?? versionDefaults.maxVersions }),
      ...(versionRetentionDays !== undefined && {
        versionRetentionDays: versionRetentionDays ?? versionDefaults.versionRetentionDays,
      }),
      ...(pathTemplate !== undefined && {
        pathTemplate: pathTemplate && parsePathTemplate(pathTemplate, this.#options.nameRules),
      }),
    }
  }
}
