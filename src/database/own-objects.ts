import { sql } from 'drizzle-orm'
import { asService } from './as-caller.ts'
import type { Database } from './client.ts'

/**
 * Objects whose bytes a server of ours has written: it says in each row which bytes, and where. Rows that were taken
 * over from another database, or made by plain SQL, promise no bytes.
 */
const IS_OURS = sql`bytes_bucket is not null and checksum is not null`

export async function countOwnObjects(database: Database): Promise<number> {
  const [row] = await asService(database, (tx) =>
    tx.execute<{ count: number }>(
      sql`select count(*)::float8 as count from storage.objects where ${IS_OURS}`,
    ),
  )
  return row?.count ?? 0
}
