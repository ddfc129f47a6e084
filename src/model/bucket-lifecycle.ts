import {
  filtersByMoreThanNames,
  type LifecycleFilter,
  type LifecycleRule,
  NO_FILTER,
} from './lifecycle-rule.ts'

/*
 * The rules of a bucket as S3 has them, and Supabase after it: each has an id and a filter, and does several things, which are
 * rules of ours of one id. What neither can say stays untold and untouched (docs/versions.md).
 */

/** Rules of one configuration, and units of UTF-16 of an id: S3's bounds. */
export const MOST_BUCKET_RULES = 1000
export const LONGEST_RULE_ID = 255

/** S3's bound of `NewerNoncurrentVersions`. */
export const MOST_NEWER_VERSIONS = 100

/** A rule of S3. It does one thing at least. */
export interface BucketRule {
  id: string
  isEnabled: boolean
  filter: LifecycleFilter
  /** When objects are deleted; or that markers go which have nothing behind them. */
  expiration?: { days: number } | { date: string } | 'markers'
  /** When former versions go, and how many of a name stay whatever their age. */
  noncurrent?: { days: number; newer: number }
  /** When unfinished uploads end. */
  abort?: { days: number }
}

/** What it is here. */
export function rulesOf({
  id,
  isEnabled,
  filter,
  expiration,
  noncurrent,
  abort,
}: BucketRule): LifecycleRule[] {
  const common = { id, isEnabled, filter, date: null, keepVersions: 0 }
  const rules: LifecycleRule[] = []
  if (expiration === 'markers') {
    rules.push({ ...common, action: 'delete_markers', afterDays: 0, basedOn: 'created_at' })
  } else if (expiration) {
    // S3 counts from what its clients see as Last-Modified.
    const when =
      'days' in expiration
        ? { afterDays: expiration.days, date: null }
        : { afterDays: null, date: expiration.date }
    rules.push({ ...common, ...when, action: 'delete', basedOn: 'updated_at' })
  }
  if (noncurrent) {
    const { days, newer } = noncurrent
    const action = 'delete_old_versions'
    rules.push({ ...common, action, afterDays: days, basedOn: 'archived_at', keepVersions: newer })
  }
  if (abort) rules.push({ ...common, action: 'abort_uploads', afterDays: abort.days, basedOn: 'created_at' })
  return rules
}

/** Whether a view has words for such a rule. */
export type Sayable = (rule: BucketRule) => boolean

/** What a view tells of a policy's rules, and those that it has no words for. */
export function toldRules(
  rules: LifecycleRule[],
  isSayable: Sayable,
): { told: BucketRule[]; untold: LifecycleRule[] } {
  const told: BucketRule[] = []
  const untold: LifecycleRule[] = []
  const groups = new Map<string, LifecycleRule[]>()
  for (const rule of rules) groups.set(rule.id, [...(groups.get(rule.id) ?? []), rule])
  for (const group of groups.values()) {
    const rule = asBucketRule(group)
    if (rule && isSayable(rule)) told.push(rule)
    else untold.push(...group)
  }
  return { told, untold }
}

/** Rules of one id as one of S3; null when it has no such rule. */
function asBucketRule(group: LifecycleRule[]): BucketRule | null {
  const [first] = group
  if (!first) return null
  const { id, isEnabled, filter } = first
  const whole: BucketRule = { id, isEnabled, filter }
  for (const rule of group) {
    if (rule.isEnabled !== isEnabled || !isSame(rule.filter, filter)) return null
    const { action, afterDays, date, basedOn, keepVersions } = rule
    if (action === 'delete' && basedOn === 'updated_at' && !whole.expiration && afterDays !== 0) {
      if (date !== null) whole.expiration = { date }
      else if (afterDays !== null) whole.expiration = { days: afterDays }
    } else if (action === 'delete_markers' && !whole.expiration && afterDays === 0) {
      whole.expiration = 'markers'
    } else if (action === 'delete_old_versions' && afterDays && keepVersions <= MOST_NEWER_VERSIONS) {
      whole.noncurrent = { days: afterDays, newer: keepVersions }
    } else if (action === 'abort_uploads' && afterDays) {
      whole.abort = { days: afterDays }
    } else return null
  }
  return whole
}

function isSame(one: LifecycleFilter, other: LifecycleFilter): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** Supabase's newest client knows rules for former versions alone, without a filter (wire §13.2). */
export function isSupabaseRule({ filter, expiration, noncurrent, abort }: BucketRule): boolean {
  return (
    noncurrent !== undefined &&
    !expiration &&
    !abort &&
    filter.prefix === NO_FILTER.prefix &&
    !filtersByMoreThanNames({ filter })
  )
}
