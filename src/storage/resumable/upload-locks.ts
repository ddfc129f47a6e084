import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import {
  type TakenUpload,
  wantedResumableUploads,
  wantResumableUpload,
} from '../../database/queries/resumable-uploads.ts'
import type { ServingSession } from '../../database/queries/serving-session.ts'
import { type Lease, tryAcquireUpload } from '../../database/queries/upload-leases.ts'
import { StorageError } from '../../model/errors.ts'

/** A resumable upload in the hands of one request. */
export interface UploadLock {
  /** Null when the upload has ended or expired, or was not to be taken. */
  taken: TakenUpload | null
  /** Aborted when the request should end, and keep what has come: another one waits, or the lock is lost. */
  signal: AbortSignal
  release(): Promise<void>
}

export interface UploadLocksOptions {
  database: Database
  session: ServingSession
  logger: Logger
  /** How long a request waits for the one before it, in milliseconds; 5 s (wire §5.7). */
  waitMs?: number
  /** Most uploads that this server works on at once; 1000. */
  most?: number
}

/** Most uploads that this server works on at once. Each takes a row of the database's table of turns. */
const MOST_LOCKS = 1000

/** How often it tries, and how often the holder asks whether somebody waits (wire §5.7). */
const RETRY_MS = 500

/**
 * One request at a time for each resumable upload, on any number of servers (wire §5.7). A client whose line was
 * cut comes back while its old request still waits for bytes: the new one asks the old one to let go.
 *
 * Requests of one server hand over at once. Those of different servers compete for a lease, and ask each other
 * by a word in the upload's row, for which each holder looks twice a second.
 */
export class UploadLocks {
  readonly #options: UploadLocksOptions
  readonly #holders = new Map<string, Holder>()
  #timer: NodeJS.Timeout | undefined
  #isLooking = false
  #isClosing = false

  constructor(options: UploadLocksOptions) {
    this.#options = options
  }

  /**
   * Has an upload alone, taken from another request if need be.
   *
   * @param lifetimeMs how long the upload stays after this, or null to look at it only
   * @param gone is aborted when nobody waits for the answer any more
   * @throws LockTimeout, TooManyUploads, DatabaseUnavailable
   */
  async acquire(id: string, lifetimeMs: number | null, gone: AbortSignal): Promise<UploadLock> {
    const deadline = performance.now() + (this.#options.waitMs ?? 5000)
    for (;;) {
      const other = this.#holders.get(id)
      if (!other) break
      // Not after the wait: if this process was late itself, the other one may have ended in time.
      if (performance.now() >= deadline || gone.aborted) throw new StorageError('LockTimeout')
      other.displace(takenOver())
      await Promise.race([other.ended, pause(deadline - performance.now(), gone)])
    }
    if (this.#holders.size >= (this.#options.most ?? MOST_LOCKS)) throw new StorageError('TooManyUploads')
    const holder = new Holder()
    this.#holders.set(id, holder)
    try {
      const signal = AbortSignal.any([gone, holder.signal])
      const lease = await this.#compete(id, lifetimeMs, deadline, signal)
      if (lease.lost.aborted) throw new StorageError('LockTimeout')
      const onLost = () => holder.displace(new StorageError('DatabaseUnavailable'))
      lease.lost.addEventListener('abort', onLost, { once: true })
      if (this.#isClosing) holder.displace(new StorageError('ShuttingDown'))
      this.#timer ??= setInterval(() => void this.#look(), RETRY_MS).unref()
      return {
        taken: lease.taken,
        signal: holder.signal,
        release: async () => {
          lease.lost.removeEventListener('abort', onLost)
          await lease.release()
          this.#end(id, holder)
        },
      }
    } catch (error) {
      this.#end(id, holder)
      throw error
    }
  }

  /** Asks all requests to end where they are: their clients go on with them elsewhere. */
  close(): void {
    this.#isClosing = true
    for (const holder of this.#holders.values()) holder.displace(new StorageError('ShuttingDown'))
  }

  async #compete(
    id: string,
    lifetimeMs: number | null,
    deadline: number,
    signal: AbortSignal,
  ): Promise<Lease> {
    const { database, session } = this.#options
    for (;;) {
      const lease = await tryAcquireUpload(session, id, lifetimeMs)
      if (lease) return lease
      if (performance.now() >= deadline) throw new StorageError('LockTimeout')
      await wantResumableUpload(database, id)
      await pause(RETRY_MS, signal)
      if (signal.aborted) throw new StorageError('LockTimeout')
    }
  }

  /** Whether requests on other servers wait for those here. */
  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    const { database, logger } = this.#options
    try {
      for (const id of await wantedResumableUploads(database, [...this.#holders.keys()])) {
        this.#holders.get(id)?.displace(takenOver())
      }
    } catch (error) {
      logger.warn({ err: error }, 'whether resumable uploads are wanted elsewhere could not be asked')
    } finally {
      this.#isLooking = false
    }
  }

  #end(id: string, holder: Holder): void {
    this.#holders.delete(id)
    holder.end()
    if (this.#holders.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

class Holder {
  readonly #displaced = new AbortController()
  readonly ended: Promise<void>
  end: () => void = () => {}

  constructor() {
    this.ended = new Promise((resolve) => {
      this.end = resolve
    })
  }

  get signal(): AbortSignal {
    return this.#displaced.signal
  }

  displace(why: StorageError): void {
    this.#displaced.abort(why)
  }
}

/** What a request is told that another one has displaced. */
export function takenOver(): StorageError {
  return new StorageError('ResourceLocked', { message: 'Another request goes on with this upload' })
}

/** Waits for that time, or until the signal. In milliseconds. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(Math.max(0, ms), undefined, { signal, ref: false }).catch(() => {})
}
