import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import type { ObjectChanges } from '../database/queries/change-object.ts'
import type { DeletedRow, VersionOfName } from '../database/queries/delete-objects.ts'
import type { Deletion } from '../database/queries/deletion.ts'
import { findPlace, type ReadTarget } from '../database/queries/objects.ts'
import { beginUpload } from '../database/queries/trial-writes.ts'
import { UUID } from '../lib/uuid.ts'
import type { Caller } from '../model/caller.ts'
import { hasCode, StorageError } from '../model/errors.ts'
import { newVersion } from '../model/version.ts'
import type { WantedVersion } from '../model/version-id.ts'
import { demand, type WriteCondition } from '../model/write-condition.ts'
import { checkFits } from './buckets/bucket-rules.ts'
import { type CopyRequest, storeCopy } from './copying.ts'
import { storedSample } from './detection/stored-sample.ts'
import { type ObjectName, parseObjectName } from './object/object-name.ts'
import type { StoredObject } from './object/stored-object.ts'
import {
  type DownloadTarget,
  type Found,
  ObjectReads,
  type ObjectReadsOptions,
} from './reading/object-reads.ts'
import type { Representation } from './reading/representation.ts'
import { type Arrival, arrive, checkUploadFits, completed } from './uploads/arrival.ts'
import { type NamedUpload, storeNamed } from './uploads/named-upload.ts'
import { isSmall, mayBeInline, type SmallUploadParts, storeSmall } from './uploads/small-upload.ts'
import { requireVersions } from './versions/keeping.ts'
import { moveObject, moveVersion } from './versions/moving.ts'
import { deleteEach, deleteMany, type Removed, type RemovedMany } from './writing/bulk-removal.ts'
import { removeBytes } from './writing/byte-removal.ts'
import { asUploadError, commitUpload, inUploadWords, type Stored } from './writing/commit.ts'
import { foretold } from './writing/conditional-write.ts'
import { beginWrite, whileListed } from './writing/listed-write.ts'
import { intendedWrite, uploadedObject } from './writing/new-object.ts'
import { deleteOne, type Gone } from './writing/removal.ts'
import type { MoveConditions } from './writing/renaming.ts'
import { changeAttributes, changeTags } from './writing/row-changes.ts'
import type { UploadRequest } from './writing/upload-request.ts'
import {
  type ConditionalVersion,
  deleteEachVersion,
  type RemovedVersion,
  removeVersions,
} from './writing/version-removals.ts'

/** So often what has an id may change while something is done with it. */
const MOST_TRIES = 3

export interface FileStorageOptions extends ObjectReadsOptions, SmallUploadParts {
  /** Whether who may not delete an object hears that it is there, even if he may not see it (wire §3.8). */
  tellsOfHidden: boolean
  /** How long what is deleted with `permanent: false` stays, in a bucket without a trash. In days. */
  trashDays: number
}

/** The coordinator: each public method is one operation on objects; the numbers of its steps are those of design §3. */
export class FileStorage {
  readonly #options: FileStorageOptions
  readonly #database: Database
  readonly #backend: Backend
  readonly #reads: ObjectReads

  constructor(options: FileStorageOptions) {
    this.#options = options
    this.#database = options.database
    this.#backend = options.backend
    this.#reads = new ObjectReads(options)
  }

  /**
   * Stores an object. A failure at any step leaves no row and no bytes; if the connection was lost in the commit,
   * so that nobody knows, the bytes stay until the cleanup can tell.
   *
   * @throws InvalidKey, NoSuchBucket, EntityTooLarge, InvalidMimeType, AccessDenied, KeyAlreadyExists,
   *   PreconditionFailed, TooManyUploads, StorageFull, BackendUnavailable, UploadExpired, Aborted when the body breaks
   */
  async upload(caller: Caller, sent: UploadRequest): Promise<Stored> {
    const { inlineSize, knownBuckets, recentlyAllowed } = this.#options
    let { body } = sent
    try {
      // 1. The name is legal, the bucket exists. 2. Type and size fit, before a byte is read; or the first bytes, if only they
      // can say what type it is.
      const named = { ...sent, name: this.#parseName(sent.name) }
      const { bucketUid, condition } = named
      const isForDatabase = mayBeInline(inlineSize, body)
      const isSmallFile = !isForDatabase && isSmall(this.#backend, body)
      const known = condition ? undefined : knownBuckets.get(named.bucket, bucketUid)
      const isOfUse = known && (isForDatabase || (isSmallFile && recentlyAllowed.has(caller, known.uid)))
      const { request, bucket } = await arrive(this.#options, isOfUse ? known : undefined, named)
      body = request.body

      // A condition that is false now is told before the body is sent.
      if (condition) await foretold(this.#database, caller, intendedWrite(caller, request), condition)

      if (isForDatabase || isSmallFile) {
        return await storeSmall(this.#options, caller, { request, bucket, isRemembered: bucket === known })
      }
      return await this.#storeStream(caller, { request, bucket })
    } catch (error) {
      body.discard()
      throw asUploadError(error)
    }
  }

  /** Steps 3 to 7 for a stream. */
  async #storeStream(caller: Caller, { request, bucket }: Arrival): Promise<Stored> {
    // 3. The policies allow the write; the version is on the list of those being written.
    const at = { bucket: bucket.uid, version: newVersion() }
    await beginWrite(this.#database, caller, intendedWrite(caller, request), at, request.condition)
    return whileListed(this.#options, at, async () => {
      request.body.admit()

      // 4. The bytes go under a version that no row names yet, so nobody can see them.
      const maxBytes = checkUploadFits(this.#options, { request, bucket }, null)
      const { stream, giveBack } = request.body
      const written = await this.#backend.write(at, stream, { maxBytes, giveBack })
      const late = await request.body.late(written)
      const complete = await completed(this.#options, request, late, () =>
        storedSample(this.#backend, at, written.size),
      )
      checkUploadFits(this.#options, { request: complete, bucket }, written.size)

      // 5. Row and event appear together, or neither; the version leaves the list.
      // 6. The replaced version's bytes go once that is committed.
      const object = uploadedObject(caller, complete, at, written, this.#options.now())
      return commitUpload(this.#options, caller, object, request)
    })
  }

  /**
   * Stores an object under a name that is made for it, by the template of its bucket.
   *
   * @returns with a hash of all that the request has said
   * @throws IdempotencyKeyReused when the same request has stored something else, and as `upload`
   */
  uploadNamed(caller: Caller, sent: NamedUpload): Promise<{ stored: Stored; request: string }> {
    return storeNamed(this.#options, this, caller, sent)
  }

  /**
   * Stores an object as another version of its name, where versions are kept.
   *
   * @throws FeatureNotEnabled where they are not, and as `upload`
   */
  async addVersion(caller: Caller, sent: Omit<UploadRequest, 'upsert'>): Promise<Stored> {
    try {
      await requireVersions(this.#database, sent.bucket)
    } catch (error) {
      sent.body.discard()
      throw error
    }
    return this.upload(caller, { ...sent, upsert: true })
  }

  /**
   * Makes what a name has now a version, and the name has the same as another one: a copy onto itself.
   *
   * @throws FeatureNotEnabled where no versions are kept; TransactionConflict when it is overwritten at the same moment, and
   *   as `copy`
   */
  async snapshot(
    caller: Caller,
    bucket: string,
    sentName: string,
    condition?: WriteCondition,
  ): Promise<Stored> {
    await requireVersions(this.#database, bucket)
    const { object } = await this.find(caller, { access: 'policy', bucket, name: sentName })
    demand(condition, object)
    const to = { bucket, name: object.name }
    const from = { ...to, version: object.version === null ? undefined : { id: object.version } }
    try {
      return await this.copy(caller, {
        from,
        to,
        upsert: true,
        condition: { ifMatch: [object.etag] },
        replace: undefined,
      })
    } catch (error) {
      if (!hasCode(error, 'PreconditionFailed')) throw error
      throw new StorageError('TransactionConflict', { cause: error })
    }
  }

  /**
   * Asks whether the caller's policies would allow an upload, without one (wire §3.11).
   *
   * @returns the name, legal, and which bucket it would be in
   * @throws as `upload` does before it reads the body
   */
  async checkUpload(
    caller: Caller,
    request: Pick<UploadRequest, 'bucket' | 'name' | 'upsert' | 'contentType' | 'userMetadata'>,
  ): Promise<{ name: ObjectName; bucketUid: string }> {
    const name = this.#parseName(request.name)
    const bucket = await this.#options.knownBuckets.find(request.bucket)
    const write = intendedWrite(caller, { ...request, name, body: { requestLength: null } })
    await inUploadWords(beginUpload(this.#database, caller, write, null))
    return { name, bucketUid: bucket.uid }
  }

  /** @throws NoSuchBucket, NoSuchKey, NoSuchVersion */
  find(caller: Caller, target: ReadTarget): Promise<Found> {
    return this.#reads.find(caller, target)
  }

  /** @throws as `ObjectReads.download` */
  download<T>(
    caller: Caller,
    target: DownloadTarget,
    send: (representation: Representation, object: StoredObject) => Promise<T>,
  ): Promise<T> {
    return this.#reads.download(caller, target, send)
  }

  /** A public object whose row and bytes are both in memory. Costs nothing. */
  inMemory(bucket: string, name: string): { object: StoredObject; bytes: Uint8Array } | undefined {
    return this.#reads.inMemory(bucket, name)
  }

  /**
   * Deletes one object; where versions are kept, by a marker, also a name that no object has, as far as the caller might upload it.
   *
   * @param permanent whether it goes for good, with all that the name had before, or can come back; else as the bucket says
   * @throws InvalidKey, NoSuchKey, KeptByRule when the caller sees it, ObjectLocked, ResourceReferenced, PreconditionFailed
   */
  async remove(
    caller: Caller,
    bucket: string,
    sentName: string,
    condition?: WriteCondition,
    permanent?: boolean,
  ): Promise<Gone> {
    const name = this.#parseName(sentName)
    const deletion = this.#deletion(permanent)
    const { removals, ...gone } = await deleteOne(this.#options, caller, bucket, name, condition, deletion)
    await removeBytes(this.#options, removals)
    return gone
  }

  /**
   * Deletes one version of a name for good, or a marker; the one before moves up, if it was what the name has now.
   *
   * @throws InvalidKey, NoSuchVersion, KeptByRule, ObjectLocked, PreconditionFailed
   */
  async removeVersion(
    caller: Caller,
    bucket: string,
    sentName: string,
    version: WantedVersion,
    condition?: WriteCondition,
  ): Promise<DeletedRow> {
    const name = this.#parseName(sentName)
    if (condition) {
      const { object } = await this.find(caller, { access: 'policy', bucket, name, version })
      demand(condition, object) // a version's bytes never change
    }
    const [outcome] = await removeVersions(this.#options, caller, bucket, [{ name, version }])
    if (outcome instanceof StorageError) throw outcome
    if (!outcome) throw new StorageError('NoSuchVersion')
    return outcome
  }

  /**
   * Deletes what there is of these names and versions, and the policies and locks allow; returns the rows it deleted (wire §3.8).
   *
   * @param permanent as of `remove`; a version goes for good
   */
  removeMany(
    caller: Caller,
    bucket: string,
    names: string[],
    versions: VersionOfName[] = [],
    permanent?: boolean,
  ): Promise<RemovedMany> {
    return deleteMany(this.#options, caller, bucket, names, versions, this.#deletion(permanent))
  }

  /**
   * Deletes objects, each as if it were alone. One that is not there is as well.
   *
   * @param conditions of some of them
   */
  removeEach(
    caller: Caller,
    bucket: string,
    names: string[],
    conditions: ReadonlyMap<string, WriteCondition>,
  ): Promise<Removed> {
    return deleteEach(this.#options, caller, bucket, names, conditions)
  }

  /** Deletes versions and markers for good, each as if it were alone: what has become of each, in its place. */
  removeEachVersion(
    caller: Caller,
    bucket: string,
    versions: ConditionalVersion[],
  ): Promise<RemovedVersion[]> {
    return deleteEachVersion(this.#options, caller, bucket, versions, ({ name, version, condition }) =>
      this.removeVersion(caller, bucket, name, version, condition),
    )
  }

  /**
   * Gives an object these tags instead of those that it has. Its version stays.
   *
   * @param tags as `tagTexts` makes them
   * @param version which has to be the one that is there now: what was there stays as it was
   * @returns the object as it was found
   * @throws InvalidKey, NoSuchBucket, NoSuchKey when absent or hidden, NoSuchVersion, AccessDenied, KeptByRule, NotImplemented
   */
  async setTags(
    caller: Caller,
    bucket: string,
    sentName: string,
    tags: string[],
    version?: WantedVersion,
  ): Promise<StoredObject> {
    const name = this.#parseName(sentName)
    const look = async () => (await this.find(caller, { access: 'policy', bucket, name, version })).object
    return changeTags(this.#options, caller, { bucketId: bucket, name }, tags, { version, look })
  }

  /**
   * Works with the object of an id, which stays when it is moved or overwritten, at the place where the caller sees it.
   *
   * @param work does it by name, as long as nobody changes what has that name: it fails with PreconditionFailed or NoSuchKey
   *   then, and is done again
   * @throws NoSuchKey, and as `work`
   */
  async byId<T>(caller: Caller, id: string, work: (object: StoredObject) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const place = UUID.test(id) ? await findPlace(this.#database, caller, id) : null
      if (!place) throw new StorageError('NoSuchKey')
      try {
        const { object } = await this.find(caller, { access: 'policy', ...place })
        if (object.id !== id.toLowerCase()) throw new StorageError('NoSuchKey')
        return await work(object)
      } catch (error) {
        const isDisturbed = hasCode(error, 'PreconditionFailed') || hasCode(error, 'NoSuchKey')
        if (!isDisturbed || tries === MOST_TRIES) throw error
      }
    }
  }

  /**
   * Changes what an object says of itself. Its version stays.
   *
   * @param id which it has to have; undefined: any
   * @returns the object as it is now
   * @throws InvalidKey, NoSuchBucket, NoSuchKey when absent or hidden, AccessDenied, KeptByRule, InvalidMimeType, BodyTooLarge,
   *   PreconditionFailed
   */
  async change(
    caller: Caller,
    bucket: string,
    sentName: string,
    changes: ObjectChanges,
    condition?: WriteCondition,
    id?: string,
  ): Promise<StoredObject> {
    const name = this.#parseName(sentName)
    const target = { access: 'policy', bucket, name } as const
    const { object } = await this.find(caller, target)
    if (id !== undefined && object.id !== id) throw new StorageError('NoSuchKey')
    const { mimetype: contentType } = changes
    if (contentType !== undefined) {
      const { knownBuckets, maxFileSize } = this.#options
      checkFits(await knownBuckets.find(bucket), name, { contentType, size: null }, maxFileSize)
    }
    const place = { bucketId: bucket, name, id: object.id }
    await changeAttributes(this.#options, caller, place, changes, condition)
    return (await this.find(caller, target)).object
  }

  /**
   * Gives an object another name, in its bucket or another one. The row changes alone, and the bytes stay; but where versions
   * are kept, what it was stays as one, under a marker, and the new name has a copy. With a version, that one leaves the name
   * and all that it had, with its bytes.
   *
   * @param conditions.replaces takes away what has the new name, in the same moment; not with a version
   * @returns the object as it was found
   * @throws InvalidKey, NoSuchKey, NoSuchVersion, NoSuchBucket, AccessDenied, KeptByRule, ResourceAlreadyExists, ResourceReferenced,
   *   ObjectLocked, EntityTooLarge, InvalidMimeType, PreconditionFailed, MissingBytes, CorruptedBytes, StorageFull, BackendUnavailable
   */
  async move(
    caller: Caller,
    from: { bucket: string; name: string; version?: WantedVersion | undefined },
    to: { bucket: string; name: string },
    conditions: MoveConditions = {},
  ): Promise<StoredObject> {
    const name = this.#parseName(to.name)
    return this.#reads.whileReplaced(
      () => this.find(caller, { ...from, access: 'policy' }),
      async ({ object }) => {
        const isCurrent = !object.versioning?.archivedAt
        if (from.bucket === to.bucket && object.name === name && isCurrent) {
          for (const condition of [conditions.source, conditions.target]) demand(condition, object)
          return object
        }
        if (from.bucket !== to.bucket) {
          checkFits(await this.#options.knownBuckets.find(to.bucket), name, object, this.#options.maxFileSize)
        }
        const target = { bucketId: to.bucket, name }
        if (from.version) await moveVersion(this.#options, caller, object, target, conditions)
        else await moveObject(this.#options, caller, object, target, conditions)
        return object
      },
    )
  }

  /**
   * Stores another object with the same bytes.
   *
   * @throws InvalidKey, NoSuchKey, NoSuchVersion, NoSuchBucket, AccessDenied, KeyAlreadyExists, EntityTooLarge, InvalidMimeType,
   *   PreconditionFailed, MissingBytes, CorruptedBytes, StorageFull, BackendUnavailable
   */
  async copy(caller: Caller, request: CopyRequest): Promise<Stored> {
    // 1. The names are legal, the bucket exists, the source is visible. 2. to 6. are `storeCopy`'s.
    const name = this.#parseName(request.to.name)
    const bucket = await this.#options.knownBuckets.find(request.to.bucket)
    const { from } = request
    try {
      return await this.#reads.whileReplaced(
        () => this.find(caller, { ...from, access: 'policy' }),
        ({ object: source }) =>
          storeCopy(this.#options, caller, source, bucket, { ...request, to: { ...request.to, name } }),
      )
    } catch (error) {
      throw asUploadError(error)
    }
  }

  #deletion(permanent: boolean | undefined): Deletion {
    if (permanent === undefined) return 'as the bucket says'
    return permanent ? 'erase' : `trash ${this.#options.trashDays}`
  }

  #parseName(text: string): ObjectName {
    return parseObjectName(text, this.#options.nameRules)
  }
}
