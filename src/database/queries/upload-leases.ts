import { inOurErrors } from '../connection/postgres-error.ts'
import { bytesOrNull } from '../connection/row-values.ts'
import type { TakenUpload } from './resumable-uploads.ts'
import type { ServingSession } from './serving-session.ts'

/** One request's lease of a resumable upload. */
export interface Lease {
  /** Null when the upload has ended or expired, or was not to be taken. */
  taken: TakenUpload | null
  /** Aborted when the lease is lost with its connection. */
  lost: AbortSignal
  /** Gives it back. Never fails: one that cannot be given back ends with its connection. */
  release(): Promise<void>
}

/**
 * Acquires a resumable upload. Does not wait: null when another server has it. Within this process an upload can be had
 * twice: the caller keeps its own requests apart.
 *
 * @param lifetimeMs how long the upload stays after this, or null to look at it only
 * @throws DatabaseUnavailable
 */
export async function tryAcquireUpload(
  session: ServingSession,
  id: string,
  lifetimeMs: number | null,
): Promise<Lease | null> {
  const { sql, lost, close } = await session.get()
  const [row] = await inOurErrors(sql<LeaseRow[]>`
    select * from storage.lock_resumable_upload(${id}, ${lifetimeMs !== null}, ${lifetimeMs ?? 0})`)
  if (!row || lost.aborted) return null
  return {
    taken:
      row.attempt === null
        ? null
        : {
            attempt: Number(row.attempt),
            length: bytesOrNull(row.upload_length),
            progress: { offset: Number(row.upload_offset), notes: row.notes },
          },
    lost,
    release: async () => {
      if (!lost.aborted) await sql`select storage.unlock_resumable_upload(${id})`.catch(close)
    },
  }
}

interface LeaseRow {
  attempt: string | null
  upload_length: string | null
  upload_offset: string | null
  notes: string | null
}
