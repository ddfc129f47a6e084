import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { bucketUid } from '../database/queries/drift.ts'
import { type ObjectToCheck, objectsAfter, setQuarantine } from '../database/queries/objects-to-check.ts'
import {
  beginScrub,
  findScrub,
  type ScrubScope,
  type ScrubState,
  saveScrub,
} from '../database/queries/scrubs.ts'
import { findVersionParts, noteChecksum, type VersionPart } from '../database/queries/version-parts.ts'
import { hasCode, StorageError } from '../model/errors.ts'
import { isInline, type Location } from '../model/location.ts'
import type { QuarantineReason } from '../model/metadata.ts'
import { compareWith } from '../storage/reading/expected-bytes.ts'
import { ByteThrottle } from './throttle.ts'

export interface ScrubOptions {
  database: Database
  backend: Backend
  logger: Logger
}

export interface ScrubRequest {
  /** Only this bucket, by its id. */
  bucket?: string | undefined
  /** Bytes per second that are read at most; Infinity for no limit. */
  rate: number
  /** Begins anew, though one is under way. */
  restart?: boolean
  /** Ends the run after an object; the next run goes on there. */
  signal: AbortSignal
  /** How long to wait for another's scrub to end, in milliseconds; not at all when left out. */
  waitMs?: number
  /** Hears that this run goes on with an interrupted one. */
  onResume?: () => void
  onProgress?: (state: ScrubState) => void
}

/** All servers know it by this name, so that one of them scrubs at a time. */
const TURN = 'scrub'

/** How many rows are read at once. The position is kept after each page, and at the end of a run. */
const PAGE = 100

/** So often bytes that cannot be read are tried before they count as damaged, in a store that is well each time. */
const MOST_TRIES = 2

/** What a scrub by itself reads per second at most, in bytes. */
const BACKGROUND_RATE = 50_000_000

/** How often the scrub by itself does its share, in milliseconds. */
const BACKGROUND_STEP_MS = 60_000

/**
 * Reads every object, and what was there before, and compares its SHA-256 with the row's, to find what the disk has damaged before a client
 * does. What differs is marked and no longer served; what is whole again loses its mark. What was made of parts has no
 * SHA-256 yet: it is compared with those of its parts, and gets one (decision 0051).
 */
export class Scrub {
  constructor(private readonly options: ScrubOptions) {}

  /**
   * Scrubs to the end, from where an interrupted run has stopped; never where the scrub by itself is.
   *
   * @returns null when another process is scrubbing
   * @throws NoSuchBucket, BackendUnavailable, DatabaseUnavailable
   */
  async run(request: ScrubRequest): Promise<ScrubState | null> {
    const { database, backend } = this.options
    const { bucket, restart = false, waitMs } = request
    const waiting = waitMs === undefined ? undefined : { limitMs: waitMs, signal: request.signal }
    if (bucket !== undefined && (await bucketUid(database, bucket)) === null) {
      throw new StorageError('NoSuchBucket')
    }
    const work = async (lost: AbortSignal) => {
      await backend.check()
      const scope = { bucket }
      const last = await findScrub(database, scope)
      const isResumed = last !== null && !last.isFinished && !restart
      if (isResumed) request.onResume?.()
      const state = isResumed ? last : await beginScrub(database, scope)
      const signal = AbortSignal.any([request.signal, lost])
      await this.#advance(scope, state, { ...request, signal }, Number.POSITIVE_INFINITY)
      return state
    }
    return database.exclusively(TURN, work, waiting)
  }

  /**
   * Does as much of the scrub of all buckets as is due, so that one takes `intervalMs` from its begin to its end.
   *
   * @returns when to ask again, in milliseconds
   */
  async step(intervalMs: number, signal: AbortSignal): Promise<number> {
    const { database, backend } = this.options
    const last = await findScrub(database, 'background')
    if (last?.isFinished && last.ageMs < intervalMs) return Math.min(intervalMs, 3_600_000)
    await database.exclusively(TURN, async (lost) => {
      await backend.check()
      const found = await findScrub(database, 'background')
      const state = found && !found.isFinished ? found : await beginScrub(database, 'background')
      const share = state.ageMs / intervalMs
      const due = share < 1 ? Math.ceil(state.total * share) - state.checked : Number.POSITIVE_INFINITY
      const request = { rate: BACKGROUND_RATE, signal: AbortSignal.any([signal, lost]) }
      if (due > 0 || state.total === 0) await this.#advance('background', state, request, due)
    })
    return Math.min(BACKGROUND_STEP_MS, intervalMs)
  }

  /** Checks up to `limit` objects more, and keeps how far it has come. */
  async #advance(scope: ScrubScope, state: ScrubState, request: ScrubRequest, limit: number): Promise<void> {
    const { database, logger } = this.options
    const { bucket, signal, onProgress } = request
    const throttle = new ByteThrottle(request.rate)
    const end = state.checked + limit
    while (!state.isFinished && state.checked < end && !signal.aborted) {
      const page = await objectsAfter(database, bucket, state.position, PAGE)
      for (const object of page) {
        if (signal.aborted || state.checked >= end) break
        await this.#check(object, state, throttle, signal)
        onProgress?.(state)
      }
      state.isFinished = page.length < PAGE && (page.at(-1)?.place ?? state.position) === state.position
      await saveScrub(database, scope, state)
    }
    if (state.isFinished) logger.info({ bucket, ...state }, 'the scrub has checked all objects')
  }

  async #check(
    object: ObjectToCheck,
    state: ScrubState,
    throttle: ByteThrottle,
    signal: AbortSignal,
  ): Promise<void> {
    const { database, logger } = this.options
    const found = await this.#examine(object, state, throttle, signal)
    if (found === 'interrupted') return
    state.position = object.place
    state.checked++
    state.total = Math.max(state.total, state.checked)
    const { location, quarantineReason, bucketId, name } = object
    if (found === null && quarantineReason === null) return
    // A replaced or deleted object is not marked, and not counted either.
    const hasChanged = await setQuarantine(database, object, found)
    if (found !== null && (hasChanged || found === quarantineReason)) state[found]++
    if (!hasChanged) return
    const about = { bucket: bucketId, path: name, version: location.version }
    if (found === null) logger.warn(about, 'the scrub found the bytes of a marked object whole again')
    else logger.error({ ...about, reason: found }, SENTENCES[found])
  }

  /** What is wrong with an object's bytes; null if nothing is. */
  async #examine(
    object: ObjectToCheck,
    state: ScrubState,
    throttle: ByteThrottle,
    signal: AbortSignal,
  ): Promise<QuarantineReason | null | 'interrupted'> {
    const { database } = this.options
    const { id, location, size, checksum } = object
    const { version } = location
    const parts = checksum === null ? await findVersionParts(database, version) : null
    const found = await this.#readOrJudge(location, parts, state, throttle, signal)
    if (typeof found === 'string') return found
    if (size !== null && found.size !== size) return 'corrupted'
    if (checksum !== null) return found.sha256 === checksum ? null : 'corrupted'
    if (found.areThoseParts === null) return null
    if (!found.areThoseParts) return 'corrupted'
    await noteChecksum(database, { id, version }, found.sha256)
    return null
  }

  /** The bytes as they were read, or why they cannot be. @throws DatabaseUnavailable and the like, BackendUnavailable */
  async #readOrJudge(
    location: Location,
    parts: VersionPart[] | null,
    state: ScrubState,
    throttle: ByteThrottle,
    signal: AbortSignal,
  ): Promise<ReadBytes | QuarantineReason | 'interrupted'> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#read(location, parts, state, throttle, signal)
      } catch (error) {
        if (hasCode(error, 'MissingBytes')) return 'missing'
        if (hasCode(error, 'CorruptedBytes')) return 'corrupted'
        // A database that does not answer has said nothing of the bytes.
        if (isInline(location)) throw error
        // Is it this file that cannot be read, or the whole disk?
        await this.options.backend.check()
        if (tries === MOST_TRIES) return 'corrupted'
      }
    }
  }

  async #read(
    location: Location,
    parts: VersionPart[] | null,
    state: ScrubState,
    throttle: ByteThrottle,
    signal: AbortSignal,
  ): Promise<ReadBytes | 'interrupted'> {
    const hash = createHash('sha256')
    const comparison = parts === null ? null : compareWith(parts)
    let size = 0
    for await (const chunk of await this.options.backend.read(location)) {
      hash.update(chunk)
      comparison?.update(chunk)
      size += chunk.length
      state.bytes += chunk.length
      await throttle.spend(chunk.length)
      if (signal.aborted) return 'interrupted'
    }
    return { size, sha256: hash.digest('hex'), areThoseParts: comparison?.holds() ?? null }
  }
}

/** What was read of an object. */
interface ReadBytes {
  /** In bytes. */
  size: number
  sha256: string
  /** Whether they are those of the parts that it was made of; null when these are not known. */
  areThoseParts: boolean | null
}

const SENTENCES: Record<QuarantineReason, string> = {
  missing: 'the scrub found no bytes of an object; it was marked',
  corrupted: 'the scrub found damaged bytes; the object was marked and is not served any more',
}
