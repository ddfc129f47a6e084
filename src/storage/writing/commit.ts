import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import { asCaller, asServiceWithin } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { isCertainlyRolledBack } from '../../database/connection/postgres-error.ts'
import { isBucket } from '../../database/queries/buckets.ts'
import { findCurrent } from '../../database/queries/current-object.ts'
import { finishUpload, forgetUpload, ownRemovals } from '../../database/queries/listed-versions.ts'
import { setLock } from '../../database/queries/object-locks.ts'
import { deleteObject } from '../../database/queries/objects.ts'
import { insertObject, type NewObject, type Saved, upsertObject } from '../../database/queries/save-object.ts'
import { copyVersionParts } from '../../database/queries/version-parts.ts'
import { settleBoth } from '../../lib/concurrency.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { NewLock } from '../../model/object-lock.ts'
import { demand, type WriteCondition } from '../../model/write-condition.ts'
import { type Invalidate, withInvalidation } from '../object/changes.ts'
import { type StoredObject, storedObject, validatorsOf } from '../object/stored-object.ts'
import { removeBytes } from './byte-removal.ts'
import { Disturbed, judged, savedOver, undisturbed } from './conditional-write.ts'

export interface Stored {
  object: StoredObject
  /** Whether there was no object of that name before. */
  created: boolean
}

export interface CommitParts {
  database: Database
  backend: Backend
  logger: Logger
  invalidate: Invalidate
}

/** How an upload is committed. */
export interface CommitOptions {
  /** Whether an object of that name may be replaced. */
  upsert: boolean
  /** The only bucket that it may appear in; undefined means whichever has the name, and its policies have agreed. */
  bucketUid?: string | undefined
  /** What must hold of the object that is there already. */
  condition?: WriteCondition | undefined
  /** The version of which this one is a copy, when only its parts have hashes. */
  copyOf?: string | undefined
  /** How its version is locked, by whoever may change it; nobody sees it without. */
  lock?: NewLock | undefined
  /** Whether what has the name is deleted first, by the caller's right to: its bucket keeps what is deleted, not what is replaced. */
  freesName?: boolean | undefined
  /** Runs inside the transaction, after the policies have agreed: the bytes of a small body, or of a small copy. */
  storeBytes?: (tx: Transaction) => Promise<unknown>
}

/**
 * Makes an object's row visible, in one transaction with all that goes with it, and removes the bytes of the
 * version it replaces once that has committed.
 *
 * @throws PreconditionFailed; KeptByRule when a name is to be freed that the caller may not free
 */
export async function commitUpload(
  parts: CommitParts,
  caller: Caller,
  object: NewObject,
  { upsert, bucketUid, condition, copyOf, lock, freesName, storeBytes }: CommitOptions,
): Promise<Stored> {
  const transaction = () =>
    asCaller(parts.database, caller, async (tx, startedAt) => {
      if (copyOf !== undefined) await copyVersionParts(tx, copyOf, object.version)
      const found = condition && (await judged(tx, { ...object, upsert }, condition))
      const over = found && freesName ? await freed(tx, object, condition) : found
      const save = () => (upsert ? upsertObject(tx, object) : inserted(tx, object, startedAt))
      const row = over === undefined || !upsert ? save() : savedOver(tx, object, over)
      const saving = bucketUid === undefined ? row : inBucket(tx, row, object.bucketId, bucketUid)
      // What is small was never on the list of uploads, and a created row replaces nothing.
      const leaving = storeBytes ? (upsert ? ownRemovals(tx) : NO_REMOVALS) : finishUpload(tx, object.version)
      const done = await settleBoth(saving, leaving)
      await storeBytes?.(tx)
      if (lock) await lockNew(tx, caller, object, lock)
      return done
    })
  return carryOut(parts, object, condition ? () => undisturbed(transaction) : transaction)
}

/** Deletes what has been judged. @returns what there is to replace then. @throws KeptByRule, PreconditionFailed */
async function freed(
  tx: Transaction,
  object: NewObject,
  condition: WriteCondition | undefined,
): Promise<null> {
  const row = await deleteObject(tx, object)
  if (!row) throw (await findCurrent(tx, object)) ? new StorageError('KeptByRule') : new Disturbed()
  demand(condition, validatorsOf(row))
  return null
}

/** @throws AccessDenied when the caller may not change what he has made, InvalidParameter */
async function lockNew(tx: Transaction, caller: Caller, object: NewObject, lock: NewLock): Promise<void> {
  const found = await asServiceWithin(tx, caller, () =>
    setLock(tx, caller, object, { id: object.version }, lock),
  )
  if (found === null || typeof found === 'string') throw new StorageError('AccessDenied')
}

/** Carries out a commit, tells of it, and removes the bytes that it has made superfluous. @throws as `commit` */
export async function carryOut(
  parts: CommitParts,
  object: NewObject,
  commit: () => Promise<readonly [Saved, Location[]]>,
): Promise<Stored> {
  const change = { bucket: object.bucketId, names: [object.name] }
  const [saved, removals] = await withInvalidation(parts, [change], commit)
  await removeBytes(parts, removals)
  return { object: storedObject({ ...object, ...saved, quarantineReason: null }), created: saved.created }
}

const NO_REMOVALS: Promise<Location[]> = Promise.resolve([])

/** The bucket may have been deleted and made again since the bytes began to come. @throws NoSuchBucket */
async function inBucket<T>(tx: Transaction, row: Promise<T>, id: string, uid: string): Promise<T> {
  // The row keeps its bucket from being deleted, so that what is seen after it holds until the commit.
  const [saved, isSame] = await settleBoth(row, isBucket(tx, id, uid))
  if (!isSame) throw new StorageError('NoSuchBucket')
  return saved
}

async function inserted(tx: Transaction, object: NewObject, startedAt: Promise<Date>): Promise<Saved> {
  const made = await insertObject(tx, object)
  const createdAt = await startedAt
  return { ...made, ownerId: object.ownerId, created: true, createdAt, updatedAt: createdAt }
}

/**
 * Undoes a write whose row did not come about. When the commit's outcome is unknown the bytes stay: the row may
 * be there. The cleanup knows later.
 *
 * @param wasListed whether the version was put on the list of those being written
 */
export async function abortUpload(
  { backend, database, logger }: Pick<CommitParts, 'backend' | 'database' | 'logger'>,
  at: Location,
  error: unknown,
  { wasListed }: { wasListed: boolean },
): Promise<void> {
  if (!isCertainlyRolledBack(error)) return
  try {
    await backend.remove(at)
    if (wasListed) await forgetUpload(database, at.version)
  } catch (cause) {
    logger.warn({ err: cause, version: at.version }, 'a failed upload is left to the cleanup')
  }
}

/** Awaits a step of an upload, and throws what it throws in an upload's words. */
export async function inUploadWords<T>(step: Promise<T>): Promise<T> {
  try {
    return await step
  } catch (error) {
    throw asUploadError(error)
  }
}

/** What goes wrong in an upload, in an upload's words. */
export function asUploadError(error: unknown): unknown {
  if (!(error instanceof StorageError)) {
    return isAborted(error) ? new StorageError('Aborted', { cause: error }) : error
  }
  if (error.code === 'ResourceAlreadyExists') {
    return new StorageError('KeyAlreadyExists', { cause: error.cause })
  }
  return asMissingBucket(error)
}

/** A row that refers to nothing: the bucket was deleted at this moment. */
export function asMissingBucket(error: unknown): unknown {
  if (!hasCode(error, 'BucketReference')) return error
  return new StorageError('NoSuchBucket', { cause: error.cause })
}

/** How Node names a body that ended early, because its client went away or broke the protocol. */
function isAborted(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^(?:ECONNRESET|ERR_STREAM_PREMATURE_CLOSE|ABORT_ERR|HPE_.*)$/.test(code)
}
