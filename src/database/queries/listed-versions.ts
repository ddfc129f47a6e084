import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { Statement } from '../connection/statement.ts'

/**
 * The lists of versions that no row names: `storage.uploads` has those that are being written, `storage.removals` those that
 * rows have left. What stays on them is for the cleanup (`jobs/cleanup/listed-versions.ts`).
 */

/** Puts a version on the list of those being written: who is killed then leaves nothing that the cleanup does not find. */
export async function listUpload(
  database: Database,
  at: Location,
  object: { bucketId: string; name: string },
): Promise<void> {
  await asService(database, (tx) => tx.run(LIST_UPLOAD, { ...at, ...object }))
}

const LIST_UPLOAD = new Statement<Location & { bucketId: string; name: string }, object>(
  `insert into storage.uploads (version, bucket_uid, bucket_id, name) values (:version, :bucket, :bucketId, :name)`,
)

/**
 * Takes a version off the list of those being written, and says which versions this transaction has made
 * superfluous: their bytes go once it has committed.
 *
 * @throws UploadExpired when the version is not on the list any more
 */
export async function finishUpload(tx: Transaction, version: string): Promise<Location[]> {
  return (await tx.run(FINISH_UPLOAD, { version })).map(asLocation)
}

const FINISH_UPLOAD = new Statement<{ version: string }, RemovalRow>(
  'select * from storage.finish_upload(:version)',
)

/** Which versions this transaction has made superfluous. */
export async function ownRemovals(tx: Transaction): Promise<Location[]> {
  return (await tx.run(OWN_REMOVALS, {})).map(asLocation)
}

const OWN_REMOVALS = new Statement<object, RemovalRow>('select * from storage.own_removals()')

/** Notes that these versions' bytes are gone. */
export async function forgetRemovals(database: Database, versions: string[]): Promise<void> {
  await database.run(STRIKE_REMOVALS, { versions })
}

const STRIKE_REMOVALS = new Statement<{ versions: string[] }, object>(
  'select storage.strike_removals(:versions::uuid[])',
)

/** Notes that these versions are still being written. */
export async function heartbeat(database: Database, versions: string[]): Promise<void> {
  await database.run(BEAT_UPLOADS, { versions })
}

const BEAT_UPLOADS = new Statement<{ versions: string[] }, object>(
  'select storage.beat_uploads(:versions::uuid[])',
)

/** Notes that this version will never get a row. */
export async function forgetUpload(database: Database, version: string): Promise<void> {
  await database.run(STRIKE_UPLOAD, { version })
}

const STRIKE_UPLOAD = new Statement<{ version: string }, object>('select storage.strike_upload(:version)')

interface RemovalRow {
  version: string
  bucket_uid: string
}

function asLocation(row: RemovalRow): Location {
  return { bucket: row.bucket_uid, version: row.version }
}
