import { randomUUID } from 'node:crypto'
import type { Backend, Written } from '../backend/backend.ts'
import { asCaller, asServiceWithin, becomeService } from '../database/as-caller.ts'
import type { Database } from '../database/connection/client.ts'
import type { Transaction } from '../database/connection/drizzle.ts'
import type { BucketSettings, KnownSettings } from '../database/queries/buckets.ts'
import { copyInlineBytes, readInlineBytes, writeInlineBytes } from '../database/queries/inline-bytes.ts'
import { ownRemovals } from '../database/queries/listed-versions.ts'
import {
  beginUpload,
  type DeletedRow,
  deleteObjects,
  findObjectId,
  type IntendedWrite,
  type ReadTarget,
  updateTags,
} from '../database/queries/objects.ts'
import type { Caller } from '../model/caller.ts'
import type { ChecksumAlgorithm } from '../model/checksums.ts'
import { hasCode, StorageError } from '../model/errors.ts'
import { INLINE_BUCKET, isInline, type Location } from '../model/location.ts'
import { demand, type WriteCondition } from '../model/write-condition.ts'
import { checkFits } from './buckets/bucket-rules.ts'
import type { KnownBuckets } from './buckets/known-buckets.ts'
import { storeInline } from './inline/inline-upload.ts'
import { type Invalidate, withInvalidation } from './object/changes.ts'
import { guessContentType } from './object/content-type.ts'
import { isStorableText, type ObjectName, parseObjectName } from './object/object-name.ts'
import { type StoredObject, validatorsOf } from './object/stored-object.ts'
import {
  type DownloadTarget,
  type Found,
  ObjectReads,
  type ObjectReadsOptions,
} from './reading/object-reads.ts'
import type { Representation } from './reading/representation.ts'
import { deleteUnlessKept, type Kept } from './writing/bulk-removal.ts'
import { removeBytes } from './writing/byte-removal.ts'
import { checksumBy } from './writing/checksum-by.ts'
import { abortUpload, asUploadError, commitUpload, inUploadWords, type Stored } from './writing/commit.ts'
import { asConditionSays, foretold } from './writing/conditional-write.ts'
import { unlessDenied } from './writing/denied-or-gone.ts'
import type { Heartbeats } from './writing/heartbeats.ts'
import { copiedObject, intendedWrite, type ReplacedMetadata, uploadedObject } from './writing/new-object.ts'
import { type MoveConditions, rename } from './writing/renaming.ts'
import { readSmallBody } from './writing/small-body.ts'
import type { UploadBody, UploadRequest } from './writing/upload-request.ts'

export interface FileStorageOptions extends ObjectReadsOptions {
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
  /** Whether who may not delete an object hears that it is there, even if he may not see it (wire §3.8). */
  tellsOfHidden: boolean
  /** Objects of up to so many bytes are kept in the database (decision 0052); 0 for none. */
  inlineSize: number
  knownBuckets: KnownBuckets
  heartbeats: Heartbeats
  invalidate: Invalidate
  now: () => Date
}

/** A small body is read first and takes one transaction (design §3). In bytes, of the request. */
const SMALL_BODY = 256 * 1024

/** What a form has around its file, about; with more it is not expected to hold a small one. In bytes. */
const FORM_OVERHEAD = 4096

/** Names per transaction of a bulk delete (wire §3.8). */
const DELETE_BATCH = 500

export interface CopyRequest {
  from: { bucket: string; name: string }
  to: { bucket: string; name: string }
  upsert: boolean
  /** Of the object that is there already under the new name. */
  condition?: WriteCondition | undefined
  /** Undefined copies everything, user metadata included. */
  replace: ReplacedMetadata | undefined
  /** Undefined copies them. */
  tags?: string[] | undefined
  /** Looks at what is about to be copied, and throws when it is not to be. */
  checkSource?: ((source: StoredObject) => void) | undefined
  /** By which the copy is to be checked; undefined copies the checksum, too. */
  checksumAlgorithm?: ChecksumAlgorithm | undefined
}

/** An upload whose name is legal, and the settings by which its bucket takes it. */
interface Arrival {
  request: UploadRequest
  bucket: KnownSettings
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
    const { body } = sent
    try {
      // 1. The name is legal, the bucket exists. 2. Type and size fit, before a byte is read.
      const request = { ...sent, name: this.#parseName(sent.name) }
      const { bucketUid, condition } = request
      const mayBeInline = this.#mayBeInline(body)
      const known = mayBeInline && !condition ? this.#options.knownBuckets.get(request.bucket) : undefined
      const isMeant = bucketUid === undefined || known?.uid === bucketUid
      const bucket = await this.#letIn(isMeant ? known : undefined, request, body.declaredSize)

      // A condition that is false now is told before the body is sent.
      if (condition) await foretold(this.#database, caller, intendedWrite(caller, request), condition)

      const isSmall = body.requestLength !== null && body.requestLength <= SMALL_BODY && this.#backend.isLocal
      if (mayBeInline || isSmall) return await this.#storeSmall(caller, { request, bucket })
      return await this.#storeStream(caller, { request, bucket })
    } catch (error) {
      body.discard()
      throw asUploadError(error)
    }
  }

  /** Whether the bytes will probably be few enough for the database. */
  #mayBeInline({ declaredSize, requestLength }: UploadBody): boolean {
    const { inlineSize } = this.#options
    if (inlineSize === 0 || requestLength === null) return false
    return declaredSize === null ? requestLength <= inlineSize + FORM_OVERHEAD : declaredSize <= inlineSize
  }

  /**
   * Lets an upload in by settings of its bucket that are known, or else by those of now: what is known may be out of date,
   * and refuses nothing.
   *
   * @param size of the bytes, or null as long as nobody knows it
   * @throws NoSuchBucket, EntityTooLarge, InvalidMimeType
   */
  async #letIn(
    known: KnownSettings | undefined,
    request: UploadRequest,
    size: number | null,
  ): Promise<KnownSettings> {
    if (known) {
      try {
        this.#checkFits(known, request, size)
        return known
      } catch {}
    }
    const bucket = await this.#findBucket(request.bucket, request.bucketUid)
    this.#checkFits(bucket, request, size)
    return bucket
  }

  /** Steps 3 to 7 for a small body, read first: row under RLS, bytes, commit. A denial costs no file. */
  async #storeSmall(caller: Caller, { request, bucket }: Arrival): Promise<Stored> {
    const { body, condition } = request
    const { inlineSize, now } = this.#options
    const mayBeInline = this.#mayBeInline(body)
    const maxBytes = mayBeInline ? body.requestLength : this.#checkFits(bucket, request, null)
    const ask = () => this.#begin(caller, intendedWrite(caller, request), null, condition)
    const { bytes, written, late } = await readSmallBody(body, maxBytes ?? 0, ask)
    const complete = { ...request, ...late }
    if (inlineSize > 0 && written.size <= inlineSize) {
      const arrival = { request: complete, bucket: await this.#letIn(bucket, complete, written.size) }
      body.admit()
      return this.#storeInline(caller, arrival, bytes, written)
    }
    const settings = await this.#letIn(mayBeInline ? undefined : bucket, complete, written.size)
    body.admit()
    const at = { bucket: settings.uid, version: randomUUID() }
    const write = () => this.#backend.write(at, bytes, { maxBytes: written.size, sha256: written.sha256 })
    const object = uploadedObject(caller, complete, at, written, now())
    if (!this.#backend.isLocal) {
      await this.#begin(caller, intendedWrite(caller, complete), at, condition)
      return this.#whileListed(at, async () => {
        await write()
        return commitUpload(this.#options, caller, object, complete)
      })
    }
    try {
      return await commitUpload(this.#options, caller, object, { ...complete, storeBytes: write })
    } catch (error) {
      await abortUpload(this.#options, at, error, { wasListed: false })
      throw error
    }
  }

  /** Steps 3 to 6 for bytes that go into the database: one call, unless a condition has to be judged. */
  #storeInline(
    caller: Caller,
    { request, bucket }: Arrival,
    bytes: Uint8Array,
    written: Written,
  ): Promise<Stored> {
    const at = { bucket: INLINE_BUCKET, version: randomUUID() }
    const object = uploadedObject(caller, request, at, written, this.#options.now())
    const { upsert, bucketUid, condition } = request
    if (condition) {
      const storeBytes = (tx: Transaction) =>
        asServiceWithin(tx, caller, () => writeInlineBytes(tx, at.version, bytes))
      return commitUpload(this.#options, caller, object, { upsert, bucketUid, condition, storeBytes })
    }
    const check = (settings: BucketSettings) => this.#checkFits(settings, request, written.size)
    return storeInline(this.#options, caller, { object, bytes, upsert, bucket, bucketUid, check })
  }

  /** Steps 3 to 7 for a stream. */
  async #storeStream(caller: Caller, { request, bucket }: Arrival): Promise<Stored> {
    // 3. The policies allow the write; the version is on the list of those being written.
    const at = { bucket: bucket.uid, version: randomUUID() }
    await this.#begin(caller, intendedWrite(caller, request), at, request.condition)
    return this.#whileListed(at, async () => {
      request.body.admit()

      // 4. The bytes go under a version that no row names yet, so nobody can see them.
      const maxBytes = this.#checkFits(bucket, request, null)
      const written = await this.#backend.write(at, request.body.stream, { maxBytes })
      const complete = { ...request, ...(await request.body.late(written)) }
      this.#checkFits(bucket, complete, written.size)

      // 5. Row and event appear together, or neither; the version leaves the list.
      // 6. The replaced version's bytes go once that is committed.
      const object = uploadedObject(caller, complete, at, written, this.#options.now())
      return commitUpload(this.#options, caller, object, request)
    })
  }

  #begin(
    caller: Caller,
    write: IntendedWrite,
    at: Location | null,
    condition: WriteCondition | undefined,
  ): Promise<void> {
    const database = this.#database
    return asConditionSays(beginUpload(database, caller, write, at), { database, caller, write, condition })
  }

  /** Writes a version that is on the list of uploads. */
  async #whileListed<T>(at: Location, write: () => Promise<T>): Promise<T> {
    try {
      return await this.#options.heartbeats.during(at.version, write)
    } catch (error) {
      // 7. If the process died instead, the cleanup finds the version on the list.
      await abortUpload(this.#options, at, error, { wasListed: true })
      throw error
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
    const bucket = await this.#findBucket(request.bucket)
    const write = intendedWrite(caller, { ...request, name, body: { requestLength: null } })
    await inUploadWords(beginUpload(this.#database, caller, write, null))
    return { name, bucketUid: bucket.uid }
  }

  /** @throws NoSuchBucket, NoSuchKey */
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
   * Deletes one object.
   *
   * @throws InvalidKey, NoSuchKey, KeptByRule when the caller sees it, ResourceReferenced, PreconditionFailed
   */
  async remove(caller: Caller, bucket: string, sentName: string, condition?: WriteCondition): Promise<void> {
    const name = this.#parseName(sentName)
    const commit = () =>
      unlessDenied((deniedOrGone) =>
        asCaller(this.#database, caller, async (tx) => {
          const [row] = await deleteObjects(tx, bucket, [name])
          if (row) {
            demand(condition, validatorsOf({ ...row, updatedAt: row.updatedAt ?? new Date(0) }))
            return ownRemovals(tx)
          }
          if (this.#options.tellsOfHidden) await becomeService(tx)
          return deniedOrGone(await findObjectId(tx, bucket, name))
        }),
      )
    const removals = await withInvalidation(this.#options, [{ bucket, names: [name] }], commit)
    await removeBytes(this.#options, removals)
  }

  /** Deletes what there is of these names and the policies allow; returns the rows it deleted (wire §3.8). */
  async removeMany(caller: Caller, bucket: string, names: string[]): Promise<DeletedRow[]> {
    const wanted = [...new Set(names.filter(isStorableText))]
    const deleted: DeletedRow[] = []
    for (let start = 0; start < wanted.length; start += DELETE_BATCH) {
      const batch = wanted.slice(start, start + DELETE_BATCH)
      const commit = () =>
        asCaller(this.#database, caller, async (tx) => {
          const rows = await deleteObjects(tx, bucket, batch)
          return { rows, removals: await ownRemovals(tx) }
        })
      const { rows, removals } = await withInvalidation(this.#options, [{ bucket, names: batch }], commit)
      await removeBytes(this.#options, removals)
      deleted.push(...rows)
    }
    return deleted
  }

  /**
   * Deletes objects, each as if it were alone. One that is not there is as well.
   *
   * @param conditions of some of them
   * @returns why others are still there
   */
  async removeEach(
    caller: Caller,
    bucket: string,
    names: string[],
    conditions: ReadonlyMap<string, WriteCondition>,
  ): Promise<Kept> {
    const kept: Kept = new Map()
    const wanted = [...new Set(names.filter(isStorableText))]
    const together = wanted.filter((name) => !conditions.has(name))
    const alone = wanted.filter((name) => conditions.has(name))
    for (let start = 0; start < together.length; start += DELETE_BATCH) {
      const batch = together.slice(start, start + DELETE_BATCH)
      try {
        const done = await deleteUnlessKept(this.#options, caller, bucket, batch)
        await removeBytes(this.#options, done.removals)
        for (const [name, why] of done.kept) kept.set(name, why)
      } catch (error) {
        // What a rule says of one of them keeps that one alone.
        if (!isOfTheRequest(error)) throw error
        alone.push(...batch)
      }
    }
    for (const name of alone) {
      try {
        await this.remove(caller, bucket, name, conditions.get(name))
      } catch (error) {
        if (hasCode(error, 'NoSuchKey') || hasCode(error, 'InvalidKey')) continue
        if (!isOfTheRequest(error)) throw error
        kept.set(name, error)
      }
    }
    return kept
  }

  /**
   * Gives an object these tags instead of those that it has. Its version stays.
   *
   * @param tags as `tagTexts` makes them
   * @throws InvalidKey, NoSuchBucket, NoSuchKey when absent or hidden, AccessDenied, KeptByRule
   */
  async setTags(caller: Caller, bucket: string, sentName: string, tags: string[]): Promise<void> {
    const name = this.#parseName(sentName)
    await this.find(caller, { access: 'policy', bucket, name })
    const commit = () =>
      unlessDenied((deniedOrGone) =>
        asCaller(this.#database, caller, async (tx) => {
          if (await updateTags(tx, { bucketId: bucket, name }, tags)) return
          return deniedOrGone(await findObjectId(tx, bucket, name))
        }),
      )
    await withInvalidation(this.#options, [{ bucket, names: [name] }], commit)
  }

  /**
   * Gives an object another name, in its bucket or another one. The row changes alone; the bytes stay.
   *
   * @param conditions.replaces takes away what has the new name, in the same moment
   * @throws InvalidKey, NoSuchKey, NoSuchBucket, AccessDenied, KeptByRule, ResourceAlreadyExists, ResourceReferenced, EntityTooLarge,
   *   InvalidMimeType, PreconditionFailed
   */
  async move(
    caller: Caller,
    from: { bucket: string; name: string },
    to: { bucket: string; name: string },
    conditions: MoveConditions = {},
  ): Promise<void> {
    const name = this.#parseName(to.name)
    const { object } = await this.find(caller, { ...from, access: 'policy' })
    if (from.bucket === to.bucket && object.name === name) {
      for (const condition of [conditions.source, conditions.target]) demand(condition, object)
      return
    }
    if (from.bucket !== to.bucket) {
      checkFits(await this.#findBucket(to.bucket), name, object, this.#options.maxFileSize)
    }
    const target = { bucketId: to.bucket, name }
    await rename(this.#options, caller, { bucketId: from.bucket, name: object.name }, target, conditions)
  }

  /**
   * Stores another object with the same bytes.
   *
   * @throws InvalidKey, NoSuchKey, NoSuchBucket, AccessDenied, KeyAlreadyExists, EntityTooLarge, InvalidMimeType,
   *   PreconditionFailed, MissingBytes, CorruptedBytes, StorageFull, BackendUnavailable
   */
  async copy(caller: Caller, request: CopyRequest): Promise<Stored> {
    // 1. The names are legal, the bucket exists, the source is visible.
    const name = this.#parseName(request.to.name)
    const bucket = await this.#findBucket(request.to.bucket)
    const { from } = request
    try {
      return await this.#reads.whileReplaced(
        () => this.find(caller, { ...from, access: 'policy' }),
        ({ object: source }) =>
          this.#copy(caller, source, bucket, { ...request, to: { ...request.to, name } }),
      )
    } catch (error) {
      throw asUploadError(error)
    }
  }

  async #copy(
    caller: Caller,
    source: StoredObject,
    bucket: BucketSettings,
    { to, upsert, condition, replace, tags, checkSource, checksumAlgorithm }: CopyRequest,
  ): Promise<Stored> {
    const { location } = source
    checkSource?.(source)
    if (location === null) throw new StorageError('MissingBytes')
    if (source.isCorrupted) throw new StorageError('CorruptedBytes')
    const at = { bucket: isInline(location) ? INLINE_BUCKET : bucket.uid, version: randomUUID() }
    const object = copiedObject(caller, source, to, at, replace, tags, this.#options.now())

    // 2. The bucket takes such an object.
    const contentType = object.metadata.mimetype ?? source.contentType
    checkFits(bucket, to.name, { contentType, size: source.size }, this.#options.maxFileSize)

    // Bytes in the database are copied there, in the transaction that makes the row.
    const sum = async () => {
      if (!checksumAlgorithm) return
      object.metadata.checksum = await checksumBy(checksumAlgorithm, source, () =>
        this.#backend.read(location),
      )
    }
    if (isInline(location)) {
      await sum()
      // Over itself: they go with the row that is replaced.
      const isItself = source.bucket === to.bucket && source.name === to.name
      const own = isItself ? await readInlineBytes(this.#database, location.version) : null
      const storeBytes = (tx: Transaction) =>
        asServiceWithin(tx, caller, () =>
          own
            ? writeInlineBytes(tx, at.version, own.bytes)
            : copyInlineBytes(tx, location.version, at.version),
        )
      return commitUpload(this.#options, caller, object, { upsert, condition, storeBytes })
    }

    // 3. The policies allow the write; the condition holds so far.
    if (condition) await foretold(this.#database, caller, { ...object, upsert }, condition)
    await this.#begin(caller, { ...object, upsert }, at, condition)
    return this.#whileListed(at, async () => {
      // 4. The new version gets its own bytes; 5. and 6. as in an upload.
      await this.#backend.copy(location, at)
      await sum()
      const copyOf = source.checksum === null ? location.version : undefined
      return commitUpload(this.#options, caller, object, { upsert, condition, copyOf })
    })
  }

  #parseName(text: string): ObjectName {
    return parseObjectName(text, this.#options.nameRules)
  }

  /** @param uid of the bucket that is meant, or undefined for any of that name. @throws NoSuchBucket */
  async #findBucket(id: string, uid?: string): Promise<KnownSettings> {
    const bucket = await this.#options.knownBuckets.ask(id)
    if (!bucket || (uid !== undefined && bucket.uid !== uid)) throw new StorageError('NoSuchBucket')
    return bucket
  }

  /**
   * Whether a bucket takes an upload. Returns the largest length its bytes may have.
   *
   * @param size of the bytes, or null as long as nobody knows it
   * @throws EntityTooLarge, InvalidMimeType
   */
  #checkFits(bucket: BucketSettings, request: UploadRequest, size: number | null): number {
    const contentType = request.contentType ?? guessContentType(request.name)
    return checkFits(bucket, request.name, { contentType, size }, this.#options.maxFileSize)
  }
}

/** Whether it is about what was asked for, and not about the server. */
function isOfTheRequest(error: unknown): error is StorageError {
  return error instanceof StorageError && error.status < 500
}
