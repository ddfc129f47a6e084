import { asCaller } from '../../database/as-caller.ts'
import { changeObject, type ObjectChanges } from '../../database/queries/change-object.ts'
import { lockCurrent } from '../../database/queries/current-object.ts'
import { findRow, updateTags } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { WantedVersion } from '../../model/version-id.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { withInvalidation } from '../object/changes.ts'
import { type StoredObject, validatorsOf } from '../object/stored-object.ts'
import type { CommitParts } from './commit.ts'
import { unlessDenied } from './denied-or-gone.ts'
import type { Place } from './renaming.ts'

/*
 * Changes of an object's row that need no bytes: its version stays.
 */

type Parts = Pick<CommitParts, 'database' | 'invalidate'>

/**
 * Gives an object these tags instead of those that it has.
 *
 * @param seen.version which has to be the one that is there now
 * @param seen.look finds what the caller sees; again, when it is gone by then
 * @returns the object as it was found
 * @throws AccessDenied, KeptByRule, NotImplemented for a former version, and as `look`
 */
export function changeTags(
  parts: Parts,
  caller: Caller,
  place: Place,
  tags: string[],
  { version, look }: { version: WantedVersion | undefined; look: () => Promise<StoredObject> },
): Promise<StoredObject> {
  const commit = () =>
    unlessDenied<StoredObject>(async (deniedOrGone) => {
      const object = await look()
      if (version && !object.versioning?.isLatest) {
        throw new StorageError('NotImplemented', {
          message: 'The tags of a former version stay as they are',
        })
      }
      const only = version ? object.version : null
      return asCaller(parts.database, caller, async (tx) => {
        if (await updateTags(tx, place, tags, only)) return object
        return deniedOrGone(await findRow(tx, place.bucketId, place.name))
      })
    })
  return withInvalidation(parts, [changeOf(place)], commit)
}

/** Of user metadata, however often something is laid over it; of JSON as PostgreSQL writes it, in bytes. */
const MAX_METADATA = 1024 * 1024

/**
 * Changes what an object that the caller has seen says of itself.
 *
 * @throws NoSuchKey, AccessDenied, KeptByRule, PreconditionFailed; BodyTooLarge when its metadata would be
 */
export function changeAttributes(
  parts: Parts,
  caller: Caller,
  place: Place & { id: string },
  changes: ObjectChanges,
  condition: WriteCondition | undefined,
): Promise<void> {
  const commit = () =>
    unlessDenied<void>((deniedOrGone) =>
      asCaller(parts.database, caller, async (tx) => {
        const before = condition && (await lockCurrent(tx, place))
        const changed = await changeObject(tx, place, changes)
        if (!changed) return deniedOrGone(await findRow(tx, place.bucketId, place.name))
        demand(condition, before ? validatorsOf(before) : null)
        if (changed.metadataBytes > MAX_METADATA)
          throw new StorageError('BodyTooLarge', { message: 'The metadata together are too large' })
        return undefined
      }),
    )
  return withInvalidation(parts, [changeOf(place)], commit)
}

function changeOf({ bucketId, name }: Place) {
  return { bucket: bucketId, names: [name] }
}
