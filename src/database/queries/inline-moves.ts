import type postgres from '#postgres'
import type { Location } from '../../model/location.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import { Statement } from '../connection/statement.ts'

/**
 * The change of place of an object's bytes (drizzle/functions/inline-moves.sql). Asked by the connection that has the
 * cleanup's turn, so that nothing is named once that is lost.
 */

/** Bytes in the database are at `to` as well, and named there from now on. Returns whether any row still names them. */
export async function moveBytesOut(sql: postgres.Sql, to: Location): Promise<boolean> {
  const [row] = await inOurErrors(OUT.send(sql, to))
  return row?.moved ?? false
}

const OUT = new Statement<Location, { moved: boolean }>(
  'select storage.move_bytes_out(:version, :bucket) as moved',
)

/**
 * Bytes that are at `from` are kept in the database as well, and named there from now on.
 *
 * @returns whether what is at `from` may be removed; null when no row names it, and nothing was done
 */
export async function moveBytesIn(
  sql: postgres.Sql,
  from: Location,
  bytes: Uint8Array,
): Promise<boolean | null> {
  const [row] = await inOurErrors(IN.send(sql, { ...from, bytes }))
  return row?.removable ?? null
}

const IN = new Statement<Location & { bytes: Uint8Array }, { removable: boolean | null }>(
  'select storage.move_bytes_in(:version, :bucket, :bytes) as removable',
)
