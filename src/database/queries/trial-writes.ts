import { asUuid } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import type { ObjectAttributes } from '../../model/object-attributes.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { jsonOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { attributesJson } from './attributes.ts'

/** What a trial write shows to the policies, before any byte is there (wire §7.7). */
export interface IntendedWrite {
  bucketId: string
  name: string
  ownerId: string | null
  metadata: SystemMetadata
  userMetadata: UserMetadata | null
  tags: string[]
  attributes: ObjectAttributes
  /** After how many days the object goes by itself. */
  autoDeleteAfterDays?: number | undefined
  upsert: boolean
}

/**
 * Asks the caller's policies whether they allow a write, and, given a location, puts its version on the list of
 * those being written. One round trip; leaves no object row.
 *
 * @throws AccessDenied, ResourceAlreadyExists, BucketReference when the bucket has gone, SkippedByTrigger
 */
export async function beginUpload(
  database: Database,
  caller: Caller,
  write: IntendedWrite,
  location: Location | null,
): Promise<void> {
  await database.run(BEGIN_UPLOAD, {
    ...writeValues(write),
    version: location?.version ?? null,
    bytesBucket: location?.bucket ?? null,
    context: callerContext(caller),
  })
}

const BEGIN_UPLOAD = new Statement<
  WriteValues & { version: string | null; bytesBucket: string | null; context: string },
  object
>(`select storage.begin_upload(:version, :bytesBucket, :bucketId, :name, :owner, :ownerId, :metadata, :userMetadata,
  :upsert, :tags, :autoDeleteAfterDays, :attributes, :context)`)

/** Whether the caller's policies allow this write. Fails as the write itself would, and leaves nothing. */
export async function tryWrite(tx: Transaction, write: IntendedWrite): Promise<void> {
  await tx.run(TRY_WRITE, writeValues(write))
}

const TRY_WRITE = new Statement<WriteValues, object>(
  `select storage.trial_write(:bucketId, :name, :owner, :ownerId, :metadata, :userMetadata, :upsert, :tags,
    :autoDeleteAfterDays, :attributes)`,
)

/** As `storage.begin_upload` and its like take them. */
export function writeValues(write: IntendedWrite) {
  return {
    ...write,
    owner: asUuid(write.ownerId),
    metadata: JSON.stringify(write.metadata),
    userMetadata: jsonOrNull(write.userMetadata),
    autoDeleteAfterDays: write.autoDeleteAfterDays ?? null,
    attributes: jsonOrNull(attributesJson(write.attributes)),
  }
}

type WriteValues = ReturnType<typeof writeValues>
