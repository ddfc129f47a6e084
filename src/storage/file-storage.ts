import { createHash, randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import type { Backend, ByteRange, Location, Written } from '../backend/backend.ts'
import { asCaller, becomeService, type Caller } from '../database/as-caller.ts'
import { type BucketSettings, findBucketSettings } from '../database/buckets.ts'
import type { Database } from '../database/client.ts'
import { type ListEntry, listFolder, listPage } from '../database/listing.ts'
import {
  type Access,
  beginUpload,
  type DeletedRow,
  deleteObjects,
  findObject,
  finishUpload,
  type IntendedWrite,
  insertObject,
  type NewObject,
  objectExists,
  ownRemovals,
  renameObject,
  strikeUpload,
  upsertObject,
} from '../database/objects.ts'
import { isCertainlyRolledBack } from '../database/postgres-error.ts'
import type { SystemMetadata, UserMetadata } from '../database/schema.ts'
import { StorageError } from '../errors.ts'
import { readBounded } from '../read-bounded.ts'
import { effectiveLimit, mimeTypeAllowed } from './bucket.ts'
import { removeBytes } from './byte-removal.ts'
import { guessContentType } from './content-type.ts'
import { decodeCursor, encodeCursor } from './list-cursor.ts'
import {
  isEmptyFolderPlaceholder,
  isStorableText,
  type NameRules,
  type ObjectName,
  parseObjectName,
} from './object-name.ts'
import {
  DEFAULT_CACHE_CONTROL,
  type ObjectAttributes,
  type StoredObject,
  storedObject,
  systemMetadata,
} from './stored-object.ts'
import type { UploadBody, UploadRequest } from './upload-request.ts'
import { verifiedStream } from './verified-stream.ts'

export interface FileStorageOptions {
  database: Database
  backend: Backend
  logger: Logger
  /** Largest object, in bytes, whatever the bucket says. */
  maxFileSize: number
  nameRules: NameRules
  /** Whether whole reads are hashed again, and cut off when they differ. */
  verifyReads: boolean
  now: () => Date
}

/** A small body is read first and takes one transaction (design §3). In bytes, of the request. */
const SMALL_BODY = 256 * 1024

/** An object of up to this many bytes is read and sent as one buffer: a stream costs six times as much. */
const SMALL_OBJECT = 256 * 1024

/** Names per transaction of a bulk delete (contract §3.8). */
const DELETE_BATCH = 500

/** What a reader wants of an object, decided once its row is known. */
export type ReadPlan = 'nothing' | 'whole' | ByteRange

export interface Download {
  object: StoredObject
  /** Null when nothing was to be read. */
  bytes: Uint8Array<ArrayBuffer> | Readable | null
}

export interface CopyRequest {
  from: { bucket: string; name: string }
  to: { bucket: string; name: string }
  upsert: boolean
  /** Replaces what is given of the source's; undefined copies everything, user metadata included. */
  replace:
    | {
        contentType: string | undefined
        cacheControl: string | undefined
        /** `''` clears it. */
        contentEncoding: string | undefined
        userMetadata: UserMetadata | null
      }
    | undefined
}

export interface Stored {
  object: StoredObject
  /** Whether there was no object of that name before. */
  created: boolean
}

/** The coordinator: each public method is one operation on objects, as design §3 numbers its steps. */
export class FileStorage {
  readonly #database: Database
  readonly #backend: Backend
  readonly #logger: Logger
  readonly #options: FileStorageOptions

  constructor(options: FileStorageOptions) {
    this.#database = options.database
    this.#backend = options.backend
    this.#logger = options.logger
    this.#options = options
  }

  /**
   * Stores an object; a failure at any step leaves no row and no bytes.
   *
   * @throws InvalidKey, NoSuchBucket, EntityTooLarge, InvalidMimeType, AccessDenied, KeyAlreadyExists,
   *   StorageFull, Aborted when the body breaks
   */
  async upload(caller: Caller, request: UploadRequest): Promise<Stored> {
    const { body } = request
    try {
      // 1. The name is legal, the bucket exists.
      const name = parseObjectName(request.name, this.#options.nameRules)
      const bucket = await this.#findBucket(request.bucket)

      // 2. Type and size fit, before a byte is read.
      const maxBytes = this.#checkLimits(bucket, name, request)

      const isSmall = body.requestLength !== null && body.requestLength <= SMALL_BODY && this.#backend.isNear
      const at = { bucket: bucket.uid, version: randomUUID() }
      return isSmall
        ? await this.#storeSmall(caller, request, bucket, name, at, maxBytes)
        : await this.#storeStream(caller, request, bucket, name, at, maxBytes)
    } catch (error) {
      body.discard()
      throw asUploadError(error)
    }
  }

  /** Steps 3 to 6 for a small body: row under RLS, bytes, commit. A denial costs no file. */
  async #storeSmall(
    caller: Caller,
    request: UploadRequest,
    bucket: BucketSettings,
    name: ObjectName,
    at: Location,
    maxBytes: number,
  ): Promise<Stored> {
    const bytes = await readBounded(request.body.stream, maxBytes, () => new StorageError('EntityTooLarge'))
    const complete = { ...request, ...(await request.body.late()) }
    this.#checkLimits(bucket, name, complete)
    const written = { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
    const object = this.#newObject(caller, complete, bucket, name, at, written)
    try {
      return await this.#publish(caller, object, request.upsert, async () => {
        await this.#backend.write(at, bytes, { maxBytes, sha256: written.sha256 })
      })
    } catch (error) {
      await this.#giveUp(at, error, 'bytes alone')
      throw error
    }
  }

  /** Steps 3 to 7 for a stream. */
  async #storeStream(
    caller: Caller,
    request: UploadRequest,
    bucket: BucketSettings,
    name: ObjectName,
    at: Location,
    maxBytes: number,
  ): Promise<Stored> {
    // 3. The policies allow the write; the version is on the list of those being written.
    await beginUpload(this.#database, caller, intendedWrite(caller, request, name), at)
    try {
      // 4. The bytes go under a version that no row names yet, so nobody can see them.
      const written = await this.#backend.write(at, request.body.stream, { maxBytes })
      const complete = { ...request, ...(await request.body.late()) }
      this.#checkLimits(bucket, name, complete)

      // 5. Row and event appear together, or neither; the version leaves the list.
      // 6. The replaced version's bytes go once that is committed.
      const object = this.#newObject(caller, complete, bucket, name, at, written)
      return await this.#publish(caller, object, request.upsert)
    } catch (error) {
      // 7. If the process died instead, the cleanup finds the version on the list.
      await this.#giveUp(at, error, 'listed upload')
      throw error
    }
  }

  /**
   * Finds an object that this access may see.
   *
   * @throws InvalidKey, NoSuchBucket, NoSuchKey
   */
  async find(caller: Caller, access: Access, bucket: string, name: string): Promise<StoredObject> {
    const legal = parseObjectName(name, this.#options.nameRules)
    const row = await findObject(this.#database, caller, access, bucket, legal)
    if (row === 'noBucket') throw new StorageError('NoSuchBucket')
    if (row === null) throw new StorageError('NoSuchKey')
    return storedObject(row)
  }

  /**
   * Opens an object for reading. `plan` decides from the row what to read; it may be asked twice, when the
   * object is replaced at that very moment.
   *
   * @throws InvalidKey, NoSuchBucket, NoSuchKey, MissingBytes, BackendUnavailable, CorruptedBytes
   */
  async download(
    caller: Caller,
    access: Access,
    bucket: string,
    name: string,
    plan: (object: StoredObject) => ReadPlan,
  ): Promise<Download> {
    const object = await this.find(caller, access, bucket, name)
    try {
      return { object, bytes: await this.#read(object, plan(object)) }
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'MissingBytes') throw error
      // The row may just have been replaced, and its bytes removed: then the new row has others.
      const again = await this.find(caller, access, bucket, name)
      if (again.version !== object.version)
        return { object: again, bytes: await this.#read(again, plan(again)) }
      this.#logger.error(
        { bucket, path: name, version: object.version },
        'drift: a row has no bytes, or not as many as it says',
      )
      throw error
    }
  }

  async #read(object: StoredObject, plan: ReadPlan): Promise<Download['bytes']> {
    if (plan === 'nothing') return null
    const { location, size, checksum } = object
    if (location === null || size === null) throw new StorageError('MissingBytes')
    if (plan !== 'whole') return this.#backend.read(location, plan)
    const verified = this.#options.verifyReads && checksum !== null
    if (size <= SMALL_OBJECT) {
      const bytes = await this.#backend.readWhole(location, size)
      if (verified && createHash('sha256').update(bytes).digest('hex') !== checksum)
        throw this.#corrupted(object)
      return bytes
    }
    if ((await this.#backend.size(location)) !== size) throw new StorageError('MissingBytes')
    const stream = await this.#backend.read(location)
    return verified ? verifiedStream(stream, checksum, () => this.#corrupted(object)) : stream
  }

  #corrupted(object: StoredObject): StorageError {
    this.#logger.error(
      { bucket: object.bucket, path: object.name, version: object.version },
      'the stored bytes differ from those that were uploaded',
    )
    return new StorageError('CorruptedBytes')
  }

  /**
   * Deletes one object.
   *
   * @throws InvalidKey, NoSuchBucket, NoSuchKey, AccessDenied when it exists and the policies keep it
   */
  async remove(caller: Caller, bucket: string, name: string): Promise<void> {
    const legal = parseObjectName(name, this.#options.nameRules)
    const removals = await asCaller(this.#database, caller, async (tx) => {
      const rows = await deleteObjects(tx, bucket, [legal])
      if (rows.length > 0) return ownRemovals(tx)
      await becomeService(tx)
      throw new StorageError((await objectExists(tx, bucket, legal)) ? 'AccessDenied' : 'NoSuchKey')
    })
    await this.#removeBytes(removals)
  }

  /** Deletes what there is of these names and the policies allow; returns the rows it deleted (contract §3.8). */
  async removeMany(caller: Caller, bucket: string, names: string[]): Promise<DeletedRow[]> {
    const wanted = [...new Set(names.filter(isStorableText))]
    const deleted: DeletedRow[] = []
    for (let start = 0; start < wanted.length; start += DELETE_BATCH) {
      const batch = wanted.slice(start, start + DELETE_BATCH)
      const { rows, removals } = await asCaller(this.#database, caller, async (tx) => {
        const rows = await deleteObjects(tx, bucket, batch)
        return { rows, removals: await ownRemovals(tx) }
      })
      await this.#removeBytes(removals)
      deleted.push(...rows)
    }
    return deleted
  }

  /**
   * Gives an object another name, in its bucket or another one. The row changes alone; the bytes stay.
   *
   * @throws InvalidKey, NoSuchKey, NoSuchBucket, AccessDenied, ResourceAlreadyExists, EntityTooLarge, InvalidMimeType
   */
  async move(
    caller: Caller,
    from: { bucket: string; name: string },
    to: { bucket: string; name: string },
  ): Promise<void> {
    const name = parseObjectName(to.name, this.#options.nameRules)
    const object = await this.find(caller, 'policy', from.bucket, from.name)
    if (from.bucket === to.bucket && object.name === name) return
    if (from.bucket !== to.bucket) this.#checkFits(await this.#findBucket(to.bucket), name, object)
    await asCaller(this.#database, caller, async (tx) => {
      const source = { bucketId: from.bucket, name: object.name }
      const moved = await renameObject(tx, source, { bucketId: to.bucket, name, ownerId: caller.subject })
      if (moved) return
      // It was visible a moment ago: gone since, or the policies keep it.
      throw new StorageError(
        (await objectExists(tx, from.bucket, object.name)) ? 'AccessDenied' : 'NoSuchKey',
      )
    }).catch((error: unknown) => {
      throw asMissingBucket(error)
    })
  }

  /**
   * Stores another object with the same bytes.
   *
   * @throws InvalidKey, NoSuchKey, NoSuchBucket, AccessDenied, KeyAlreadyExists, MissingBytes, StorageFull
   */
  async copy(caller: Caller, request: CopyRequest): Promise<Stored> {
    // 1. The names are legal, the source is visible, the target bucket takes such an object.
    const name = parseObjectName(request.to.name, this.#options.nameRules)
    const source = await this.find(caller, 'policy', request.from.bucket, request.from.name)
    if (source.location === null) throw new StorageError('MissingBytes')
    const bucket = await this.#findBucket(request.to.bucket)
    const { metadata, userMetadata } = copiedMetadata(source, request.replace, this.#options.now())
    this.#checkFits(bucket, name, { ...source, contentType: metadata.mimetype ?? source.contentType })

    // 2. The policies allow the write.
    const at = { bucket: bucket.uid, version: randomUUID() }
    const object: NewObject = {
      bucketId: bucket.id,
      name,
      version: at.version,
      bytesBucket: at.bucket,
      ownerId: caller.subject,
      metadata,
      userMetadata,
      checksum: source.checksum,
    }
    try {
      await beginUpload(this.#database, caller, { ...object, upsert: request.upsert }, at)
      try {
        // 3. The new version gets its own bytes, then its row.
        await this.#backend.copy(source.location, at)
        return await this.#publish(caller, object, request.upsert)
      } catch (error) {
        await this.#giveUp(at, error, 'listed upload')
        throw error
      }
    } catch (error) {
      throw asUploadError(error)
    }
  }

  /** One level of a folder (contract §3.12). */
  list(
    caller: Caller,
    bucket: string,
    query: {
      prefix: string
      search: string
      limit: number
      offset: number
      column: 'name' | 'updated_at' | 'created_at' | 'last_accessed_at'
      order: 'asc' | 'desc'
    },
  ): Promise<ListEntry[]> {
    const folder = query.prefix === '' || query.prefix.endsWith('/') ? query.prefix : `${query.prefix}/`
    return asCaller(this.#database, caller, (tx) => listFolder(tx, { ...query, bucketId: bucket, folder }))
  }

  /**
   * A page of full names (contract §3.13), and the cursor of the next one.
   *
   * @throws InvalidParameter when the cursor is not one of ours
   */
  async listPage(
    caller: Caller,
    bucket: string,
    query: {
      prefix: string
      delimited: boolean
      limit: number
      cursor: string | undefined
      column: 'name' | 'updated_at' | 'created_at'
      order: 'asc' | 'desc'
    },
  ): Promise<{ entries: ListEntry[]; next: { cursor: string; name: string } | null }> {
    const cursor = query.cursor === undefined ? undefined : decodeCursor(query.cursor)
    const { column, order } = cursor ?? query
    const found = await asCaller(this.#database, caller, (tx) =>
      listPage(tx, {
        bucketId: bucket,
        prefix: query.prefix,
        delimited: query.delimited,
        limit: query.limit + 1, // one more shows whether there is a next page
        after: cursor?.after ?? null,
        afterTime: cursor?.timestamp ?? null,
        column,
        order,
      }),
    )
    const entries = found.slice(0, query.limit)
    const last = entries.at(-1)
    if (found.length <= query.limit || last === undefined) return { entries, next: null }
    const moment = column === 'updated_at' ? last.updatedAt : last.createdAt
    const place = { after: last.name, order, column, ...(moment && { timestamp: moment.toISOString() }) }
    return { entries, next: { cursor: encodeCursor(place), name: last.name } }
  }

  /**
   * Asks whether the caller's policies would allow an upload, without one (contract §3.11).
   *
   * @throws as `upload` does before it reads the body
   */
  async checkUpload(
    caller: Caller,
    request: {
      bucket: string
      name: string
      upsert: boolean
      contentType: string | undefined
      userMetadata: UserMetadata | undefined
    },
  ): Promise<ObjectName> {
    const name = parseObjectName(request.name, this.#options.nameRules)
    await this.#findBucket(request.bucket)
    try {
      const write = intendedWrite(caller, { ...request, body: { requestLength: null } }, name)
      await beginUpload(this.#database, caller, write, null)
    } catch (error) {
      throw asUploadError(error)
    }
    return name
  }

  async #findBucket(id: string): Promise<BucketSettings> {
    const bucket = await findBucketSettings(this.#database, id)
    if (!bucket) throw new StorageError('NoSuchBucket')
    return bucket
  }

  /** What an upload declares, against the bucket's rules. Returns the largest length its bytes may have. */
  #checkLimits(
    bucket: BucketSettings,
    name: string,
    declared: { contentType: string | undefined; body: Pick<UploadBody, 'declaredSize'> },
  ): number {
    const contentType = declared.contentType ?? guessContentType(name)
    return this.#checkFits(bucket, name, { contentType, size: declared.body.declaredSize })
  }

  /** @throws EntityTooLarge, InvalidMimeType */
  #checkFits(
    bucket: BucketSettings,
    name: string,
    object: { contentType: string; size: number | null },
  ): number {
    // The marker of an empty folder has no bytes, and any type (contract §3.1).
    const isPlaceholder = isEmptyFolderPlaceholder(name)
    const maxBytes = isPlaceholder ? 0 : effectiveLimit(bucket.fileSizeLimit, this.#options.maxFileSize)
    if (object.size !== null && object.size > maxBytes) throw new StorageError('EntityTooLarge')
    if (!isPlaceholder && !mimeTypeAllowed(object.contentType, bucket.allowedMimeTypes)) {
      throw new StorageError('InvalidMimeType', {
        message: `mime type ${object.contentType} is not supported`,
      })
    }
    return maxBytes
  }

  #newObject(
    caller: Caller,
    request: UploadRequest,
    bucket: BucketSettings,
    name: ObjectName,
    at: Location,
    written: Written,
  ): NewObject {
    const attributes: ObjectAttributes = {
      contentType: request.contentType ?? guessContentType(name),
      cacheControl: request.cacheControl ?? DEFAULT_CACHE_CONTROL,
      contentEncoding: request.contentEncoding,
      robotsTag: request.robotsTag,
    }
    return {
      bucketId: bucket.id,
      name,
      version: at.version,
      bytesBucket: at.bucket,
      ownerId: caller.subject,
      metadata: systemMetadata(written, attributes, this.#options.now()),
      userMetadata: request.userMetadata ?? {},
      checksum: written.sha256,
    }
  }

  /**
   * Makes the row visible, in one transaction with what goes with it. `storeBytes`, if given, runs in there
   * after the policies have agreed.
   */
  async #publish(
    caller: Caller,
    object: NewObject,
    upsert: boolean,
    storeBytes?: () => Promise<void>,
  ): Promise<Stored> {
    const { saved, removals } = await asCaller(this.#database, caller, async (tx, startedAt) => {
      const saved = upsert
        ? await upsertObject(tx, object)
        : {
            id: await insertObject(tx, object),
            ownerId: object.ownerId,
            created: true,
            createdAt: startedAt,
            updatedAt: startedAt,
          }
      await storeBytes?.()
      // A small body was never on the list of uploads, and a created row replaces nothing.
      const removals = storeBytes && saved.created ? [] : await finishUpload(tx, object.version)
      return { saved, removals }
    })
    await this.#removeBytes(removals)
    return { object: storedObject({ ...object, ...saved }), created: saved.created }
  }

  /**
   * Undoes a write whose row did not come about. When the commit's outcome is unknown the bytes stay: the
   * row may be there. The cleanup knows later.
   */
  async #giveUp(at: Location, error: unknown, left: 'listed upload' | 'bytes alone'): Promise<void> {
    if (!isCertainlyRolledBack(error)) return
    try {
      await this.#backend.remove(at)
      if (left === 'listed upload') await strikeUpload(this.#database, at.version)
    } catch (cause) {
      this.#logger.warn({ err: cause, version: at.version }, 'a failed upload is left to the cleanup')
    }
  }

  #removeBytes(locations: Location[]): Promise<void> {
    return removeBytes({ backend: this.#backend, database: this.#database, logger: this.#logger }, locations)
  }
}

function intendedWrite(
  caller: Caller,
  request: Pick<UploadRequest, 'bucket' | 'upsert' | 'contentType' | 'userMetadata'> & {
    body: Pick<UploadBody, 'requestLength'>
  },
  name: ObjectName,
): IntendedWrite {
  const { requestLength } = request.body
  return {
    bucketId: request.bucket,
    name,
    ownerId: caller.subject,
    metadata: {
      mimetype: request.contentType ?? guessContentType(name),
      ...(requestLength !== null && { contentLength: requestLength }),
    },
    userMetadata: request.userMetadata ?? null,
    upsert: request.upsert,
  }
}

function copiedMetadata(
  source: StoredObject,
  replace: CopyRequest['replace'],
  now: Date,
): { metadata: SystemMetadata; userMetadata: UserMetadata | null } {
  const metadata: SystemMetadata = { ...source.systemMetadata, lastModified: now.toISOString() }
  if (replace === undefined) return { metadata, userMetadata: source.userMetadata }
  if (replace.contentType !== undefined) metadata.mimetype = replace.contentType
  if (replace.cacheControl !== undefined) metadata.cacheControl = replace.cacheControl
  if (replace.contentEncoding === '') delete metadata.contentEncoding
  else if (replace.contentEncoding !== undefined) metadata.contentEncoding = replace.contentEncoding
  return { metadata, userMetadata: replace.userMetadata }
}

/** What goes wrong in an upload, in an upload's words. */
function asUploadError(error: unknown): unknown {
  if (!(error instanceof StorageError))
    return isAborted(error) ? new StorageError('Aborted', { cause: error }) : error
  if (error.code === 'ResourceAlreadyExists')
    return new StorageError('KeyAlreadyExists', { cause: error.cause })
  return asMissingBucket(error)
}

/** A row that refers to nothing: the bucket was deleted at this moment. */
function asMissingBucket(error: unknown): unknown {
  if (!(error instanceof StorageError) || error.code !== 'ResourceReferenced') return error
  return new StorageError('NoSuchBucket', { cause: error.cause })
}

/** How Node names a body that ended early, because its client went away or broke the protocol. */
function isAborted(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return (
    code === 'ECONNRESET' ||
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    code === 'ABORT_ERR' ||
    code.startsWith('HPE_')
  )
}
