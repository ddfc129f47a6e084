import type { BucketSettings } from '../database/queries/buckets.ts'
import type { Caller } from '../model/caller.ts'
import type { ChecksumAlgorithm } from '../model/checksums.ts'
import { StorageError } from '../model/errors.ts'
import { INLINE_BUCKET, isInline } from '../model/location.ts'
import type { NewLock } from '../model/object-lock.ts'
import { newVersion } from '../model/version.ts'
import type { WantedVersion } from '../model/version-id.ts'
import type { WriteCondition } from '../model/write-condition.ts'
import { checkFits } from './buckets/bucket-rules.ts'
import { storeInlineCopy } from './inline/inline-copy.ts'
import type { StoredObject } from './object/stored-object.ts'
import { fitsDatabase } from './uploads/small-upload.ts'
import { checksumBy } from './writing/checksum-by.ts'
import { type CommitParts, commitUpload, type Stored } from './writing/commit.ts'
import { foretold } from './writing/conditional-write.ts'
import { beginWrite, type ListedWriteParts, whileListed } from './writing/listed-write.ts'
import { copiedObject, type ReplacedMetadata } from './writing/new-object.ts'

export interface CopyParts extends CommitParts, ListedWriteParts {
  /** Largest object, in bytes, whatever a bucket says. */
  maxFileSize: number
  /** Objects of up to so many bytes are kept in the database; 0 for none. */
  inlineSize: number
  now: () => Date
}

export interface CopyRequest {
  /** Without a version, what is there now. */
  from: { bucket: string; name: string; version?: WantedVersion | undefined }
  to: { bucket: string; name: string }
  upsert: boolean
  /** Of the object that is there already under the new name. */
  condition?: WriteCondition | undefined
  /** Undefined copies everything, user metadata included. */
  replace: ReplacedMetadata | undefined
  /** Undefined copies them. */
  tags?: string[] | undefined
  /** How the copy is locked, from the moment when anybody sees it. */
  lock?: NewLock | undefined
  /** Looks at what is about to be copied, and throws when it is not to be. */
  checkSource?: ((source: StoredObject) => void) | undefined
  /** By which the copy is to be checked; undefined copies the checksum, too. */
  checksumAlgorithm?: ChecksumAlgorithm | undefined
  /** Whether it belongs to whom its source does, where the caller is nobody in particular: what is restored. */
  keepsOwner?: boolean | undefined
  /** Whether what fulfils the condition is deleted, into the trash, in the same moment: replaced, it would be lost. */
  freesName?: boolean | undefined
}

/**
 * Steps 2 to 6 of a copy: another object, or version, with the same bytes.
 *
 * @param source which the caller has seen; its bytes may be removed meanwhile: MissingBytes then
 * @throws as `FileStorage.copy`
 */
export async function storeCopy(
  parts: CopyParts,
  caller: Caller,
  source: StoredObject,
  bucket: BucketSettings,
  request: CopyRequest,
): Promise<Stored> {
  const { to, upsert, condition, replace, tags, lock, freesName } = request
  const { checkSource, checksumAlgorithm, keepsOwner } = request
  const { location } = source
  checkSource?.(source)
  if (location === null) throw new StorageError('MissingBytes')
  if (source.isCorrupted) throw new StorageError('CorruptedBytes')
  // Bytes in the database are copied there, unless they are too many by now.
  const isForDatabase = isInline(location) && fitsDatabase(parts.inlineSize, source.size)
  const at = { bucket: isForDatabase ? INLINE_BUCKET : bucket.uid, version: newVersion() }
  const object = copiedObject(caller, source, to, at, replace, tags, parts.now())
  if (keepsOwner) {
    object.ownerId ??= source.ownerId
    object.attributes = { ...source.attributes, ...object.attributes }
  }

  // 2. The bucket takes such an object.
  const contentType = object.metadata.mimetype ?? source.contentType
  checkFits(bucket, to.name, { contentType, size: source.size }, parts.maxFileSize)

  const sum = async () => {
    if (!checksumAlgorithm) return
    object.metadata.checksum = await checksumBy(checksumAlgorithm, source, () => parts.backend.read(location))
  }
  if (isForDatabase) {
    await sum()
    return storeInlineCopy(parts, caller, source, location.version, object, {
      upsert,
      condition,
      lock,
      freesName,
    })
  }

  // 3. The policies allow the write; the condition holds so far.
  if (condition) await foretold(parts.database, caller, { ...object, upsert }, condition)
  await beginWrite(parts.database, caller, { ...object, upsert }, at, condition)
  return whileListed(parts, at, async () => {
    // 4. The new version gets its own bytes; 5. and 6. as in an upload.
    await parts.backend.copy(location, at)
    await sum()
    const copyOf = source.checksum === null ? location.version : undefined
    return commitUpload(parts, caller, object, { upsert, condition, copyOf, lock, freesName })
  })
}
