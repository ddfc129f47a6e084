import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { databaseNow } from '../database/queries/drift.ts'
import { LIFECYCLE_ACTIONS, type LifecycleAction } from '../model/lifecycle-rule.ts'
import { effortOf, type LifecycleStep, lifecyclePass } from '../storage/lifecycle/lifecycle-pass.ts'
import { type Family, family } from '../telemetry/metrics/catalog.ts'
import { WorkThrottle } from './throttle.ts'
import { CLEANUP_TURN } from './turns.ts'

export interface LifecycleOptions {
  database: Database
  backend: Backend
  logger: Logger
  /** How many are looked at in one transaction; 1000. */
  batch?: number
  /** How many are looked at before the cleanup gets its turn; a million. */
  most?: number
  /** The database's clock when left out. */
  now?: () => Date
}

/** From the beginning of a pass to that of the next one, and between two parts of one. In milliseconds. */
const PASS_MS = 3_600_000
const PART_MS = 10_000

/** While another server, or the cleanup, has the turn. In milliseconds. */
const BUSY_MS = 60_000

const MOST_LOOKED_AT = 1_000_000

/** A pass that has begun, perhaps some time ago. */
interface Begun {
  steps: AsyncGenerator<LifecycleStep>
  startedAt: number
  looked: number
  locked: number
  failures: number
  counts: Map<LifecycleAction, number>
}

/**
 * Does what the rules of lifecycle policies say, of all buckets, once an hour, beside no cleanup and no other server: a part of a
 * pass at a time, each with the turn. Killed at any line, whole batches are done, and the next pass finds the rest.
 */
export class Lifecycle {
  /** What this process has done. */
  readonly totals = new Map<LifecycleAction, number>(LIFECYCLE_ACTIONS.map((action) => [action, 0]))
  /** How often it has left alone what is locked. */
  locked = 0
  #begun: Begun | undefined

  constructor(private readonly options: LifecycleOptions) {}

  /**
   * Goes on with the pass that has begun, or begins one.
   *
   * @returns when to come back, in milliseconds
   * @throws DatabaseUnavailable; the next one begins anew
   */
  async pass(signal: AbortSignal): Promise<number> {
    const { database } = this.options
    const left = await database.exclusively(CLEANUP_TURN, async (lost) => {
      const ending = AbortSignal.any([lost, signal])
      try {
        return await this.#goOn(ending)
      } catch (error) {
        this.#begun = undefined
        throw error
      }
    })
    return left ?? BUSY_MS
  }

  /** @returns when to come back, in milliseconds */
  async #goOn(signal: AbortSignal): Promise<number> {
    const { most = MOST_LOOKED_AT, logger } = this.options
    this.#begun ??= await this.#begin()
    const begun = this.#begun
    const throttle = new WorkThrottle()
    for (let effort = 0; ; ) {
      signal.throwIfAborted()
      const { done, value: step } = await begun.steps.next()
      if (done) break
      this.#note(begun, step)
      effort += effortOf(step)
      if (effort >= most) return PART_MS
      await throttle.rest()
    }
    this.#begun = undefined
    const { looked, locked, failures, counts } = begun
    if (looked > 0 || failures > 0) {
      const actions = Object.fromEntries(counts)
      logger.info({ looked, locked, failures, actions }, 'the lifecycle has made a pass')
    }
    return Math.max(PASS_MS - (Date.now() - begun.startedAt), PART_MS)
  }

  async #begin(): Promise<Begun> {
    const { database, now } = this.options
    const at = now?.() ?? new Date(await databaseNow(database))
    const steps = lifecyclePass(this.options, { policy: null, at, dryRun: false })
    return { steps, startedAt: Date.now(), looked: 0, locked: 0, failures: 0, counts: new Map() }
  }

  #note(begun: Begun, { bucket, looked, locked, deeds, failure }: LifecycleStep): void {
    begun.looked += looked
    begun.locked += locked
    this.locked += locked
    for (const { action } of deeds) {
      begun.counts.set(action, (begun.counts.get(action) ?? 0) + 1)
      this.totals.set(action, (this.totals.get(action) ?? 0) + 1)
    }
    if (failure === undefined) return
    begun.failures++
    this.options.logger.warn(
      { err: failure, bucket },
      'a part of the lifecycle could not be done; the next pass tries again',
    )
  }
}

export function lifecycleFamilies({ totals, locked }: Lifecycle): Family[] {
  return [
    family(
      'storage_lifecycle_actions_total',
      [...totals].map(([action, value]) => ({ labels: { action }, value })),
    ),
    family('storage_lock_refusals_total', [{ labels: { by: 'lifecycle' }, value: locked }]),
  ]
}
