import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import { asCaller, asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { findBucket } from '../../database/queries/buckets.ts'
import { databaseNow } from '../../database/queries/drift.ts'
import {
  countPoliciesOfAll,
  deletePolicy,
  findPolicy,
  insertPolicy,
  type LifecyclePolicy,
  type ListedPolicy,
  listPolicies,
  lockPolicy,
  type PolicyFields,
  replacePolicy,
} from '../../database/queries/lifecycle-policies.ts'
import { type Caller, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import {
  LIFECYCLE_ACTIONS,
  type LifecycleAction,
  type LifecycleRule,
  lifecycleRuleProblem,
} from '../../model/lifecycle-rule.ts'
import { effortOf, type LifecycleDeed, lifecyclePass } from './lifecycle-pass.ts'

export interface LifecyclePoliciesOptions {
  database: Database
  backend: Backend
  logger: Logger
}

/** What a run has done, or would do. */
export interface LifecycleRun {
  looked: number
  counts: Map<LifecycleAction, number>
  /** Batches that failed. */
  failures: number
  /** The first ones. */
  sample: LifecycleDeed[]
  /** Whether it came to its end, and nothing is left to the hourly pass. */
  isComplete: boolean
}

/** How many policies all buckets may have. That of a bucket is one. */
const MOST_OF_ALL = 100

/** What one run looks at at the most, while somebody waits for it. */
const MOST_LOOKED_AT = 20_000

const LONGEST_SAMPLE = 100

/**
 * The coordinator for lifecycle policies: each public method is one operation. The service has all of them, and who owns a bucket
 * that bucket's.
 */
export class LifecyclePolicies {
  /** What this process has done by request. */
  readonly totals = new Map<LifecycleAction, number>(LIFECYCLE_ACTIONS.map((action) => [action, 0]))
  readonly #options: LifecyclePoliciesOptions

  constructor(options: LifecyclePoliciesOptions) {
    this.#options = options
  }

  /** In order of their ids, from after one. @param query.bucket only that of this one; null is all @throws RoleNotAllowed */
  async list(
    caller: Caller,
    query: { bucket: string | null; after: string; limit: number },
  ): Promise<ListedPolicy[]> {
    const isService = caller.role === 'service_role'
    if (caller.subject === null) requireService(caller)
    return asService(this.#options.database, (tx) =>
      listPolicies(tx, { ...query, owner: isService ? null : caller.subject }),
    )
  }

  /** @throws NoSuchLifecyclePolicy when it is somebody else's, too */
  get(caller: Caller, id: string): Promise<LifecyclePolicy> {
    return asService(this.#options.database, async (tx) => this.#theirs(tx, caller, await findPolicy(tx, id)))
  }

  /** @throws InvalidRequest, RoleNotAllowed, NoSuchBucket, AccessDenied, ResourceAlreadyExists when the bucket has one */
  async create(caller: Caller, policy: PolicyFields): Promise<LifecyclePolicy> {
    checkRules(policy.rules)
    await this.#demandBucket(caller, policy.bucket)
    return asService(this.#options.database, async (tx) => {
      if (policy.bucket === null && (await countPoliciesOfAll(tx)) >= MOST_OF_ALL) {
        throw new StorageError('InvalidRequest', {
          message: `There may be at most ${MOST_OF_ALL} policies of all buckets`,
        })
      }
      return this.#written(tx, await insertPolicy(tx, policy))
    })
  }

  /** Changes what is given. @throws as `create`, and NoSuchLifecyclePolicy */
  async update(caller: Caller, id: string, changes: Partial<PolicyFields>): Promise<LifecyclePolicy> {
    if (changes.rules) checkRules(changes.rules)
    if (changes.bucket !== undefined) await this.#demandBucket(caller, changes.bucket)
    return asService(this.#options.database, async (tx) => {
      const before = await this.#theirs(tx, caller, await lockPolicy(tx, id))
      await replacePolicy(tx, id, { ...before, ...changes })
      return this.#written(tx, id)
    })
  }

  /** @throws NoSuchLifecyclePolicy */
  async delete(caller: Caller, id: string): Promise<void> {
    await asService(this.#options.database, async (tx) => {
      await this.#theirs(tx, caller, await lockPolicy(tx, id))
      await deletePolicy(tx, id)
    })
  }

  /**
   * Does now what a policy's rules say, or only tells it, whether it is enabled or not: as much as can be done while somebody
   * waits. Safe beside the hourly pass.
   *
   * @param asker whose turn it takes
   * @throws NoSuchLifecyclePolicy, TooManyQuestions, DatabaseUnavailable
   */
  async run(
    caller: Caller,
    asker: string,
    id: string,
    { dryRun, signal }: { dryRun: boolean; signal: AbortSignal },
  ): Promise<LifecycleRun> {
    const { database, logger } = this.#options
    const { id: policy } = await this.get(caller, id)
    const at = new Date(await databaseNow(database))
    return database.questions.ask(asker, async (rows) => {
      const run: LifecycleRun = { looked: 0, counts: new Map(), failures: 0, sample: [], isComplete: false }
      let effort = 0
      for await (const step of lifecyclePass({ ...this.#options, rows }, { policy, at, dryRun })) {
        run.looked += step.looked
        if (step.failure !== undefined) {
          run.failures++
          logger.warn(
            { err: step.failure, bucket: step.bucket },
            'a part of a lifecycle policy could not be done',
          )
        }
        for (const deed of step.deeds) {
          run.counts.set(deed.action, (run.counts.get(deed.action) ?? 0) + 1)
          if (!dryRun) this.totals.set(deed.action, (this.totals.get(deed.action) ?? 0) + 1)
          if (run.sample.length < LONGEST_SAMPLE) run.sample.push(deed)
        }
        effort += effortOf(step)
        if (effort >= MOST_LOOKED_AT || signal.aborted) return run
      }
      return { ...run, isComplete: run.failures === 0 }
    })
  }

  /** @throws NoSuchLifecyclePolicy */
  async #theirs(tx: Transaction, caller: Caller, policy: LifecyclePolicy | null): Promise<LifecyclePolicy> {
    if (policy && (caller.role === 'service_role' || (await isOwner(tx, caller, policy.bucket))))
      return policy
    throw new StorageError('NoSuchLifecyclePolicy')
  }

  /** Sees to it that the caller may say what becomes of what is there. @throws RoleNotAllowed, NoSuchBucket, AccessDenied */
  async #demandBucket(caller: Caller, bucket: string | null): Promise<void> {
    const { database } = this.#options
    if (bucket === null) return requireService(caller)
    if (caller.role !== 'service_role') {
      if (await asService(database, (tx) => isOwner(tx, caller, bucket))) return
      const isSeen = await asCaller(database, caller, (tx) => findBucket(tx, bucket))
      throw new StorageError(isSeen ? 'AccessDenied' : 'NoSuchBucket')
    }
    if (!(await asService(database, (tx) => findBucket(tx, bucket)))) throw new StorageError('NoSuchBucket')
  }

  async #written(tx: Transaction, id: string): Promise<LifecyclePolicy> {
    const policy = await findPolicy(tx, id)
    if (!policy) throw new Error('what was written is not there')
    return policy
  }
}

async function isOwner(tx: Transaction, { subject }: Caller, bucket: string | null): Promise<boolean> {
  if (subject === null || bucket === null) return false
  return (await findBucket(tx, bucket))?.ownerId === subject
}

/** @throws InvalidRequest */
function checkRules(rules: LifecycleRule[]): void {
  const seen = new Set<string>()
  for (const [index, rule] of rules.entries()) {
    const which = `${rule.action} ${rule.id}`
    const problem = seen.has(which)
      ? 'must not have the id and the action of another one'
      : lifecycleRuleProblem(rule)
    if (problem !== null)
      throw new StorageError('InvalidRequest', { message: `body/rules/${index} ${problem}` })
    seen.add(which)
  }
}
