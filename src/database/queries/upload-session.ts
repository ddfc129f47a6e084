import type { Database } from '../connection/client.ts'
import { LastingSession } from '../connection/lasting-session.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import { bytesOrNull, type TakenUpload } from './resumable-uploads.ts'

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
 * The turns that this server has with resumable uploads: any number of them, on one connection that is not of the
 * pool. They end with it, at once when the server dies, so no lock is ever left behind and none has to be renewed.
 *
 * Within this process an upload can be had twice: the caller keeps its own requests apart.
 */
export class UploadSession {
  readonly #session: LastingSession

  constructor(database: Database) {
    this.#session = new LastingSession(() => database.openSession())
  }

  /**
   * Does not wait: null when another server has the upload.
   *
   * @param lifetimeMs how long the upload stays after this, or null to look at it only
   * @throws DatabaseUnavailable
   */
  async tryTurn(id: string, lifetimeMs: number | null): Promise<UploadTurn | null> {
    const { sql, lost, close } = await this.#session.get()
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

  close(): Promise<void> {
    return this.#session.close()
  }
}

interface TurnRow {
  attempt: string | null
  upload_length: string | null
  upload_offset: string | null
  notes: string | null
}
