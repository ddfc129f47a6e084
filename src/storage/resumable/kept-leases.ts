import type { TakenUpload } from '../../database/queries/resumable-uploads.ts'
import type { Lease } from '../../database/queries/upload-leases.ts'

/** How long an upload waits here for its next request. The next one of a client that is near comes within a few. In milliseconds. */
export const KEPT_MS = 50

/** Most that wait at once. */
const MOST = 100

/**
 * Resumable uploads between two requests of one server: the next one need not ask the database for its turn. Whoever asks
 * for one here has it at once, whichever request he is; one of another server within `KEPT_MS`.
 */
export class KeptLeases {
  readonly #kept = new Map<string, { lease: Lease; timer: NodeJS.Timeout }>()

  get size(): number {
    return this.#kept.size
  }

  ids(): Iterable<string> {
    return this.#kept.keys()
  }

  /** @param left how the upload is; its attempt goes on with the next request. @returns false when there is no room */
  keep(id: string, lease: Lease, left: TakenUpload): boolean {
    if (this.#kept.size >= MOST || lease.lost.aborted) return false
    const timer = setTimeout(() => this.drop(id), KEPT_MS).unref()
    this.#kept.set(id, { lease: { ...lease, taken: left }, timer })
    return true
  }

  /** For the next request; undefined when there is none, or it was lost meanwhile. */
  take(id: string): Lease | undefined {
    const kept = this.#kept.get(id)
    if (!kept) return undefined
    clearTimeout(kept.timer)
    this.#kept.delete(id)
    return kept.lease.lost.aborted ? undefined : kept.lease
  }

  /** Gives one back. Not waited for: what the session is asked after that, such as to have it again, it does after that. */
  drop(id: string): void {
    void this.take(id)?.release()
  }

  dropAll(): void {
    for (const id of [...this.#kept.keys()]) this.drop(id)
  }
}
