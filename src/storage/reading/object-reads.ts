import { findObject, type ReadTarget } from '../../database/queries/objects.ts'
import type { Access, Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { DeleteMarker } from '../object/delete-marker.ts'
import { isObjectName, type NameRules } from '../object/object-name.ts'
import { type StoredObject, storedObject } from '../object/stored-object.ts'
import { type ObjectBytesOptions, representationOf } from './object-bytes.ts'
import type { Representation } from './representation.ts'
import type { RowCache } from './row-cache.ts'

export interface ObjectReadsOptions extends ObjectBytesOptions {
  nameRules: NameRules
  /** The rows that are kept in memory, of objects that are read again and again; undefined keeps none. */
  rowCache: RowCache | undefined
}

/** What is to be sent. */
export interface DownloadTarget extends ReadTarget {
  /** Whether its bytes are, too: those that are in the database come with the row then. */
  withBytes: boolean
}

/** Access for which the objects of a public bucket need no policy: their rows may come from memory. */
const OPEN_IF_PUBLIC: ReadonlySet<Access> = new Set(['public', 'caller'])

/** An object, and what its bucket is. */
export interface Found {
  object: StoredObject
  isPublic: boolean
  bucketUid: string
  /** Those that are in the database, if they were asked for. */
  bytes: Uint8Array<ArrayBuffer> | null
}

/** An object to be sent, and its bytes as far as they have come with its row. */
type Sendable = Pick<Found, 'object'> & Partial<Pick<Found, 'bytes'>>

/** The part of `FileStorage` that reads: rows from the database or from memory, then their bytes (design §3). */
export class ObjectReads {
  readonly #options: ObjectReadsOptions

  constructor(options: ObjectReadsOptions) {
    this.#options = options
  }

  /**
   * Finds an object that this access may see. Under a name that no object can have there is none: clients ask whether
   * something exists, and tell that from a mistake by the code.
   *
   * @param bytesUnless as of `findObject`
   * @throws NoSuchBucket; NoSuchKey and NoSuchVersion, with a `DeleteMarker` for the cause where that is what was found
   */
  async find(caller: Caller, target: ReadTarget, bytesUnless: string | null = null): Promise<Found> {
    const { database, nameRules } = this.#options
    const isName = isObjectName(target.name, nameRules)
    // Whether there is such a bucket is told first, whatever the name. PostgreSQL may not be able to hold that.
    const row = await findObject(database, caller, isName ? target : { ...target, name: '' }, bytesUnless)
    if (row === 'noBucket') throw new StorageError('NoSuchBucket')
    if (row === null || !isName || 'marker' in row) {
      const cause = row && 'marker' in row ? new DeleteMarker(row.marker) : undefined
      throw new StorageError(target.version ? 'NoSuchVersion' : 'NoSuchKey', { cause })
    }
    const { isPublic, bucketUid, bytes } = row
    return { object: storedObject(row), isPublic, bucketUid, bytes }
  }

  /** The same, for reading its bytes: what anybody may read is kept in memory. */
  async #findAndRemember(caller: Caller, target: DownloadTarget): Promise<Found> {
    const { rowCache, byteCache } = this.#options
    const { bucket, name, withBytes } = target
    const bytesUnless = withBytes ? (byteCache?.versionOf(bucket, name) ?? '') : null
    const find = () => this.find(caller, target, bytesUnless)
    return rowCache && !target.version ? rowCache.remember(bucket, name, find) : find()
  }

  /** A public object whose row and bytes are both in memory. Costs nothing. */
  inMemory(bucket: string, name: string): { object: StoredObject; bytes: Uint8Array } | undefined {
    const { rowCache, byteCache } = this.#options
    const object = rowCache?.get(bucket, name)
    const bytes = object && !object.isCorrupted && byteCache?.get(object)
    if (!rowCache || !object || !bytes) return undefined
    rowCache.hits++
    return { object, bytes }
  }

  /**
   * Finds an object and has it sent. `send` opens its bytes, or needs none; it is asked again when the object is replaced
   * at that very moment, and so begins to send only once they are open.
   *
   * @throws NoSuchBucket, NoSuchKey, NoSuchVersion, MissingBytes, BackendUnavailable, CorruptedBytes, and what `send` throws
   */
  async download<T>(
    caller: Caller,
    target: DownloadTarget,
    send: (representation: Representation, object: StoredObject) => Promise<T>,
  ): Promise<T> {
    const { access, bucket, name } = target
    const { rowCache } = this.#options
    const sendObject = ({ object, bytes }: Sendable) =>
      send(representationOf(object, this.#options, bytes), object)
    const isOpen = OPEN_IF_PUBLIC.has(access) && !target.version
    const remembered = isOpen ? rowCache?.get(bucket, name) : undefined
    if (rowCache && remembered) {
      rowCache.hits++
      try {
        return await sendObject({ object: remembered })
      } catch (error) {
        if (!hasCode(error, 'MissingBytes')) throw error
        rowCache.drop(bucket, name) // replaced by another server, less than a second ago
      }
    }
    return this.whileReplaced(() => this.#findAndRemember(caller, target), sendObject)
  }

  /**
   * Finds an object and works with its bytes. If they are gone, the row may just have been replaced: then the new
   * row has others. Busy writers can do so several times in a row; each time there is another version. Or the bytes have
   * gone to another place (`strongroom inline`).
   */
  async whileReplaced<T>(find: () => Promise<Found>, work: (found: Found) => Promise<T>): Promise<T> {
    let found = await find()
    for (;;) {
      try {
        return await work(found)
      } catch (error) {
        if (!hasCode(error, 'MissingBytes')) throw error
        const before = found.object
        found = await find()
        const { object } = found
        if (!hasSameBytes(object, before)) continue
        this.#options.logger.error(
          { bucket: object.bucket, path: object.name, version: object.version },
          'drift: a row has no bytes, or not as many as it says',
        )
        throw error
      }
    }
  }
}

/** Whether both name the same version, in the same place. */
function hasSameBytes(one: StoredObject, other: StoredObject): boolean {
  return one.version === other.version && one.location?.bucket === other.location?.bucket
}
