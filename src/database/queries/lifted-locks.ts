import type postgres from '#postgres'
import { StorageError } from '../../model/errors.ts'
import { fromPostgres, inOurErrors, sqlState } from '../connection/postgres-error.ts'
import { dateOrNull } from '../connection/row-values.ts'

/** What an operator does about locks, with the rights of who owns the database (drizzle/functions/locks.sql). */

export interface LiftedLock {
  version: string
  legalHold: boolean
  /** By a moment of its own or its bucket's days, whichever is later. */
  lockedUntil: Date | null
}

/**
 * Lets a version go, and says so in the audit log.
 *
 * @returns how it was locked
 * @throws NoSuchVersion when there is none, or it is not locked; AccessDenied when the login may not
 */
export async function liftLock(
  sql: postgres.Sql,
  { bucket, name, version }: { bucket: string; name: string; version: string },
  reason: string,
): Promise<LiftedLock> {
  try {
    const [row] = await inOurErrors(sql<LiftedRow[]>`
      select version, legal_hold, locked_until::text as locked_until
      from storage.lift_lock(${bucket}, ${name}, ${version}, ${reason})`)
    return {
      version,
      legalHold: row?.legal_hold === true,
      lockedUntil: dateOrNull(row?.locked_until ?? null),
    }
  } catch (error) {
    if (sqlState(error) !== NO_DATA) throw error
    const message = `${bucket}/${name} has no version ${version} that is locked`
    throw new StorageError('NoSuchVersion', { cause: error, message })
  }
}

const NO_DATA = 'P0002'

interface LiftedRow {
  version: string
  legal_hold: boolean
  locked_until: string | null
}

export interface ListedLock extends LiftedLock {
  bucket: string
  name: string
}

/**
 * What is locked by a moment or a hold of its own, and not by the days of its bucket alone, by bucket and name. It comes in pages: there
 * may be more than a process has memory for.
 */
export async function* listLocks(
  sql: postgres.Sql,
  bucket: string | undefined,
  most: number,
): AsyncGenerator<ListedLock[]> {
  const pages = sql<(LiftedRow & { bucket_id: string; name: string })[]>`
    select n.bucket_id, n.name, n.version, l.legal_hold, l.retain_until::text as locked_until
    from storage.object_locks l join (
      select bucket_id, name, version from storage.objects
      union all select bucket_id, name, version from storage.object_versions where kind = 'version'
    ) n on n.version = l.version::text
    where (l.legal_hold or l.retain_until > now()) and n.bucket_id = coalesce(${bucket ?? null}, n.bucket_id)
    order by n.bucket_id, n.name, n.version`
  try {
    for await (const rows of pages.cursor(most)) {
      yield rows.map((row) => ({
        bucket: row.bucket_id,
        name: row.name,
        version: row.version,
        legalHold: row.legal_hold,
        lockedUntil: dateOrNull(row.locked_until),
      }))
    }
  } catch (error) {
    throw fromPostgres(error)
  }
}
