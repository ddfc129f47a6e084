import type { Database } from '../connection/client.ts'
import { LastingSession } from '../connection/lasting-session.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import { bytesOrNull, type TakenUpload } from './resumable-uploads.ts'

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
 * The leases that this server has of resumable uploads: any number of them, on one connection that is not of the
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
  async tryAcquire(id: string, lifetimeMs: number | null): Promise<Lease | null> {
    const { sql, lost, close } = await this.#session.get()
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

  close(): Promise<void> {
    return this.#session.close()
  }
}

interface LeaseRow {
  attempt: string | null
  upload_length: string | null
  upload_offset: string | null
  notes: string | null
}
