import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'
import { type KnownSettings, knownSettings, type MarkedColumns } from './buckets.ts'
import { asSaved, type NewObject, type RowValues, rowValues, type Saved } from './objects.ts'

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
  database: Database,
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
  if (row?.id == null) return { saved: null, bucket: row?.uid == null ? null : knownSettings(row.uid, row) }
  const saved = asSaved({ ...row, id: row.id, created: row.created === true })
  const buckets = row.removed_buckets ?? []
  const removals = (row.removed_versions ?? []).map((version, i) => ({ bucket: buckets[i] ?? '', version }))
  return { saved, removals }
}

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
}

const PUT = new Statement<PutValues, PutRow>(
  `select * from storage.put_object(:bucketId, :knownUid, :knownMark, :name, :id, :version, :owner, :ownerId,
    :metadata, :userMetadata, :checksum, :tags, :bytes, :sweep, :upsert, :context)`,
)
