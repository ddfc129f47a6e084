import { sql } from 'drizzle-orm'
import type { SystemMetadata } from '../../model/metadata.ts'
import { dateOr1970 } from '../connection/row-values.ts'
import { Statement, type Transaction } from '../connection/statement.ts'
import { objects } from '../schema.ts'

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
  return asCurrent(await FIND_CURRENT.run(tx, object))
}

/** The same, which stays as it is to the transaction's end. Needs SELECT and UPDATE policies. */
export async function lockCurrent(
  tx: Transaction,
  object: { bucketId: string; name: string },
): Promise<CurrentObject | null> {
  return asCurrent(await LOCK_CURRENT.run(tx, object))
}

const currentObject = sql`
  select id, version, metadata, updated_at, xmin::text as mark from ${objects}
  where bucket_id = ${sql.placeholder('bucketId')} and name = ${sql.placeholder('name')}`

const FIND_CURRENT = new Statement<{ bucketId: string; name: string }, CurrentRow>(
  'find_current',
  currentObject,
)
const LOCK_CURRENT = new Statement<{ bucketId: string; name: string }, CurrentRow>(
  'lock_current',
  sql`${currentObject} for update`,
)

interface CurrentRow extends Record<string, unknown> {
  id: string
  version: string | null
  metadata: SystemMetadata | null
  updated_at: string | null
  mark: string
}

function asCurrent([row]: CurrentRow[]): CurrentObject | null {
  return row ? { ...row, updatedAt: dateOr1970(row.updated_at) } : null
}
