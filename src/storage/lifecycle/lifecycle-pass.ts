import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { bucketsWithRules, rulesFor } from '../../database/queries/lifecycle-policies.ts'
import { ownRemovals } from '../../database/queries/listed-versions.ts'
import { hasCode } from '../../model/errors.ts'
import { type LifecycleAction, type LifecycleItem, prefixesOf, ruleFor } from '../../model/lifecycle-rule.ts'
import type { Location } from '../../model/location.ts'
import { removeBytes } from '../writing/byte-removal.ts'
import { type Chosen, formerIn, type LookedThrough, objectsIn, uploadsIn } from './looked-through.ts'

export interface LifecyclePassOptions {
  database: Database
  /** Where the rows are asked for; `database` when left out. */
  rows?: Pick<Database, 'transaction'>
  backend: Backend
  logger: Logger
  /** How many are looked at in one transaction; 1000. */
  batch?: number
}

export interface LifecyclePassRequest {
  /** The rules of this policy alone, which need not be enabled; null is those of all that are. */
  policy: string | null
  /** Which moment it is, by which ages are counted. */
  at: Date
  /** Only tells what it would do. */
  dryRun: boolean
}

/** What was done to one thing, or would be. */
export interface LifecycleDeed {
  action: LifecycleAction
  policy: string
  rule: string
  bucket: string
  name: string
  /** Null of an upload. */
  version: string | null
}

/** One batch. */
export interface LifecycleStep {
  bucket: string
  /** How many were looked at. */
  looked: number
  deeds: LifecycleDeed[]
  /** How many stay because they are locked. */
  locked: number
  /** Why nothing was done. */
  failure?: unknown
}

/** A batch costs something, though there be nothing to look at. */
const LEAST_EFFORT = 20

/** By which passes are bounded: about how many were looked at. */
export function effortOf({ looked }: LifecycleStep): number {
  return Math.max(looked, LEAST_EFFORT)
}

/** As wide as what one request may name. */
const BATCH = 1000

/**
 * Goes through what rules may be about, bucket by bucket, in batches of one transaction each: killed at any line, whole batches
 * are done, and the cleanup removes what bytes they have left. Whoever asks for the next batch sets the pace, and may stop.
 *
 * A batch that fails, as by a user's trigger, is told of and passed over.
 *
 * @throws DatabaseUnavailable
 */
export async function* lifecyclePass(
  options: LifecyclePassOptions,
  request: LifecyclePassRequest,
): AsyncGenerator<LifecycleStep> {
  const { rows = options.database, batch = BATCH } = options
  for (let after = ''; ; ) {
    const query = { policy: request.policy, after, limit: batch }
    const buckets = await asService(rows, (tx) => bucketsWithRules(tx, query))
    for (const bucket of buckets) yield* bucketPass(options, request, bucket)
    const last = buckets.at(-1)
    if (last === undefined || buckets.length < batch) return
    after = last
  }
}

async function* bucketPass(
  options: LifecyclePassOptions,
  request: LifecyclePassRequest,
  bucket: string,
): AsyncGenerator<LifecycleStep> {
  const { rows = options.database, batch: limit = BATCH } = options
  const rules = await asService(rows, (tx) => rulesFor(tx, bucket, request.policy))
  const about = (...actions: LifecycleAction[]) =>
    prefixesOf(rules.filter(({ action }) => actions.includes(action)))
  for (const prefix of about('delete')) {
    yield* pages(options, request, bucket, objectsIn({ bucket, prefix, limit }))
  }
  for (const prefix of about('delete', 'delete_old_versions', 'delete_markers', 'purge_trash')) {
    yield* pages(options, request, bucket, formerIn({ bucket, prefix, limit }))
  }
  if (about('abort_uploads').length > 0) {
    yield* pages(options, request, bucket, uploadsIn({ bucket, limit }))
  }
}

/** Page after page of one kind of things, each by the rules as they are then. */
async function* pages<Item extends LifecycleItem & { isLocked?: boolean }, Place>(
  options: LifecyclePassOptions,
  { policy, at, dryRun }: LifecyclePassRequest,
  bucket: string,
  kind: LookedThrough<Item, Place>,
): AsyncGenerator<LifecycleStep> {
  const { rows = options.database, batch = BATCH } = options
  const deedOf = ({ item, rule }: Chosen<Item>): LifecycleDeed => ({
    action: actionOn(item, rule.action),
    policy: rule.policy,
    rule: rule.id,
    bucket,
    name: item.name,
    version: kind.versionOf(item),
  })
  let after: Place | null = null
  for (let isLast = false; !isLast; ) {
    const step: LifecycleStep = { bucket, looked: 0, deeds: [], locked: 0 }
    let removals: Location[] = []
    try {
      await asService(rows, async (tx) => {
        const rules = await rulesFor(tx, bucket, policy)
        const { items, end } = rules.length > 0 ? await kind.read(tx, after) : { items: [], end: null }
        // Known from here on, whatever becomes of the rest: a page that fails is passed over.
        after = end
        step.looked = items.length
        isLast = items.length < batch
        const due = items.flatMap((item) => {
          const rule = ruleFor(rules, item, at)
          return rule ? [{ item, rule }] : []
        })
        const chosen = due.filter(({ item }) => !item.isLocked)
        step.locked = due.length - chosen.length
        const taken = dryRun || chosen.length === 0 ? chosen : await kind.take(tx, chosen)
        if (!dryRun) removals = await ownRemovals(tx)
        step.deeds = taken.map(deedOf)
      })
      await removeBytes(options, removals)
    } catch (failure) {
      if (hasCode(failure, 'DatabaseUnavailable')) throw failure
      step.deeds = []
      step.failure = failure
      // It could not even be read.
      if (step.looked === 0) isLast = true
    }
    yield step
  }
}

/** A marker that an expiration takes along is no object. */
function actionOn({ kind, isAlone }: LifecycleItem, action: LifecycleAction): LifecycleAction {
  return kind === 'marker' && isAlone ? 'delete_markers' : action
}
