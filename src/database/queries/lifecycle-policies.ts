import type { LifecycleAction, LifecycleBasis, LifecycleRule } from '../../model/lifecycle-rule.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { bytesOrNull, dateOr1970 } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/*
 * Lifecycle policies and their rules, past RLS: who may have them is asked before (src/storage/lifecycle).
 */

/** What a policy says. */
export interface PolicyFields {
  name: string
  /** The id of its bucket; null is all. */
  bucket: string | null
  isEnabled: boolean
  /** The lowest one comes first. */
  priority: number
  /** In the order in which they are asked. */
  rules: LifecycleRule[]
}

export interface LifecyclePolicy extends PolicyFields {
  id: string
  createdAt: Date
  updatedAt: Date
}

/** A rule, and whose it is. */
export type RuleOfPolicy = LifecycleRule & { policy: string }

/** One of a list, where its rules are only counted: it may have thousands. */
export type ListedPolicy = Omit<LifecyclePolicy, 'rules'> & { ruleCount: number }

/** Policies in order of their ids, from after one. @param query.owner only those of his buckets; null is all */
export async function listPolicies(
  tx: Transaction,
  query: { owner: string | null; bucket: string | null; after: string; limit: number },
): Promise<ListedPolicy[]> {
  const rows = await tx.run(LIST, query)
  return rows.map((row) => ({ ...asPolicy(row), ruleCount: row.rule_count }))
}

const COLUMNS = `p.id, p.name, p.bucket_id, p.enabled, p.priority, p.created_at, p.updated_at`

const LIST = new Statement<
  { owner: string | null; bucket: string | null; after: string; limit: number },
  PolicyRow & { rule_count: number }
>(`
  select ${COLUMNS}, (select count(*)::int from storage.policy_rules r where r.policy_id = p.id) as rule_count
  from storage.lifecycle_policies p left join storage.buckets b on b.id = p.bucket_id
  where p.id > :after::uuid and (:owner::text is null or b.owner_id = :owner) and (:bucket::text is null or p.bucket_id = :bucket)
  order by p.id limit :limit`)

/** Null when there is none. */
export async function findPolicy(tx: Transaction, id: string): Promise<LifecyclePolicy | null> {
  return one(tx, await tx.run(FIND, { id }))
}

const FIND = new Statement<{ id: string }, PolicyRow>(
  `select ${COLUMNS} from storage.lifecycle_policies p where p.id = :id::uuid`,
)

/** The same, and nobody else changes it until the transaction ends. */
export async function lockPolicy(tx: Transaction, id: string): Promise<LifecyclePolicy | null> {
  return one(tx, await tx.run(LOCK, { id }))
}

const LOCK = new Statement<{ id: string }, PolicyRow>(
  `select ${COLUMNS} from storage.lifecycle_policies p where p.id = :id::uuid for update`,
)

/** That of a bucket, in the same way. */
export async function lockPolicyOf(tx: Transaction, bucket: string): Promise<LifecyclePolicy | null> {
  return one(tx, await tx.run(LOCK_OF, { bucket }))
}

const LOCK_OF = new Statement<{ bucket: string }, PolicyRow>(
  `select ${COLUMNS} from storage.lifecycle_policies p where p.bucket_id = :bucket for update`,
)

/** That of a bucket, for who only looks. */
export async function findPolicyOf(tx: Transaction, bucket: string): Promise<LifecyclePolicy | null> {
  return one(tx, await tx.run(FIND_OF, { bucket }))
}

const FIND_OF = new Statement<{ bucket: string }, PolicyRow>(
  `select ${COLUMNS} from storage.lifecycle_policies p where p.bucket_id = :bucket`,
)

/** With its rules, in a statement of its own: who has waited for the row sees them as they are now. */
async function one(tx: Transaction, [row]: PolicyRow[]): Promise<LifecyclePolicy | null> {
  if (!row) return null
  const rules = await tx.run(RULES, { id: row.id })
  return { ...asPolicy(row), rules: rules.map(asRule) }
}

const RULE_COLUMNS = `r.policy_id, r.rule_id, r.enabled, r.action, r.after_days, r.on_date::text, r.based_on, r.keep_versions,
    r.prefix, r.tags, r.content_type, r.min_size, r.max_size`

const RULES = new Statement<{ id: string }, RuleRow>(`
  select ${RULE_COLUMNS} from storage.policy_rules r where r.policy_id = :id::uuid order by r.position`)

/** How many are for all buckets. */
export async function countPoliciesOfAll(tx: Transaction): Promise<number> {
  const [row] = await tx.run(COUNT, {})
  return row?.count ?? 0
}

const COUNT = new Statement<object, { count: number }>(
  'select count(*)::int as count from storage.lifecycle_policies where bucket_id is null',
)

/** @throws ResourceAlreadyExists when its bucket has one, NoSuchBucket */
export async function insertPolicy(tx: Transaction, policy: PolicyFields): Promise<string> {
  const { name, bucket, isEnabled, priority, rules } = policy
  const [row] = await tx.run(INSERT, { name, bucket, isEnabled, priority })
  if (!row) throw new Error('an insert returned no row')
  await insertRules(tx, row.id, rules)
  return row.id
}

const INSERT = new Statement<Omit<PolicyFields, 'rules'>, { id: string }>(`
  insert into storage.lifecycle_policies (name, bucket_id, enabled, priority)
  values (:name, :bucket, :isEnabled, :priority) returning id`)

/** Writes one that is there anew, with all its rules. */
export async function replacePolicy(tx: Transaction, id: string, policy: PolicyFields): Promise<void> {
  const { name, bucket, isEnabled, priority, rules } = policy
  await tx.run(UPDATE, { id, name, bucket, isEnabled, priority })
  await tx.run(DELETE_RULES, { id })
  await insertRules(tx, id, rules)
}

const UPDATE = new Statement<Omit<PolicyFields, 'rules'> & { id: string }, object>(`
  update storage.lifecycle_policies
  set name = :name, bucket_id = :bucket, enabled = :isEnabled, priority = :priority, updated_at = now()
  where id = :id::uuid`)

const DELETE_RULES = new Statement<{ id: string }, object>(
  'delete from storage.policy_rules where policy_id = :id::uuid',
)

async function insertRules(tx: Transaction, id: string, rules: LifecycleRule[]): Promise<void> {
  const rows = rules.map(({ filter, ...rule }, position) => ({
    position,
    rule_id: rule.id,
    enabled: rule.isEnabled,
    action: rule.action,
    after_days: rule.afterDays,
    on_date: rule.date,
    based_on: rule.basedOn,
    keep_versions: rule.keepVersions,
    prefix: filter.prefix,
    tags: filter.tags,
    content_type: filter.contentType,
    min_size: filter.minSize,
    max_size: filter.maxSize,
  }))
  await tx.run(INSERT_RULES, { id, rows: JSON.stringify(rows) })
}

const INSERT_RULES = new Statement<{ id: string; rows: string }, object>(`
  insert into storage.policy_rules (policy_id, position, rule_id, enabled, action, after_days, on_date, based_on, keep_versions,
    prefix, tags, content_type, min_size, max_size)
  select :id::uuid, r.position, r.rule_id, r.enabled, r.action, r.after_days, r.on_date, r.based_on, r.keep_versions,
    r.prefix, r.tags, r.content_type, r.min_size, r.max_size
  from jsonb_populate_recordset(null::storage.policy_rules, :rows::jsonb) r`)

export async function deletePolicy(tx: Transaction, id: string): Promise<void> {
  await tx.run(DELETE, { id })
}

const DELETE = new Statement<{ id: string }, object>(
  'delete from storage.lifecycle_policies where id = :id::uuid',
)

/** Buckets that a policy is for, in order of their ids, from after one. @param policy only of this one; null is all that hold */
export async function bucketsWithRules(
  tx: Transaction,
  query: { policy: string | null; after: string; limit: number },
): Promise<string[]> {
  return (await tx.run(BUCKETS, query)).map(({ id }) => id)
}

const BUCKETS = new Statement<{ policy: string | null; after: string; limit: number }, { id: string }>(`
  with policies as (
    select p.bucket_id from storage.lifecycle_policies p
    where case when :policy::uuid is null then p.enabled else p.id = :policy end
  )
  select b.id from storage.buckets b
  where b.id collate "C" > :after and (
    exists (select from policies p where p.bucket_id is null) or b.id in (select p.bucket_id from policies p)
  )
  order by b.id collate "C" limit :limit`)

/**
 * The rules that hold in a bucket, in the order in which they are asked. Who changes one waits for the transaction's end: once
 * he hears that it is changed, nothing is done by what it was.
 *
 * @param policy only those of this one, which need not be enabled; null is all that are
 */
export async function rulesFor(
  tx: Transaction,
  bucket: string,
  policy: string | null,
): Promise<RuleOfPolicy[]> {
  await tx.run(HOLD, { bucket, policy })
  // Another statement, which sees what was changed while that one waited.
  const rows = await tx.run(RULES_FOR, { bucket, policy })
  return rows.map((row) => ({ ...asRule(row), policy: row.policy_id }))
}

const HOLDING = `(p.bucket_id = :bucket or p.bucket_id is null)
    and case when :policy::uuid is null then p.enabled else p.id = :policy end`

const HOLD = new Statement<{ bucket: string; policy: string | null }, object>(
  `select 1 from storage.lifecycle_policies p where ${HOLDING} for share`,
)

const RULES_FOR = new Statement<{ bucket: string; policy: string | null }, RuleRow>(`
  select ${RULE_COLUMNS}
  from storage.lifecycle_policies p join storage.policy_rules r on r.policy_id = p.id
  where ${HOLDING} and r.enabled
  order by p.priority, p.created_at, p.id, r.position`)

interface PolicyRow {
  id: string
  name: string
  bucket_id: string | null
  enabled: boolean
  priority: number
  created_at: string
  updated_at: string
}

interface RuleRow {
  policy_id: string
  rule_id: string
  enabled: boolean
  action: LifecycleAction
  after_days: number | null
  on_date: string | null
  based_on: LifecycleBasis
  keep_versions: number
  prefix: string
  tags: string[]
  content_type: string | null
  min_size: string | null
  max_size: string | null
}

function asPolicy(row: PolicyRow): Omit<LifecyclePolicy, 'rules'> {
  return {
    id: row.id,
    name: row.name,
    bucket: row.bucket_id,
    isEnabled: row.enabled,
    priority: row.priority,
    createdAt: dateOr1970(row.created_at),
    updatedAt: dateOr1970(row.updated_at),
  }
}

function asRule(row: RuleRow): LifecycleRule {
  return {
    id: row.rule_id,
    isEnabled: row.enabled,
    action: row.action,
    afterDays: row.after_days,
    date: row.on_date,
    basedOn: row.based_on,
    keepVersions: row.keep_versions,
    filter: {
      prefix: row.prefix,
      tags: row.tags,
      contentType: row.content_type,
      minSize: bytesOrNull(row.min_size),
      maxSize: bytesOrNull(row.max_size),
    },
  }
}
