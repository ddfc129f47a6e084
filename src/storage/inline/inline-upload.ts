import type { BucketSettings, KnownSettings } from '../../database/queries/buckets.ts'
import type { NewObject } from '../../database/queries/save-object.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { KnownBuckets } from '../buckets/known-buckets.ts'
import { type CommitParts, carryOut, type Stored } from '../writing/commit.ts'
import type { PutGroups } from './put-groups.ts'

/** So often the settings of a bucket may change while one object is stored in it. */
const MOST_TRIES = 10

export interface InlineUploadParts extends CommitParts {
  knownBuckets: KnownBuckets
  putGroups: PutGroups
}

export interface InlineUpload {
  object: NewObject
  bytes: Uint8Array
  /** Whether an object of that name may be replaced. */
  upsert: boolean
  /** The settings by which it was let in, perhaps not those of now. */
  bucket: KnownSettings
  /** Whether the caller's last upload to the bucket was allowed, a moment ago (`RecentlyAllowed`). */
  isLikely: boolean
  /** The bucket that is meant; undefined means whichever has the name. */
  bucketUid: string | undefined
  /** Whether the bucket takes it, by settings that are told anew. @throws when it does not */
  check(bucket: BucketSettings): void
}

/**
 * Stores an object whose bytes go into the database, in one call (decision 0052): the policies, the row, the bytes, and
 * all that goes with it. By settings of the bucket that are out of date nothing is done; those of now are told, and it is
 * tried again.
 *
 * @throws NoSuchBucket, what `check` throws, and as `putObject`
 */
export function storeInline(parts: InlineUploadParts, caller: Caller, upload: InlineUpload): Promise<Stored> {
  const { object, bytes, upsert, isLikely, bucketUid, check } = upload
  return carryOut(parts, object, async () => {
    let { bucket } = upload
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const outcome = await parts.putGroups.put(caller, { object, bytes, upsert, bucket }, isLikely)
      if (outcome.saved) return [outcome.saved, outcome.removals]
      bucket = parts.knownBuckets.told(object.bucketId, outcome.bucket, bucketUid)
      check(bucket)
    }
    throw new StorageError('TransactionConflict')
  })
}
