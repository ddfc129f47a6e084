import { asServiceWithin } from '../../database/as-caller.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { copyInlineBytes, readInlineBytes, writeInlineBytes } from '../../database/queries/inline-bytes.ts'
import type { NewObject } from '../../database/queries/save-object.ts'
import type { Caller } from '../../model/caller.ts'
import type { StoredObject } from '../object/stored-object.ts'
import { type CommitOptions, type CommitParts, commitUpload, type Stored } from '../writing/commit.ts'

/**
 * Copies an object whose bytes are in the database, to the database, in the transaction that makes the row.
 *
 * @param version of the source's bytes
 * @throws MissingBytes, and as `commitUpload`
 */
export async function storeInlineCopy(
  parts: CommitParts,
  caller: Caller,
  source: Pick<StoredObject, 'bucket' | 'name'>,
  version: string,
  object: NewObject,
  conditions: Pick<CommitOptions, 'upsert' | 'condition' | 'lock' | 'freesName'>,
): Promise<Stored> {
  // Over itself: they go with the row that is replaced.
  const isItself = source.bucket === object.bucketId && source.name === object.name
  const own = isItself ? await readInlineBytes(parts.database, version) : null
  const storeBytes = (tx: Transaction) =>
    asServiceWithin(tx, caller, () =>
      own ? writeInlineBytes(tx, object.version, own.bytes) : copyInlineBytes(tx, version, object.version),
    )
  return commitUpload(parts, caller, object, { ...conditions, storeBytes })
}
