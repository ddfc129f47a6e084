import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import { versionId, type WantedVersion } from '../../model/version-id.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { type Deletion, settingOf } from './deletion.ts'
import { versionValues } from './objects.ts'

/** A row as list answers of deletes show it (wire §3.8). */
export interface DeletedRow {
  id: string
  bucketId: string | null
  name: string | null
  owner: string | null
  ownerId: string | null
  version: string | null
  createdAt: Date | null
  updatedAt: Date | null
  lastAccessedAt: Date | null
  metadata: SystemMetadata | null
  userMetadata: UserMetadata | null
  /** Whether `version` is a marker, in a bucket that keeps versions; undefined elsewhere. */
  isDeleteMarker?: boolean
}

/** Which objects of those names that are still there are told of: those that the caller may see, or all. */
export type Looking = 'none' | 'seen' | 'all'

export interface Deletions {
  deleted: DeletedRow[]
  /** Which rows are there all the same, by their names; with the version, since a name that has a history keeps its id. */
  there: Map<string, string>
  /** Those that are deleted where versions are kept, by their names, and by which marker. */
  markers: Map<string, Marker>
  /** Which versions it has made superfluous. */
  removals: Location[]
}

/** Says that a name is deleted. */
export interface Marker {
  objectId: string
  version: string
  /** What S3 calls it. */
  versionId: string
}

/**
 * Deletes what the policies let the caller see and delete, of these names, in one round trip: with their bytes, as far as
 * these are in the database.
 *
 * @param markable those of the names that an object may have: where versions are kept, these are deleted by a marker, though
 *   no object has them
 * @throws what a trigger or a reference says of any of them; nothing is deleted then
 */
export async function deleteObjects(
  database: Database,
  caller: Caller,
  bucketId: string,
  names: string[],
  markable: string[],
  looking: Looking,
  deletion: Deletion,
): Promise<Deletions> {
  const values = { bucketId, names, markable, looking, deletion: settingOf(deletion) }
  const rows = await database.run(DELETE, { ...values, context: callerContext(caller) })
  const done: Deletions = { deleted: [], there: new Map(), markers: new Map(), removals: [] }
  for (const row of rows) {
    if (row.outcome === 'deleted') done.deleted.push(deletedRow(bucketId, row))
    else if (row.outcome === 'there') done.there.set(row.name ?? '', `${row.id} ${row.version}`)
    else if (row.outcome === 'marker') done.markers.set(row.name ?? '', markerOf(row.id, row))
    else done.removals.push({ bucket: row.bytes_bucket ?? '', version: row.version ?? '' })
  }
  return done
}

const DELETE = new Statement<
  {
    bucketId: string
    names: string[]
    markable: string[]
    looking: Looking
    deletion: string | null
    context: string
  },
  OutcomeRow
>(
  'select * from storage.delete_objects(:bucketId, :names::text[], :markable::text[], :looking, :deletion, :context)',
)

/** What is gone, or what keeps it: the policies, or a lock, and which; null: it was not there. */
export type VersionOutcome = DeletedRow | 'kept' | { lock: string } | null

/** One version of a name. */
export interface VersionOfName {
  name: string
  version: WantedVersion
}

/**
 * Deletes versions of names for good, and markers, in one transaction; the one before moves up, if it was what a name has now.
 *
 * @returns of each, in its place; null also of what the caller may not see, or is asked for before
 * @throws ResourceReferenced, and what a trigger says of any of them; nothing is deleted then
 */
export async function deleteVersions(
  database: Database,
  caller: Caller,
  bucketId: string,
  versions: VersionOfName[],
): Promise<{ outcomes: VersionOutcome[]; removals: Location[] }> {
  const rows = await database.run(DELETE_VERSIONS, {
    bucketId,
    names: versions.map(({ name }) => name),
    wanted: versions.map(({ version }) => versionValues(version).wanted),
    context: callerContext(caller),
  })
  const outcomes: VersionOutcome[] = versions.map(() => null)
  const removals: Location[] = []
  for (const { outcome, entry, ...row } of rows) {
    if (outcome === 'removal') removals.push({ bucket: row.bytes_bucket ?? '', version: row.version ?? '' })
    else if (outcome === 'there') outcomes[entry - 1] = 'kept'
    else if (outcome === 'locked') outcomes[entry - 1] = { lock: row.lock ?? '' }
    else outcomes[entry - 1] = { ...deletedRow(bucketId, row), isDeleteMarker: row.is_delete_marker === true }
  }
  return { outcomes, removals }
}

const DELETE_VERSIONS = new Statement<
  { bucketId: string; names: string[]; wanted: (string | null)[]; context: string },
  Omit<OutcomeRow, 'outcome' | 'is_versioned'> & {
    outcome: 'deleted' | 'there' | 'locked' | 'removal'
    /** From 1 on. */
    entry: number
    is_delete_marker: boolean | null
    lock: string | null
  }
>('select * from storage.delete_versions(:bucketId, :names::text[], :wanted::text[], :context)')

/** The marker that this transaction's deletion of an object has left; null where the bucket keeps no versions. */
export async function ownMarker(
  tx: Transaction,
  object: { bucketId: string; name: string },
  objectId: string,
): Promise<Marker | null> {
  const [row] = await tx.run(OWN_MARKER, object)
  return row ? markerOf(objectId, row) : null
}

const OWN_MARKER = new Statement<{ bucketId: string; name: string }, MarkerColumns>(
  'select * from storage.own_marker(:bucketId, :name)',
)

type MarkerColumns = Pick<OutcomeRow, 'version' | 'is_versioned'>

function markerOf(objectId: string, row: MarkerColumns): Marker {
  return { objectId, version: row.version ?? '', versionId: versionId(row.version, row.is_versioned) }
}

interface OutcomeRow {
  outcome: 'deleted' | 'there' | 'marker' | 'removal'
  id: string
  name: string | null
  version: string | null
  bytes_bucket: string | null
  owner: string | null
  owner_id: string | null
  created_at: string | null
  updated_at: string | null
  last_accessed_at: string | null
  metadata: SystemMetadata | null
  user_metadata: UserMetadata | null
  is_versioned: boolean | null
}

function deletedRow(bucketId: string, row: Omit<OutcomeRow, 'outcome' | 'is_versioned'>): DeletedRow {
  return {
    id: row.id,
    bucketId,
    name: row.name,
    owner: row.owner,
    ownerId: row.owner_id,
    version: row.version,
    createdAt: dateOrNull(row.created_at),
    updatedAt: dateOrNull(row.updated_at),
    lastAccessedAt: dateOrNull(row.last_accessed_at),
    metadata: row.metadata,
    userMetadata: row.user_metadata,
  }
}
