import { sql } from 'drizzle-orm'
import type { Location } from '../../model/location.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { textArray } from '../connection/row-values.ts'
import { ownRemovals } from './listed-versions.ts'

/** Where a page of those whose time is up has ended. */
export interface DuePlace {
  /** When that one was due, as PostgreSQL writes it. */
  purgeAt: string
  sequence: string
}

/** What has become of a page. */
export interface DuePage {
  /** How many are gone, and how many of these were in the trash. */
  count: number
  trash: number
  /** How many stay since they are locked. */
  locked: number
  /** Which bytes are superfluous now. */
  removals: Location[]
  /** Where to go on; null at the end. */
  end: DuePlace | null
}

/**
 * Deletes versions that are too old, markers that have none behind them any more, and what has been in the trash for long enough, what
 * was due first; nothing that is locked, and nothing that somebody else is deleting. What stays is passed over: however much of it there
 * is, a round looks at it once.
 *
 * @param after where the page before has ended; null at the beginning
 * @param most how many are looked at
 * @throws ObjectLocked when one was locked at this moment: none of them is deleted then
 */
export function deleteDueVersions(
  database: Pick<Database, 'transaction'>,
  after: DuePlace | null,
  most: number,
): Promise<DuePage> {
  return asService(database, async (tx) => {
    const due = await tx.execute<DueRow>(sql`
      select v.sequence::text as sequence, v.purge_at::text as "purgeAt", v.kind = 'delete_marker' as "isMarker",
        v.kind <> 'delete_marker' and storage.lock_of(v.bucket_id, v.version, v.valid_from) is not null as "isLocked"
      from storage.object_versions v
      where v.purge_at <= now()
        and (v.purge_at, v.sequence) > (${after?.purgeAt ?? '-infinity'}::timestamptz, ${after?.sequence ?? '-1'}::bigint)
      order by v.purge_at, v.sequence limit ${most}`)
    const sequences = (rows: DueRow[]) =>
      sql`(select unnest(${textArray(rows.map((row) => row.sequence))}::bigint[]))`

    const free = due.filter(({ isMarker, isLocked }) => !isMarker && !isLocked)
    const gone = await tx.execute<{ kind: string }>(sql`
      delete from storage.object_versions where sequence in (
        select v.sequence from storage.object_versions v where v.sequence in ${sequences(free)} for update skip locked
      )
      returning kind`)

    // After the versions that they have hidden, which this statement sees to be gone.
    const markers = await tx.execute(sql`
      delete from storage.object_versions where sequence in (
        select v.sequence from storage.object_versions v
        where v.sequence in ${sequences(due.filter(({ isMarker }) => isMarker))} and not exists (
          select from storage.object_versions w
          where w.bucket_id = v.bucket_id and w.name = v.name and w.kind = 'version' and w.sequence < v.sequence
        )
        for update skip locked
      )
      returning sequence`)

    const last = due.length < most ? undefined : due.at(-1)
    return {
      count: gone.length + markers.length,
      trash: gone.filter(({ kind }) => kind === 'trash').length,
      locked: due.filter(({ isLocked }) => isLocked).length,
      removals: await ownRemovals(tx),
      end: last ? { purgeAt: last.purgeAt, sequence: last.sequence } : null,
    }
  })
}

interface DueRow extends Record<string, unknown> {
  sequence: string
  purgeAt: string
  isMarker: boolean
  isLocked: boolean
}
