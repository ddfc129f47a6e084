import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import { asCaller } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { type CurrentObject, findCurrent, lockCurrent } from '../../database/queries/current-object.ts'
import { sayDeletion } from '../../database/queries/deletion.ts'
import { finishUpload, ownRemovals } from '../../database/queries/listed-versions.ts'
import { deleteObject, findRow, renameObject } from '../../database/queries/objects.ts'
import { copyVersionParts } from '../../database/queries/version-parts.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'
import { validatorsOf } from '../object/stored-object.ts'
import { removeBytes } from './byte-removal.ts'
import { asMissingBucket } from './commit.ts'
import { Disturbed, undisturbed } from './conditional-write.ts'
import { unlessDenied } from './denied-or-gone.ts'

export interface MoveConditions {
  /** Whether an object that has the new name gives way. */
  replaces?: boolean
  /** Of the object that is moved. */
  source?: WriteCondition | undefined
  /** Of an object that is there already under the new name. */
  target?: WriteCondition | undefined
}

export interface Place {
  bucketId: string
  name: string
}

/** Bytes that an object gets with its new name, since what it has stays where it was, as a version. */
export interface OwnBytes {
  at: Location
  /** The version of which they are a copy. */
  of: string
  /** Runs in the transaction, before the row has them; undefined where they are stored, and `at` is listed as being written. */
  store: ((tx: Transaction) => Promise<unknown>) | undefined
}

/** The bucket keeps versions: nothing is done, though it might be, with bytes of its own. */
export class NeedsOwnBytes extends Error {}

/**
 * Gives an object that the caller has seen another name, or bucket, if the policies and the conditions let him. What it
 * replaces goes in the same transaction, by the caller's right to delete it.
 *
 * @throws NoSuchKey, NoSuchBucket, AccessDenied, ResourceAlreadyExists, PreconditionFailed; NeedsOwnBytes without `own`;
 *   MissingBytes when `own` are of another version than it has now
 */
export async function rename(
  parts: { database: Database; backend: Backend; logger: Logger; invalidate: Invalidate },
  caller: Caller,
  source: Place,
  target: Place,
  conditions: MoveConditions,
  own?: OwnBytes,
): Promise<void> {
  const { database } = parts
  const commit = () =>
    unlessDenied((deniedOrGone) =>
      asCaller(database, caller, async (tx) => {
        const hasGivenWay = conditions.replaces && (await giveWay(tx, source, target, conditions.target))
        const before = conditions.source || own ? await lockCurrent(tx, source) : null
        if (own && before) {
          if (before.version !== own.of) throw new StorageError('MissingBytes')
          await copyVersionParts(tx, own.of, own.at.version)
          await own.store?.(tx)
        }
        // What has come between has other bytes than those that were copied, and is not there for this try.
        const isThere = !own || before !== null
        const renamed =
          isThere && (await renameObject(tx, source, { ...target, ownerId: caller.subject, at: own?.at }))
        if (renamed) {
          demand(conditions.source, before ? validatorsOf(before) : null)
          if (!conditions.replaces) demand(conditions.target, null) // else the name would have been taken
          if (renamed.keepsVersions && !own) throw new NeedsOwnBytes()
          if (own && !own.store) return finishUpload(tx, own.at.version)
          return own || conditions.replaces ? ownRemovals(tx) : []
        }
        if (hasGivenWay) throw new StorageError('KeptByRule') // and what has given way stays where it is
        // It was visible a moment ago: gone since, or the policies keep it.
        return deniedOrGone(await findRow(tx, source.bucketId, source.name))
      }),
    )
  const changes = [source, target].map(({ bucketId, name }) => ({ bucket: bucketId, names: [name] }))
  try {
    const removals = await withInvalidation(
      parts,
      changes,
      conditions.replaces ? () => undisturbed(replacing(database, caller, target, commit)) : commit,
    )
    await removeBytes(parts, removals)
  } catch (error) {
    throw asMissingBucket(await inWordsOfTarget(database, caller, target, conditions, error))
  }
}

/**
 * The same transaction, which tells an object that has come between, and gives way to the next try, from one that stays since
 * the caller may not delete it: that is there after each try.
 *
 * @throws Disturbed when it is worth another try, and what the transaction throws
 */
function replacing<T>(
  database: Database,
  caller: Caller,
  target: Place,
  transaction: () => Promise<T>,
): () => Promise<T> {
  let before: CurrentObject | null | undefined
  return async () => {
    try {
      return await transaction()
    } catch (error) {
      if (!hasCode(error, 'ResourceAlreadyExists')) throw error
      const taken = await asCaller(database, caller, (tx) => findCurrent(tx, target))
      const isAnother = before !== undefined && taken?.mark !== before?.mark
      before = taken
      throw isAnother ? new Disturbed() : error
    }
  }
}

/**
 * Deletes what has the name that the source is about to get. Not before it is certain that there is a source, and that the
 * caller may change it.
 *
 * @returns whether it is
 * @throws PreconditionFailed
 */
async function giveWay(
  tx: Transaction,
  source: Place,
  target: Place,
  condition: WriteCondition | undefined,
): Promise<boolean> {
  // Of two that cross each other, both take the same one first, and neither waits for what the other one has.
  if (isBefore(target, source)) await lockCurrent(tx, target)
  if (!(await lockCurrent(tx, source))) return false
  await sayDeletion(tx, 'replace')
  const row = await deleteObject(tx, target)
  await sayDeletion(tx, 'as the bucket says')
  demand(condition, row && validatorsOf(row))
  return true
}

function isBefore(a: Place, b: Place): boolean {
  return a.bucketId < b.bucketId || (a.bucketId === b.bucketId && a.name < b.name)
}

/** What the condition, or the caller's right to delete, has to do with a name that is taken. */
export async function inWordsOfTarget(
  database: Database,
  caller: Caller,
  target: Place,
  conditions: MoveConditions,
  error: unknown,
): Promise<unknown> {
  if (!hasCode(error, 'ResourceAlreadyExists')) return error
  if (conditions.replaces) return new StorageError('AccessDenied', { cause: error })
  if (conditions.target) {
    const taken = await asCaller(database, caller, (tx) => findCurrent(tx, target))
    if (taken) demand(conditions.target, validatorsOf(taken))
  }
  return error
}
