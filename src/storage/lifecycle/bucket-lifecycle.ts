import { asCaller, becomeService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { findBucket, holdBucket } from '../../database/queries/buckets.ts'
import {
  deletePolicy,
  findPolicyOf,
  insertPolicy,
  lockPolicyOf,
  replacePolicy,
} from '../../database/queries/lifecycle-policies.ts'
import { printable } from '../../lib/printable.ts'
import { type BucketRule, rulesOf, type Sayable, toldRules } from '../../model/bucket-lifecycle.ts'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { LifecycleRule } from '../../model/lifecycle-rule.ts'

/** Of a policy that comes about by a bucket's configuration. */
const NAME = 'lifecycle configuration'
const PRIORITY = 100

/**
 * A bucket's lifecycle configuration, as S3 and Supabase's clients know it: a view of the bucket's policy (wire §13.2). Each of
 * the two shows the rules that it has words for, and replaces those alone; the others stay (docs/versions.md).
 */
export class BucketLifecycle {
  readonly #database: Database

  constructor({ database }: { database: Database }) {
    this.#database = database
  }

  /** @throws NoSuchBucket, NoSuchLifecycleConfiguration */
  get(caller: Caller, bucket: string, isSayable: Sayable): Promise<BucketRule[]> {
    return asCaller(this.#database, caller, async (tx) => {
      if (!(await findBucket(tx, bucket))) throw new StorageError('NoSuchBucket')
      await becomeService(tx)
      const policy = await findPolicyOf(tx, bucket)
      const { told } = toldRules(policy?.rules ?? [], isSayable)
      if (!policy || told.length === 0) throw new StorageError('NoSuchLifecycleConfiguration')
      return told.map((rule) => ({ ...rule, isEnabled: rule.isEnabled && policy.isEnabled }))
    })
  }

  /** @throws NoSuchBucket, KeptByRule, AccessDenied; InvalidRequest for the id of a rule that stays */
  put(caller: Caller, bucket: string, isSayable: Sayable, rules: BucketRule[]): Promise<void> {
    return this.#replace(caller, bucket, isSayable, rules)
  }

  /** Where there is none it is a success. @throws NoSuchBucket, KeptByRule, AccessDenied */
  delete(caller: Caller, bucket: string, isSayable: Sayable): Promise<void> {
    return this.#replace(caller, bucket, isSayable, [])
  }

  #replace(caller: Caller, bucket: string, isSayable: Sayable, added: BucketRule[]): Promise<void> {
    return asCaller(this.#database, caller, async (tx) => {
      await demandChange(tx, bucket)
      await becomeService(tx)
      const policy = await lockPolicyOf(tx, bucket)
      const { untold } = toldRules(policy?.rules ?? [], isSayable)
      refuseTaken(untold, added)
      const rules = added.flatMap(rulesOf)
      if (!policy) {
        const whole = { name: NAME, bucket, isEnabled: true, priority: PRIORITY, rules }
        if (rules.length > 0) await insertPolicy(tx, whole)
      } else if (rules.length === 0) {
        if (untold.length === 0) await deletePolicy(tx, policy.id)
        else await replacePolicy(tx, policy.id, { ...policy, rules: untold })
      } else {
        // What was not done, since the whole policy was not enabled, stays undone.
        const kept = policy.isEnabled ? untold : untold.map((rule) => ({ ...rule, isEnabled: false }))
        await replacePolicy(tx, policy.id, { ...policy, isEnabled: true, rules: [...rules, ...kept] })
      }
    })
  }
}

/** @throws InvalidRequest */
function refuseTaken(untold: LifecycleRule[], added: BucketRule[]): void {
  const ids = new Set(untold.map(({ id }) => id))
  const taken = added.find(({ id }) => ids.has(id))
  if (!taken) return
  throw new StorageError('InvalidRequest', {
    message: `The id ${printable(taken.id)} is that of a rule for which there are no words here: GET /lifecycle tells of it`,
  })
}

/** @throws NoSuchBucket, KeptByRule, AccessDenied */
async function demandChange(tx: Transaction, bucket: string): Promise<void> {
  if (await holdBucket(tx, bucket)) return
  throw new StorageError((await findBucket(tx, bucket)) ? 'KeptByRule' : 'NoSuchBucket')
}
