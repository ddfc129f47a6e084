import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Scope } from '../../database/queries/drift.ts'
import { WorkThrottle } from '../throttle.ts'

/** The kinds of repairs, in the order in which a pass makes them, with what the log says of each. */
export const REPAIRS = {
  staleUpload: 'an upload that nobody finishes was given up',
  removal: 'the bytes of a deleted or replaced version were removed',
  unfinished: 'a write that nobody finishes was abandoned',
  unnamedBytes: 'bytes that nothing names were removed',
  missing: 'an object has no bytes; it was marked',
  released: 'the bytes of a marked object are back; its mark was taken away',
  deleted: 'an object whose bytes stayed away was deleted',
  folders: 'the folders of a deleted bucket were removed',
} as const

export type Repair = keyof typeof REPAIRS

/** Why a pass left something alone that it could have repaired. */
export interface HeldBack {
  /** A bucket's id, or the UUID of one that is not known. */
  bucket: string
  reason: string
}

export interface CleanupReport {
  dryRun: boolean
  /** How many of each kind were made, or in a dry run would have been. */
  repairs: Record<Repair, number>
  held: HeldBack[]
  /** How many repairs failed; each is logged, and the next pass tries again. */
  failures: number
  /** Files that nothing named when the pass looked; null when it did not come to that. */
  unnamed: number | null
  /** Whether the pass ended because it had made as many repairs as one pass may. */
  isFull: boolean
}

export interface CleanupSettings {
  /** How long something must have been left alone before it counts as left behind, in milliseconds. */
  graceMs: number
  /** Most repairs of one pass. */
  batch: number
  /** The largest part of a bucket that a pass may take for lost, from 0 to 1; with more it stops and says so. */
  maxShare: number
  /** How many times as long as it works a pass rests; what requests hardly notice when left out. */
  restPerWork?: number
}

export interface PassOptions extends CleanupSettings {
  database: Database
  backend: Backend
  logger: Logger
  dryRun: boolean
  scope: Scope
  /** Ends the pass between two repairs. */
  signal: AbortSignal
  /** Hears how many entries a step has looked at. */
  onProgress: ((step: string, done: number) => void) | undefined
}

/** One run of the cleanup: what it may do, and what it has done so far. */
export class CleanupPass {
  readonly report: CleanupReport
  readonly #throttle: WorkThrottle
  #left: number

  constructor(readonly options: PassOptions) {
    this.#throttle = new WorkThrottle(options.restPerWork)
    this.#left = options.batch
    this.report = {
      dryRun: options.dryRun,
      repairs: noRepairs(),
      held: [],
      failures: 0,
      unnamed: null,
      isFull: false,
    }
  }

  /** How many repairs the pass may still make. */
  get left(): number {
    return this.#left
  }

  /** How many repairs of each kind the pass has made. */
  counts(): [Repair, number][] {
    return Object.entries(this.report.repairs) as [Repair, number][] // the keys are those of a Record<Repair, …>
  }

  /** Notes a repair: every one is logged and counted. */
  repaired(kind: Repair, about: object): void {
    this.report.repairs[kind]++
    this.#left--
    if (this.#left <= 0) this.report.isFull = true
    const { dryRun, logger } = this.options
    logger.warn(
      { repair: kind, dryRun, ...about },
      dryRun ? `a dry run, nothing was done; else: ${REPAIRS[kind]}` : REPAIRS[kind],
    )
  }

  /** Notes that something was left alone on purpose. */
  hold(bucket: string, reason: string): void {
    this.report.held.push({ bucket, reason })
    this.options.logger.error({ bucket, reason }, `the cleanup has stopped at a bucket: ${reason}`)
  }

  /** Notes a repair that failed. */
  failed(error: unknown, about: object): void {
    this.report.failures++
    this.options.logger.error({ ...about, err: error }, 'a repair failed; the next pass tries again')
  }

  /** Call between batches of a long step. @throws the signal's reason when the pass is to end */
  async between(step: string, done: number): Promise<void> {
    this.options.onProgress?.(step, done)
    this.options.signal.throwIfAborted()
    await this.#throttle.rest()
  }
}

/** A count for each kind, at 0. */
export function noRepairs(): Record<Repair, number> {
  return {
    staleUpload: 0,
    removal: 0,
    unfinished: 0,
    unnamedBytes: 0,
    missing: 0,
    released: 0,
    deleted: 0,
    folders: 0,
  }
}
