import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import {
  type DeletedRow,
  type Deletions,
  deleteObjects,
  type VersionOfName,
} from '../../database/queries/delete-objects.ts'
import type { Deletion } from '../../database/queries/deletion.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import { withInvalidation } from '../object/changes.ts'
import { isObjectName, isStorableText, type NameRules, parseObjectName } from '../object/object-name.ts'
import { removeBytes } from './byte-removal.ts'
import { deleteOne, type Gone, type RemovalParts } from './removal.ts'
import { isOfTheRequest, type RemovedVersion, removeVersions } from './version-removals.ts'

/** Names per transaction (wire §3.8). */
const BATCH = 500

/** So often others may make objects anew between their deletion and the look at what is left. */
const MOST_TRIES = 10

interface Parts extends RemovalParts {
  backend: Backend
  logger: Logger
  nameRules: NameRules
}

/** Why an object is still there, by its name. */
type Kept = Map<string, StorageError>

/** What became of names, as of each alone: one that is in neither was not there. */
export interface Removed {
  /** Those objects that are gone, by their names. */
  deleted: Map<string, Gone>
  kept: Kept
}

/** What became of names and versions that were deleted together. */
export interface RemovedMany {
  deleted: DeletedRow[]
  /** What has become of each version, in its place. */
  versions: RemovedVersion[]
}

/** Deletes what there is of these names and versions, and the policies and locks allow. */
export async function deleteMany(
  parts: Parts,
  caller: Caller,
  bucket: string,
  names: string[],
  versions: VersionOfName[],
  deletion: Deletion,
): Promise<RemovedMany> {
  const wanted = [...new Set(names.filter(isStorableText))]
  const deleted: DeletedRow[] = []
  for (let start = 0; start < wanted.length; start += BATCH) {
    const batch = wanted.slice(start, start + BATCH)
    const commit = () =>
      deleteObjects(parts.database, caller, bucket, batch, markable(parts, batch), 'none', deletion)
    const done = await withInvalidation(parts, [{ bucket, names: batch }], commit)
    await removeBytes(parts, done.removals)
    deleted.push(...rowsOf(bucket, done))
  }
  const outcomes = await removeVersions(parts, caller, bucket, versions)
  for (const outcome of outcomes) {
    if (!(outcome instanceof StorageError)) deleted.push(...(outcome ? [outcome] : []))
    else if (outcome.code !== 'ObjectLocked' && outcome.code !== 'KeptByRule') throw outcome
  }
  return { deleted, versions: outcomes }
}

/** Names that get a marker, though no object has them. */
function markable({ nameRules }: Pick<Parts, 'nameRules'>, names: string[]): string[] {
  return names.filter((name) => isObjectName(name, nameRules))
}

/** What is deleted: by its own version, or, where versions are kept, by the marker that says so. */
function rowsOf(bucketId: string, { deleted, markers }: Deletions): DeletedRow[] {
  const rows = deleted.map((row) => {
    const marker = markers.get(row.name ?? '')
    markers.delete(row.name ?? '')
    return marker ? { ...row, version: marker.version, isDeleteMarker: true } : row
  })
  for (const [name, { objectId, version }] of markers) {
    rows.push({ ...NOTHING, id: objectId, bucketId, name, version, isDeleteMarker: true })
  }
  return rows
}

/** Of a name that no object had. */
const NOTHING = {
  owner: null,
  ownerId: null,
  createdAt: null,
  updatedAt: null,
  lastAccessedAt: null,
  metadata: null,
  userMetadata: null,
}

/**
 * Deletes objects, each as if it were alone. One that is not there is as well.
 *
 * @param conditions of some of them
 */
export async function deleteEach(
  parts: Parts,
  caller: Caller,
  bucket: string,
  names: string[],
  conditions: ReadonlyMap<string, WriteCondition>,
): Promise<Removed> {
  const gone = new Map<string, Gone>()
  const kept: Kept = new Map()
  const wanted = [...new Set(names.filter(isStorableText))]
  const together = wanted.filter((name) => !conditions.has(name))
  const alone = wanted.filter((name) => conditions.has(name))
  for (let start = 0; start < together.length; start += BATCH) {
    const batch = together.slice(start, start + BATCH)
    try {
      const done = await deleteUnlessKept(parts, caller, bucket, batch)
      await removeBytes(parts, done.removals)
      for (const [name, one] of done.deleted) gone.set(name, one)
      for (const [name, why] of done.kept) kept.set(name, why)
    } catch (error) {
      // What a rule says of one of them keeps that one alone.
      if (!isOfTheRequest(error)) throw error
      alone.push(...batch)
    }
  }
  for (const sentName of alone) {
    try {
      const name = parseObjectName(sentName, parts.nameRules)
      const { removals, ...one } = await deleteOne(
        parts,
        caller,
        bucket,
        name,
        conditions.get(sentName),
        'as the bucket says',
      )
      await removeBytes(parts, removals)
      gone.set(sentName, one)
    } catch (error) {
      if (hasCode(error, 'NoSuchKey') || hasCode(error, 'InvalidKey')) continue
      if (!isOfTheRequest(error)) throw error
      kept.set(sentName, error)
    }
  }
  return { deleted: gone, kept }
}

/**
 * Deletes what there is of these names, all or, when a rule speaks, none.
 *
 * @returns the bytes that are to be removed, what was deleted, and what the policies have kept: as `unlessDenied`, only one and the same
 *   row, met twice
 * @throws what a trigger or a reference says of any of them; nothing is deleted then
 */
async function deleteUnlessKept(
  parts: Parts,
  caller: Caller,
  bucket: string,
  names: string[],
): Promise<Removed & { removals: Location[] }> {
  const { database, tellsOfHidden } = parts
  const removals: Location[] = []
  const gone = new Map<string, Gone>()
  const kept: Kept = new Map()
  let left = names
  let before = new Map<string, string>()
  for (let tries = 0; left.length > 0; tries++) {
    const looking = tellsOfHidden ? 'all' : 'seen'
    const commit = () =>
      deleteObjects(database, caller, bucket, left, markable(parts, left), looking, 'as the bucket says')
    const done = await withInvalidation(parts, [{ bucket, names: left }], commit)
    const { deleted, there, markers, removals: own } = done
    removals.push(...own)
    for (const { name, id } of deleted) {
      there.delete(name ?? '') // made anew by a trigger
      gone.set(name ?? '', { id, marker: null })
    }
    for (const [name, marker] of markers) {
      there.delete(name) // made since
      gone.set(name, { id: marker.objectId, marker })
    }
    for (const [name, row] of there) {
      if (before.get(name) === row) kept.set(name, new StorageError('KeptByRule'))
      else if (tries === MOST_TRIES) kept.set(name, new StorageError('TransactionConflict'))
    }
    left = [...there.keys()].filter((name) => !kept.has(name))
    before = there
  }
  return { removals, deleted: gone, kept }
}
