import { setMaxListeners } from 'node:events'
import type { Logger } from 'pino'
import type postgres from '#postgres'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { bucketUid, unnamed } from '../database/queries/drift.ts'
import { moveBytesIn, moveBytesOut } from '../database/queries/inline-moves.ts'
import {
  countObjects,
  findObjectToCheck,
  type ObjectToCheck,
  objectsAfter,
  setQuarantine,
  type Which,
} from '../database/queries/objects-to-check.ts'
import { forEachConcurrent } from '../lib/concurrency.ts'
import { StorageError } from '../model/errors.ts'
import { isInline, type Location } from '../model/location.ts'
import { DatabaseBackend } from '../storage/inline/database-backend.ts'
import { compareWith, expectedBytes } from '../storage/reading/expected-bytes.ts'
import { removeBytes } from '../storage/writing/byte-removal.ts'
import { type Failures, noFailures, noteFailure } from './failures.ts'
import { checkReadable } from './object-move.ts'
import { ByteThrottle } from './throttle.ts'
import { CLEANUP_TURN, MOVE_TURN } from './turns.ts'

export interface InlineMoveOptions {
  database: Database
  /** Where bytes are that are not in the database. */
  backend: Backend
  /** Up to so many bytes go into the database. */
  inlineSize: number
  logger: Logger
}

/** Into the database, or out of it. */
export type Way = 'in' | 'out'

export interface InlineMoveRequest {
  /** Only this bucket, by its id. */
  bucket?: string | undefined
  /** Only counts what it would move. */
  dryRun?: boolean
  /** Objects per second that are moved at most; Infinity for no limit. */
  rate: number
  /** Ends the run behind the objects that are under way; the next run goes on there. */
  signal: AbortSignal
  /** How long to wait for a cleanup to end, in milliseconds, each time. */
  waitMs: number
  onProgress?: (state: InlineMoveState) => void
}

export interface InlineMoveState {
  /** How many objects were to be moved when the run began. */
  total: number
  totalBytes: number
  moved: number
  movedBytes: number
}

export interface InlineMoveReport extends InlineMoveState {
  /** How many are to be moved still: what failed, and what has come meanwhile. */
  left: number
  failures: Failures
  /** `cleaning`: a cleanup has not ended for so long that the run has. */
  ending: 'complete' | 'interrupted' | 'cleaning'
}

/** How many rows are read at once, and moved while no cleanup runs. */
const PAGE = 100

/** How many objects are moved at once. */
const CONCURRENCY = 4

/** So often the rows are gone through: an object that is stored meanwhile may have a place that was gone by. */
const MOST_PASSES = 3

type Outcome = 'moved' | 'gone' | { why: string }

/**
 * Moves the bytes of small objects between the database and the backend, beside running servers (decision 0052). The version
 * stays, and so does all that clients are told.
 *
 * The bytes are in both places before the row says the other one, in a transaction that finds the row as it was; only then they
 * go from the first. Killed in between, a run leaves them in a place that no row names, where the cleanup finds them. It must not
 * find them too early: each page is moved in the cleanup's turn, and the rows are changed by the connection that has it.
 */
export class InlineMove {
  readonly #inside: Backend

  constructor(private readonly options: InlineMoveOptions) {
    this.#inside = new DatabaseBackend(options.database)
  }

  /**
   * Moves all of them. What an interrupted run has moved is not found again.
   *
   * @returns null when another process is moving bytes
   * @throws NoSuchBucket, BackendUnavailable, StorageFull, DatabaseUnavailable; the next run goes on there
   */
  async run(way: Way, request: InlineMoveRequest): Promise<InlineMoveReport | null> {
    const { database, backend } = this.options
    const { bucket, dryRun = false } = request
    if (bucket !== undefined && (await bucketUid(database, bucket)) === null) {
      throw new StorageError('NoSuchBucket')
    }
    return database.exclusively(MOVE_TURN, async (lost) => {
      const which = this.#which(way)
      const { count, bytes } = await countObjects(database, bucket, which)
      const state = { total: count, totalBytes: bytes, moved: 0, movedBytes: 0 }
      const failures = noFailures()
      if (dryRun) return { ...state, left: count, failures, ending: 'complete' }
      await (way === 'in' ? checkReadable(backend) : backend.check())
      const signal = AbortSignal.any([request.signal, lost])
      const ending = await this.#goThrough(way, { ...request, signal }, state, failures)
      const left = await countObjects(database, bucket, which)
      return { ...state, left: left.count, failures, ending }
    })
  }

  #which(way: Way): Which {
    return way === 'out' ? { place: 'database' } : { place: 'backend', maxSize: this.options.inlineSize }
  }

  async #goThrough(
    way: Way,
    request: InlineMoveRequest,
    state: InlineMoveState,
    failures: Failures,
  ): Promise<InlineMoveReport['ending']> {
    const { database } = this.options
    const { bucket, signal, waitMs } = request
    const throttle = new ByteThrottle(request.rate)
    for (let pass = 1; pass <= MOST_PASSES; pass++) {
      const before = state.moved
      Object.assign(failures, noFailures())
      for (let last: string | null = null; ; ) {
        if (signal.aborted) return 'interrupted'
        const page: ObjectToCheck[] = await objectsAfter(database, bucket, last, PAGE, this.#which(way))
        const turn = (lost: AbortSignal, sql: postgres.Sql) =>
          this.#movePage(way, page, sql, { signal, lost }, (object, outcome) => {
            if (outcome === 'moved') {
              state.moved++
              state.movedBytes += object.size ?? 0
              request.onProgress?.(state)
            } else if (typeof outcome === 'object') noteFailure(failures, object, outcome.why)
            return throttle.spend(1)
          })
        const waiting = { limitMs: waitMs, signal }
        if (page.length > 0 && (await database.exclusively(CLEANUP_TURN, turn, waiting)) === null) {
          return 'cleaning'
        }
        if (page.length < PAGE) break
        last = page.at(-1)?.place ?? null
      }
      if (state.moved === before) break
    }
    return signal.aborted ? 'interrupted' : 'complete'
  }

  async #movePage(
    way: Way,
    page: ObjectToCheck[],
    sql: postgres.Sql,
    { signal, lost }: { signal: AbortSignal; lost: AbortSignal },
    tell: (object: ObjectToCheck, outcome: Outcome) => Promise<void>,
  ): Promise<true> {
    const broken = new AbortController()
    const ended = AbortSignal.any([signal, lost, broken.signal])
    setMaxListeners(0, ended)
    await forEachConcurrent(CONCURRENCY, page, async (object) => {
      if (ended.aborted) return
      try {
        const outcome = await (way === 'out' ? this.#moveOut(object, sql) : this.#moveIn(object, sql, lost))
        await tell(object, outcome)
      } catch (error) {
        broken.abort()
        throw error
      }
    })
    return true
  }

  async #moveOut(object: ObjectToCheck, sql: postgres.Sql): Promise<Outcome> {
    const { backend } = this.options
    const to = { bucket: object.bucketUid, version: object.location.version }
    const bytes = await this.#read(this.#inside, object)
    if (!(bytes instanceof Uint8Array)) return bytes
    const isThere = await this.#isThere(to, bytes)
    if (!isThere) await backend.write(to, bytes, { maxBytes: bytes.length, isNamed: true })
    // Whoever does not hear what has become of that leaves the bytes to the cleanup.
    if (await moveBytesOut(sql, to)) return 'moved'
    // Another row of that version, made with SQL, may have brought them there at this moment.
    for (const at of await unnamed(this.options.database, [to])) await backend.remove(at)
    return this.#why(object, 'a trigger of the database has kept its row as it was')
  }

  /** Whether a run that was killed has left them there. What else is there nobody reads, and it goes. */
  async #isThere(at: Location, bytes: Uint8Array): Promise<boolean> {
    const { backend } = this.options
    const size = await backend.size(at)
    if (size === null) return false
    if (size === bytes.length && Buffer.compare(await backend.readWhole(at, size), bytes) === 0) return true
    await backend.remove(at)
    return false
  }

  async #moveIn(object: ObjectToCheck, sql: postgres.Sql, lost: AbortSignal): Promise<Outcome> {
    const { location } = object
    const bytes = await this.#read(this.options.backend, object)
    if (!(bytes instanceof Uint8Array)) return bytes
    const isRemovable = await moveBytesIn(sql, location, bytes)
    if (isRemovable === null) return this.#why(object, 'a trigger of the database has kept its row as it was')
    // Once the turn is lost, another may be bringing them back. They are on the list.
    if (isRemovable && !lost.aborted) await removeBytes(this.options, [location])
    return 'moved'
  }

  /** The bytes, which are those that were uploaded; or why they are not moved. */
  async #read(from: Backend, object: ObjectToCheck): Promise<Uint8Array | Outcome> {
    const { database, logger } = this.options
    const { location, size, checksum, bucketId, name } = object
    const { version } = location
    try {
      const length = size ?? (await from.size(location))
      if (length === null) return await this.#why(object, 'there are no bytes of it')
      const bytes = await from.readWhole(location, length)
      const expected = await expectedBytes(database, { checksum, version })
      const comparison = expected === null ? null : compareWith(expected)
      comparison?.update(bytes)
      if (!comparison || comparison.holds()) return bytes
    } catch (error) {
      const code = error instanceof StorageError ? error.code : null
      if (code === 'MissingBytes') return this.#why(object, 'there are no bytes of it')
      if (code !== 'CorruptedBytes') {
        if (isInline(location)) throw error
        // Is it this object, or the whole backend?
        await checkReadable(from)
        logger.error(
          { bucket: bucketId, path: name, version, err: error },
          'the bytes of an object could not be moved',
        )
        return { why: error instanceof StorageError ? error.explanation : String(error) }
      }
    }
    if (await setQuarantine(database, object, 'corrupted')) {
      const about = { bucket: bucketId, path: name, version }
      logger.error(about, 'the move found damaged bytes; the object was marked and is not served any more')
    }
    return this.#why(object, 'its bytes are damaged')
  }

  /** Why an object was not moved: it has been deleted, replaced or moved meanwhile, or else `why`. */
  async #why(object: ObjectToCheck, why: string): Promise<Outcome> {
    const { location } = object
    const now = (await findObjectToCheck(this.options.database, object))?.location
    return now?.version === location.version && now.bucket === location.bucket ? { why } : 'gone'
  }
}
