import { inOurErrors } from './postgres-error.ts'
import { bytesOrNull, type TakenUpload } from './resumable-uploads.ts'
import type { ServingSession } from './serving-session.ts'

/** One request's turn with a resumable upload. */
export interface UploadTurn {
  /** Null when the upload has ended or expired, or was not to be taken. */
  taken: TakenUpload | null
  /** Aborted when the turn is lost with its connection. */
  lost: AbortSignal
  /** Ends the turn. Never fails: one that cannot be given back ends with its connection. */
  end(): Promise<void>
}

/**
 * Takes the turn of a resumable upload. Does not wait: null when another server has it. Within this process an upload can
 * be had twice: the caller keeps its own requests apart.
 *
 * @param lifetimeMs how long the upload stays after this, or null to look at it only
 * @throws DatabaseUnavailable
 */
export async function tryTurnOfUpload(
  session: ServingSession,
  id: string,
  lifetimeMs: number | null,
): Promise<UploadTurn | null> {
  const { sql, lost, close } = await session.get()
  const [row] = await inOurErrors(sql<TurnRow[]>`
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
    end: async () => {
      if (!lost.aborted) await sql`select storage.unlock_resumable_upload(${id})`.catch(close)
    },
  }
}

interface TurnRow {
  attempt: string | null
  upload_length: string | null
  upload_offset: string | null
  notes: string | null
}
