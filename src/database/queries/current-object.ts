import type { SystemMetadata } from '../../model/metadata.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/** What a condition is judged by. */
export interface CurrentObject {
  id: string
  version: string | null
  metadata: SystemMetadata | null
  updatedAt: Date
  /** Another one after each change of the row: the transaction that has made it so. */
  mark: string
}

/** The row of that name, if the transaction's role may see it. */
export async function findCurrent(
  tx: Transaction,
  object: { bucketId: string; name: string },
): Promise<CurrentObject | null> {
  return asCurrent(await tx.run(FIND_CURRENT, object))
}

/** The same, which stays as it is to the transaction's end. Needs SELECT and UPDATE policies. */
export async function lockCurrent(
  tx: Transaction,
  object: { bucketId: string; name: string },
): Promise<CurrentObject | null> {
  return asCurrent(await tx.run(LOCK_CURRENT, object))
}

const SELECT_CURRENT = `
  select id, version, metadata, updated_at, xmin::text as mark from storage.objects
  where bucket_id = :bucketId and name = :name`

const FIND_CURRENT = new Statement<{ bucketId: string; name: string }, CurrentRow>(SELECT_CURRENT)
const LOCK_CURRENT = new Statement<{ bucketId: string; name: string }, CurrentRow>(
  `${SELECT_CURRENT} for update`,
)

interface CurrentRow {
  id: string
  version: string | null
  metadata: SystemMetadata | null
  updated_at: string | null
  mark: string
}

function asCurrent([row]: CurrentRow[]): CurrentObject | null {
  return row ? { ...row, updatedAt: dateOr1970(row.updated_at) } : null
}
