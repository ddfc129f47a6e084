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
import { KEPT_MS, KeptLeases } from './kept-leases.ts'

/** A resumable upload in the hands of one request. */
export interface UploadLock {
  /** Null when the upload has ended or expired, or was not to be taken. */
  taken: TakenUpload | null
  /** Aborted when the request should end, and keep what has come: another one waits, or the lock is lost. */
  signal: AbortSignal
  /**
   * Ends the request's time with the upload.
   *
   * @param left how the upload is now, if this server may expect its next request at once: it stays here for a moment then,
   *   unless somebody waits for it. Nothing of this request may still be under way
   */
  release(left?: TakenUpload): Promise<void>
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
 * Requests of one server hand over at once, and may find the lease of the one before still here. Those of different servers
 * compete for a lease, and ask each other by a word in the upload's row, for which each holder looks twice a second.
 */
export class UploadLocks {
  readonly #options: UploadLocksOptions
  readonly #holders = new Map<string, Holder>()
  readonly #kept = new KeptLeases()
  /** Those that another server has asked for, and may come for in a moment: those of this one wait as long. */
  readonly #yielded = new Set<string>()
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
    const kept = this.#kept.take(id)
    const holder = new Holder()
    this.#holders.set(id, holder)
    try {
      const signal = AbortSignal.any([gone, holder.signal])
      const lease = kept ?? (await this.#compete(id, lifetimeMs, deadline, signal))
      if (lease.lost.aborted) throw new StorageError('LockTimeout')
      holder.hasLease = true
      const onLost = () => holder.displace(new StorageError('DatabaseUnavailable'))
      lease.lost.addEventListener('abort', onLost, { once: true })
      if (this.#isClosing) holder.displace(new StorageError('ShuttingDown'))
      this.#timer ??= setInterval(() => void this.#look(), RETRY_MS).unref()
      return {
        taken: lifetimeMs === null ? null : lease.taken,
        signal: holder.signal,
        release: async (left) => {
          lease.lost.removeEventListener('abort', onLost)
          const isKept = left && !holder.signal.aborted && this.#kept.keep(id, lease, left)
          if (!isKept) await lease.release()
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
    this.#kept.dropAll()
  }

  async #compete(
    id: string,
    lifetimeMs: number | null,
    deadline: number,
    signal: AbortSignal,
  ): Promise<Lease> {
    const { database, session } = this.#options
    // The other server may only have kept it.
    for (let waitMs = KEPT_MS; ; waitMs = RETRY_MS) {
      if (this.#yielded.has(id)) await pause(RETRY_MS + KEPT_MS, signal)
      if (signal.aborted) throw new StorageError('LockTimeout')
      const lease = await tryAcquireUpload(session, id, lifetimeMs)
      if (lease) return lease
      if (performance.now() >= deadline) throw new StorageError('LockTimeout')
      await wantResumableUpload(database, id)
      await pause(waitMs, signal)
    }
  }

  /** Whether requests on other servers wait for those here. The clock runs on between requests: chunks may be short. */
  async #look(): Promise<void> {
    if (this.#holders.size + this.#kept.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    if (this.#isLooking) return
    this.#isLooking = true
    const { database, logger } = this.#options
    try {
      const held = [...this.#holders].flatMap(([id, { hasLease }]) => (hasLease ? [id] : []))
      for (const id of await wantedResumableUploads(database, [...held, ...this.#kept.ids()])) {
        this.#yield(id)
      }
    } catch (error) {
      logger.warn({ err: error }, 'whether resumable uploads are wanted elsewhere could not be asked')
    } finally {
      this.#isLooking = false
    }
  }

  /** To another server, which tries again within `RETRY_MS`: requests that follow each other here would leave it no gap. */
  #yield(id: string): void {
    const holder = this.#holders.get(id)
    if (holder?.hasLease) holder.displace(takenOver())
    this.#kept.drop(id)
    this.#yielded.add(id)
    setTimeout(() => this.#yielded.delete(id), RETRY_MS + KEPT_MS).unref()
  }

  #end(id: string, holder: Holder): void {
    this.#holders.delete(id)
    holder.end()
  }
}

class Holder {
  readonly #displaced = new AbortController()
  readonly ended: Promise<void>
  /** Else it waits for one, and is itself who wants the upload. */
  hasLease = false
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
