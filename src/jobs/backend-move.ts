import { setMaxListeners } from 'node:events'
import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import {
  beginPass,
  type Direction,
  findMove,
  type MoveState,
  saveMove,
  unnamedVersions,
} from '../database/queries/backend-moves.ts'
import { type ObjectToCheck, objectsAfter } from '../database/queries/objects-to-check.ts'
import { forEachConcurrent } from '../lib/concurrency.ts'
import { type Failures, noFailures, noteFailure } from './failures.ts'
import { checkReadable, ObjectMove } from './object-move.ts'
import { MOVE_TURN } from './turns.ts'

export interface BackendMoveOptions {
  database: Database
  source: Backend
  target: Backend
  /** Whether servers read the target. */
  isTargetRead?: boolean
  /** Under which its position is kept. */
  direction: Direction
  logger: Logger
}

export interface MoveRequest {
  /** How many objects are copied at once. */
  parallel: number
  /** Ends the run, also in the middle of an object; the next run goes on there. */
  signal: AbortSignal
  /** @param pass of this run, counted from 1 */
  onProgress?: (state: MoveState, pass: number) => void
}

export interface MoveReport {
  state: MoveState
  /** What this run has copied. */
  copied: number
  copiedBytes: number
  /** How many objects have their bytes in the target, as far as is known. */
  inTarget: number
  /**
   * `complete`: a whole pass has found nothing to copy. `busy`: each pass has found as much as the one before, so
   * someone goes on writing to the source.
   */
  ending: 'complete' | 'busy' | 'interrupted'
  /** What the last pass could not move. */
  failures: Failures
}

/** What a run reports, as far as it has come. */
type Tally = Pick<MoveReport, 'copied' | 'copiedBytes' | 'inTarget'>

interface Pass {
  /** Counted from 1, in this run. */
  number: number
  tally: Tally
  /** How many objects this pass knows to have their bytes in the target. */
  inTarget: number
  /** How many objects were copied, or replaced so often that the pass has not come by their last version. */
  found: number
  failures: Failures
}

/** How many rows are read at once. The position is kept after each page. */
const PAGE = 200

/** After so many passes in a row that found no less than the one before, there is no end in sight. */
const MOST_STALLS = 3

/**
 * Copies the bytes of every object, and of every version and what is in the trash, from one backend to another, beside running servers. The source stays as it is, and
 * so do bytes in the database, which are in neither.
 *
 * Goes through the rows in an order, and from the start again until a pass finds nothing to copy: an object that is uploaded
 * meanwhile may have a place that the pass has gone by. Only a pass of one run counts for that, from its first row to
 * its last: between two runs there may be months.
 */
export class BackendMove {
  readonly #objects: ObjectMove

  constructor(private readonly options: BackendMoveOptions) {
    this.#objects = new ObjectMove(options)
  }

  /**
   * Moves to the end, from where an interrupted run has stopped.
   *
   * @returns null when another process is moving
   * @throws BackendUnavailable, StorageFull, DatabaseUnavailable; the next run goes on there
   */
  async run(request: MoveRequest): Promise<MoveReport | null> {
    const { database, source, target, direction } = this.options
    return database.exclusively(MOVE_TURN, async (lost) => {
      await checkReadable(source)
      await target.check()
      const signal = AbortSignal.any([request.signal, lost])
      const last = await findMove(database, direction)
      let state = last && !last.isFinished ? last : await beginPass(database, direction, { isFirst: true })
      const tally: Tally = { copied: 0, copiedBytes: 0, inTarget: 0 }
      let foundBefore = Number.POSITIVE_INFINITY
      for (let stalls = 0, number = 1; ; number++) {
        const isWhole = state.position === null
        const failures = noFailures()
        const pass: Pass = { number, tally, inTarget: state.done, found: 0, failures }
        await this.#goThrough(state, pass, { ...request, signal })
        const { found } = pass
        if (signal.aborted) {
          // This pass has come by fewer, perhaps, than those before it, or than the last run on the same page.
          const known = Math.min(state.copied, state.total)
          tally.inTarget = Math.max(tally.inTarget, pass.inTarget, known)
        } else tally.inTarget = pass.inTarget
        if (signal.aborted) return { state, ...tally, ending: 'interrupted', failures }
        if (isWhole && found === 0) {
          state.isFinished = true
          await saveMove(database, direction, state)
          return { state, ...tally, ending: 'complete', failures }
        }
        if (isWhole) {
          stalls = found < foundBefore ? 0 : stalls + 1
          if (stalls === MOST_STALLS) return { state, ...tally, ending: 'busy', failures }
          foundBefore = found
        }
        state = await beginPass(database, direction, { isFirst: false })
      }
    })
  }

  /** Goes on with a pass, to its end unless the signal is aborted. Counts in `state`, page by page in the database. */
  async #goThrough(state: MoveState, pass: Pass, request: MoveRequest): Promise<void> {
    const { database, direction } = this.options
    const show = () => request.onProgress?.({ ...state, doneBytes: state.doneBytes + underWay }, pass.number)
    const broken = new AbortController()
    const signal = AbortSignal.any([request.signal, broken.signal])
    setMaxListeners(0, signal) // each object that is being copied listens
    let underWay = 0 // bytes of large objects
    for (let isLast = false; !isLast && !signal.aborted; ) {
      const page = await objectsAfter(database, undefined, state.position, PAGE, { place: 'backend' })
      const { done, doneBytes } = state
      const copied: ObjectToCheck[] = []
      await forEachConcurrent(request.parallel, page, async (seen) => {
        if (signal.aborted) return
        let passed = 0
        const onBytes = (bytes: number) => {
          passed += bytes
          underWay += bytes
          show()
        }
        const { outcome, object } = await this.#objects
          .move(seen, signal, onBytes)
          .catch((error: unknown) => {
            broken.abort() // those under way would be in vain
            throw error
          })
        underWay -= passed
        if (outcome === 'interrupted') return
        state.done++
        state.doneBytes += object.size ?? 0
        if (outcome === 'copied' || outcome === 'replaced') pass.found++
        if (outcome === 'copied' || outcome === 'there') pass.inTarget++
        if (outcome === 'copied') {
          copied.push(object)
          state.copied++
          state.copiedBytes += object.size ?? 0
          pass.tally.copied++
          pass.tally.copiedBytes += object.size ?? 0
        } else if (typeof outcome === 'object') noteFailure(pass.failures, object, outcome.why)
        show()
      })
      await this.#removeUnnamed(copied)
      // A page that was interrupted is done again: what it has copied is there then.
      if (signal.aborted) Object.assign(state, { done, doneBytes })
      else state.position = page.at(-1)?.place ?? state.position
      await saveMove(database, direction, state)
      isLast = page.length < PAGE
    }
  }

  /**
   * Removes copies of versions that have been deleted or replaced meanwhile: the server may have removed their bytes
   * before the copy was there. Those of a run that is killed before this, or beside a backup, are left to the cleanup.
   */
  async #removeUnnamed(copied: ObjectToCheck[]): Promise<void> {
    if (copied.length === 0) return
    const { database, target } = this.options
    const unnamed = await unnamedVersions(
      database,
      copied.map(({ location }) => location.version),
    )
    for (const { location } of copied) {
      if (unnamed.has(location.version)) await target.remove(location)
    }
  }
}
