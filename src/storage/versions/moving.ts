import { asServiceWithin } from '../../database/as-caller.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { copyInlineBytes } from '../../database/queries/inline-bytes.ts'
import { listUpload } from '../../database/queries/listed-versions.ts'
import { moveVersionRow } from '../../database/queries/move-version.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { INLINE_BUCKET, isInline } from '../../model/location.ts'
import { newVersion } from '../../model/version.ts'
import { demand } from '../../model/write-condition.ts'
import type { KnownBuckets } from '../buckets/known-buckets.ts'
import { withInvalidation } from '../object/changes.ts'
import type { StoredObject } from '../object/stored-object.ts'
import { fitsDatabase } from '../uploads/small-upload.ts'
import { removeBytes } from '../writing/byte-removal.ts'
import { asMissingBucket, type CommitParts } from '../writing/commit.ts'
import { type ListedWriteParts, whileListed } from '../writing/listed-write.ts'
import {
  inWordsOfTarget,
  type MoveConditions,
  NeedsOwnBytes,
  type Place,
  rename,
} from '../writing/renaming.ts'

export interface MoveParts extends CommitParts, ListedWriteParts {
  knownBuckets: KnownBuckets
  /** Of bytes in the database, the most; 0 keeps none there. */
  inlineSize: number
}

/**
 * Gives an object that the caller has seen another name. Where its bucket keeps versions, that is tried first, so that nobody
 * makes bytes be copied who may not move; then the copy is made, and then the row has both in one moment.
 *
 * @throws as `rename`; MissingBytes, CorruptedBytes, StorageFull, BackendUnavailable
 */
export async function moveObject(
  parts: MoveParts,
  caller: Caller,
  source: StoredObject,
  target: Place,
  conditions: MoveConditions,
): Promise<void> {
  const from = { bucketId: source.bucket, name: source.name }
  try {
    return await rename(parts, caller, from, target, conditions)
  } catch (error) {
    if (!(error instanceof NeedsOwnBytes)) throw error
  }
  const { location } = source
  if (location === null) throw new StorageError('MissingBytes')
  if (source.isCorrupted) throw new StorageError('CorruptedBytes')
  const of = location.version
  if (isInline(location) && fitsDatabase(parts.inlineSize, source.size)) {
    const at = { bucket: INLINE_BUCKET, version: newVersion() }
    const store = (tx: Transaction) => asServiceWithin(tx, caller, () => copyInlineBytes(tx, of, at.version))
    return rename(parts, caller, from, target, conditions, { at, of, store })
  }
  const { uid } = await parts.knownBuckets.find(target.bucketId)
  const at = { bucket: uid, version: newVersion() }
  await listUpload(parts.database, at, target)
  await whileListed(parts, at, async () => {
    await parts.backend.copy(location, at)
    await rename(parts, caller, from, target, conditions, { at, of, store: undefined })
  })
}

/**
 * Takes one version out of what a name has and had, and gives it to a name that nothing has. Its bytes stay.
 *
 * @throws NoSuchVersion, NoSuchBucket, AccessDenied, KeptByRule, ResourceAlreadyExists, ObjectLocked, PreconditionFailed
 */
export async function moveVersion(
  parts: CommitParts,
  caller: Caller,
  source: StoredObject,
  target: Place,
  conditions: MoveConditions,
): Promise<void> {
  demand(conditions.source, source) // a version's bytes never change
  const from = { bucketId: source.bucket, name: source.name }
  const changes = [from, target].map(({ bucketId, name }) => ({ bucket: bucketId, names: [name] }))
  try {
    const done = await withInvalidation(parts, changes, () =>
      moveVersionRow(parts.database, caller, from, source.version ?? '', target),
    )
    if (done === null) throw new StorageError('NoSuchVersion')
    if (done === 'kept') throw new StorageError('KeptByRule')
    await removeBytes(parts, done.removals)
  } catch (error) {
    throw asMissingBucket(await inWordsOfTarget(parts.database, caller, target, conditions, error))
  }
}
