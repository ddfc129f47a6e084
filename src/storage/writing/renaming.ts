import { asCaller } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { findCurrent, lockCurrent } from '../../database/queries/current-object.ts'
import { findObjectId, renameObject } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode } from '../../model/errors.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'
import { validatorsOf } from '../object/stored-object.ts'
import { asMissingBucket } from './commit.ts'
import { unlessDenied } from './denied-or-gone.ts'

export interface MoveConditions {
  /** Of the object that is moved. */
  source?: WriteCondition | undefined
  /** Of an object that is there already under the new name. */
  target?: WriteCondition | undefined
}

interface Place {
  bucketId: string
  name: string
}

/**
 * Gives an object that the caller has seen another name, or bucket, if the policies and the conditions let him.
 *
 * @throws NoSuchKey, NoSuchBucket, AccessDenied, ResourceAlreadyExists, PreconditionFailed
 */
export async function rename(
  parts: { database: Database; invalidate: Invalidate },
  caller: Caller,
  source: Place,
  target: Place,
  conditions: MoveConditions,
): Promise<void> {
  const { database } = parts
  const commit = () =>
    unlessDenied((deniedOrGone) =>
      asCaller(database, caller, async (tx) => {
        const before = conditions.source && (await lockCurrent(tx, source))
        if (await renameObject(tx, source, { ...target, ownerId: caller.subject })) {
          demand(conditions.source, before ? validatorsOf(before) : null)
          demand(conditions.target, null) // else the name would have been taken
          return
        }
        // It was visible a moment ago: gone since, or the policies keep it.
        return deniedOrGone(await findObjectId(tx, source.bucketId, source.name))
      }),
    )
  const changes = [source, target].map(({ bucketId, name }) => ({ bucket: bucketId, names: [name] }))
  try {
    await withInvalidation(parts, changes, commit)
  } catch (error) {
    if (hasCode(error, 'ResourceAlreadyExists') && conditions.target) {
      const taken = await asCaller(database, caller, (tx) => findCurrent(tx, target))
      if (taken) demand(conditions.target, validatorsOf(taken))
    }
    throw asMissingBucket(error)
  }
}
