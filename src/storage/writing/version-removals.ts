import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import { type DeletedRow, deleteVersions, type VersionOfName } from '../../database/queries/delete-objects.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import { withInvalidation } from '../object/changes.ts'
import { isStorableText } from '../object/object-name.ts'
import { removeBytes } from './byte-removal.ts'
import type { RemovalParts } from './removal.ts'

/** Versions per transaction. */
const BATCH = 500

interface Parts extends Pick<RemovalParts, 'database' | 'invalidate'> {
  backend: Backend
  logger: Logger
}

/** One version of a name, and what must hold of it. */
export interface ConditionalVersion extends VersionOfName {
  condition: WriteCondition | undefined
}

/**
 * What has become of a version: it is gone, or was not there, which is null, or is kept for a reason (KeptByRule, ObjectLocked, what a
 * trigger says).
 */
export type RemovedVersion = DeletedRow | StorageError | null

/**
 * Deletes versions and markers for good, those together that nothing must hold of, and each other one by `remove`.
 *
 * @returns of each, in its place
 */
export async function deleteEachVersion(
  parts: Parts,
  caller: Caller,
  bucket: string,
  versions: ConditionalVersion[],
  remove: (one: ConditionalVersion) => Promise<DeletedRow>,
): Promise<RemovedVersion[]> {
  const plain = versions.filter(({ condition }) => !condition)
  const removed = (await removeVersions(parts, caller, bucket, plain)).values()
  const outcomes: RemovedVersion[] = []
  for (const one of versions) {
    const outcome = one.condition ? remove(one).catch(asOutcome) : removed.next().value
    outcomes.push((await outcome) ?? null)
  }
  return outcomes
}

/**
 * Deletes versions and markers for good, each as if it were alone; the one before moves up, if it was what a name has now.
 *
 * @returns of each, in its place; null also of what was asked for before
 */
export async function removeVersions(
  parts: Parts,
  caller: Caller,
  bucket: string,
  versions: VersionOfName[],
): Promise<RemovedVersion[]> {
  const outcomes: RemovedVersion[] = versions.map(() => null)
  const places = [...versions.keys()].filter((place) => isStorableText(versions[place]?.name ?? ''))
  for (let start = 0; start < places.length; start += BATCH) {
    const batch = places.slice(start, start + BATCH)
    const removed = await removeBatch(
      parts,
      caller,
      bucket,
      batch.flatMap((place) => versions[place] ?? []),
    )
    for (const [i, place] of batch.entries()) outcomes[place] = removed[i] ?? null
  }
  return outcomes
}

async function removeBatch(
  parts: Parts,
  caller: Caller,
  bucket: string,
  batch: VersionOfName[],
): Promise<RemovedVersion[]> {
  try {
    return await removeTogether(parts, caller, bucket, batch)
  } catch (error) {
    // What a rule says of one of them keeps that one alone.
    if (!isOfTheRequest(error)) throw error
    if (batch.length === 1) return [error]
  }
  const outcomes: RemovedVersion[] = []
  for (const one of batch) {
    const [outcome] = await removeTogether(parts, caller, bucket, [one]).catch((error) => [asOutcome(error)])
    outcomes.push(outcome ?? null)
  }
  return outcomes
}

/** @throws what a trigger or a reference says of any of them; nothing is deleted then */
async function removeTogether(
  parts: Parts,
  caller: Caller,
  bucket: string,
  versions: VersionOfName[],
): Promise<RemovedVersion[]> {
  const names = [...new Set(versions.map(({ name }) => name))]
  const { outcomes, removals } = await withInvalidation(parts, [{ bucket, names }], () =>
    deleteVersions(parts.database, caller, bucket, versions),
  )
  await removeBytes(parts, removals)
  return outcomes.map((outcome) => {
    if (outcome === 'kept') return new StorageError('KeptByRule')
    if (outcome === null || !('lock' in outcome)) return outcome
    return new StorageError('ObjectLocked', { message: `The version is locked: ${outcome.lock}` })
  })
}

/** @throws what is about the server */
function asOutcome(error: unknown): StorageError | null {
  if (hasCode(error, 'NoSuchVersion') || hasCode(error, 'InvalidKey')) return null
  if (!isOfTheRequest(error)) throw error
  return error
}

/** Whether it is about what was asked for, and not about the server. */
export function isOfTheRequest(error: unknown): error is StorageError {
  return error instanceof StorageError && error.status < 500
}
