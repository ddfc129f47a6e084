import type { Written } from '../../backend/backend.ts'
import type { KnownSettings } from '../../database/queries/buckets.ts'
import { putObject } from '../../database/queries/put-object.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { newVersion } from '../../model/version.ts'
import { abortUpload, type CommitParts, carryOut, type Stored } from '../writing/commit.ts'
import { uploadedObject } from '../writing/new-object.ts'
import { type Arrival, type ArrivalParts, checkUploadFits } from './arrival.ts'
import type { KnownSweep } from './known-sweep.ts'

/** So often a sweep may begin, or the settings of a bucket change, while one object is stored. */
const MOST_TRIES = 10

export interface FileUploadParts extends CommitParts, ArrivalParts {
  knownSweep: KnownSweep
  now: () => Date
}

/**
 * Stores a small object whose bytes are a file of this machine: first the file, and then the row, in one call (decision 0055).
 * Only for a caller who will probably be allowed to: a denial costs a file that is written and removed.
 *
 * If the process dies between the two, the file is one that nothing names, and the sweep takes it. A sweep that begins
 * between the two may take it, too; the call notices that, as it does that the bucket has other settings, and all of it is
 * done again.
 *
 * @param arrival by settings of the bucket that may be remembered ones
 * @throws NoSuchBucket, EntityTooLarge, InvalidMimeType, and as `Backend.write` and `putObject`
 */
export async function storeFileFirst(
  parts: FileUploadParts,
  caller: Caller,
  arrival: Arrival,
  bytes: Uint8Array,
  written: Written,
): Promise<Stored> {
  const { backend, database, knownBuckets, knownSweep } = parts
  const { request } = arrival
  const { upsert, bucketUid } = request
  let { bucket } = arrival
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    // Known before the file is there: a later sweep has another number.
    const sweep = await knownSweep.get()
    const at = { bucket: bucket.uid, version: newVersion() }
    const object = uploadedObject(caller, request, at, written, parts.now())
    try {
      await backend.write(at, bytes, { maxBytes: written.size, sha256: written.sha256 })
      return await carryOut(parts, object, async () => {
        const outcome = await putObject(database, caller, { object, bytes: null, sweep, upsert, bucket })
        if (!outcome.saved) throw new OtherSettings(outcome.bucket)
        return [outcome.saved, outcome.removals]
      })
    } catch (error) {
      await abortUpload(parts, at, error, { wasListed: false })
      if (error instanceof OtherSettings) {
        bucket = knownBuckets.told(request.bucket, error.bucket, bucketUid)
        checkUploadFits(parts, { request, bucket }, written.size)
      } else if (hasCode(error, 'UploadExpired')) {
        knownSweep.forget()
      } else {
        throw error
      }
    }
  }
  throw new StorageError('TransactionConflict')
}

/** The bucket is not as it was known, and nothing was done. */
class OtherSettings extends Error {
  override readonly name = 'OtherSettings'

  constructor(readonly bucket: KnownSettings | null) {
    super('The settings of the bucket are others')
  }
}
