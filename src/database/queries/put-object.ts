import { asUuid } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { versionId } from '../../model/version-id.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Pool } from '../connection/pool.ts'
import { Statement } from '../connection/statement.ts'
import { attributesJson } from './attributes.ts'
import { type KnownSettings, knownSettings, type MarkedColumns } from './buckets.ts'
import { asSaved, type NewObject, type RowValues, rowValues, type Saved } from './save-object.ts'

/** An object that is stored with its bytes, or after them. */
export interface Put {
  object: NewObject
  /** Null when they are in a file already, under the bucket. */
  bytes: Uint8Array | null
  /** Which sweep was the last one, as far as was known, before there was a file (`lastSweep`). */
  sweep?: string
  /** Whether an object of that name may be replaced. */
  upsert: boolean
  /** The settings by which it was let in. */
  bucket: KnownSettings
}

export type PutOutcome =
  | { saved: Saved /** Which versions it has made superfluous. */; removals: Location[] }
  /** The bucket has other settings, or is not there: nothing was done. */
  | { saved: null; bucket: KnownSettings | null }

/**
 * Makes a row, or by `upsert` replaces the one of that name, and puts the bytes into the database, unless they are a file:
 * as `insertObject` or `upsertObject` under the caller's policies, in one round trip.
 *
 * @throws ResourceAlreadyExists, AccessDenied, BucketReference, SkippedByTrigger, NoSuchBucket when the bucket was made anew
 *   at this moment, and UploadExpired when a sweep has begun since, which may remove the file
 */
export async function putObject(
  database: Pick<Database, 'commit'>,
  caller: Caller,
  { object, bytes, sweep, upsert, bucket }: Put,
): Promise<PutOutcome> {
  const [row] = await database.commit(PUT, {
    ...rowValues(crypto.randomUUID(), object),
    knownUid: bucket.uid,
    knownMark: bucket.mark,
    bytes,
    sweep: sweep ?? null,
    upsert,
    context: callerContext(caller),
  })
  return outcomeOf(row, object.version)
}

/** Of several callers, each as `putObject`, in one round trip and one transaction. */
export interface GroupedPut {
  caller: Caller
  put: Put & { bytes: Uint8Array }
}

export interface GroupOutcome {
  /** By place; null for one with which nothing was done, and which is for `putObject`. */
  outcomes: (PutOutcome | null)[]
  /** The place of one that holds up the others. */
  slowest: number | null
}

/**
 * Makes the rows of several callers, each with its bytes, as `putObject` does, in one transaction. What fails is left out,
 * and what would take too long, so that nobody is held up for more than GROUP_MS.
 *
 * @param connection of `Database.groups`
 * @param puts in the order of their names, each name once
 * @throws StorageError when nothing was done, or nobody knows (`isCertainlyRolledBack`)
 */
export async function putObjects(connection: Pick<Pool, 'run'>, puts: GroupedPut[]): Promise<GroupOutcome> {
  const items = puts.map(({ caller, put: { object, bytes, upsert, bucket } }) => ({
    bucket: object.bucketId,
    uid: bucket.uid,
    mark: bucket.mark,
    name: object.name,
    id: crypto.randomUUID(),
    version: object.version,
    owner: asUuid(object.ownerId),
    owner_id: object.ownerId,
    metadata: object.metadata,
    user_metadata: object.userMetadata,
    checksum: object.checksum,
    tags: object.tags,
    size: bytes.length,
    upsert,
    attributes: attributesJson(object.attributes),
    context: callerContext(caller),
  }))
  const bytes = Buffer.concat(puts.map(({ put }) => put.bytes))
  let told: Told | null
  try {
    const [row] = await connection.run(PUT_GROUP, { items: JSON.stringify(items), bytes })
    told = row?.told ?? null
  } catch (error) {
    if (!hasCode(error, 'DatabaseTimeout')) throw error
    told = await lastTold(connection)
    // Told of this group only if it has committed all the same.
    if (told?.group !== items[0]?.version) throw error
  }
  const known = new Set<string>()
  const outcomeAt = (place: number) => {
    const put = told?.puts[place]
    return put ? untold(outcomeOf(put, items[place]?.version ?? null), known) : null
  }
  return { outcomes: puts.map((_, place) => outcomeAt(place)), slowest: told?.slowest ?? null }
}

async function lastTold(connection: Pick<Pool, 'run'>): Promise<Told | null> {
  const [row] = await connection.run(LAST_TOLD, {})
  return row?.told ? JSON.parse(row.told) : null
}

/** What the transaction has made superfluous is told with each put of it, those before included. */
function untold(outcome: PutOutcome, known: Set<string>): PutOutcome {
  if (!outcome.saved) return outcome
  const removals = outcome.removals.filter(({ version }) => !known.has(version))
  for (const { version } of removals) known.add(version)
  return { ...outcome, removals }
}

function outcomeOf(row: PutRow | undefined, version: string | null): PutOutcome {
  if (row?.id == null) return { saved: null, bucket: row?.uid == null ? null : knownSettings(row.uid, row) }
  const saved = {
    ...asSaved({ ...row, id: row.id, created: row.created === true }),
    versionId: row.keeps_versions ? versionId(version, row.is_versioned) : null,
  }
  const buckets = row.removed_buckets ?? []
  const removals = (row.removed_versions ?? []).map((version, i) => ({ bucket: buckets[i] ?? '', version }))
  return { saved, removals }
}

interface Told {
  /** The version of its first put. */
  group: string
  puts: (PutRow | null)[]
  slowest: number | null
}

const PUT_GROUP = new Statement<{ items: string; bytes: Uint8Array }, { told: Told | null }>(
  'select storage.put_objects(:items, :bytes) as told',
)

const LAST_TOLD = new Statement<object, { told: string | null }>(
  "select current_setting('strongroom.told', true) as told",
)

interface PutValues extends RowValues {
  knownUid: string
  knownMark: string
  bytes: Uint8Array | null
  sweep: string | null
  upsert: boolean
  context: string
}

interface PutRow extends MarkedColumns {
  uid: string | null
  id: string | null
  owner_id: string | null
  created: boolean | null
  created_at: string | null
  updated_at: string | null
  removed_versions: string[] | null
  removed_buckets: string[] | null
  keeps_versions: boolean | null
  is_versioned: boolean | null
}

const PUT = new Statement<PutValues, PutRow>(
  `select * from storage.put_object_version(:bucketId, :knownUid, :knownMark, :name, :id, :version, :owner, :ownerId,
    :metadata, :userMetadata, :checksum, :tags, :bytes, :sweep, :upsert, :attributes,
    :context)`,
)
