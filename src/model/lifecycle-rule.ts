import { createHash } from 'node:crypto'

/** What a rule of a lifecycle policy does with what it matches (docs/versions.md). */
export const LIFECYCLE_ACTIONS = [
  'delete',
  'delete_old_versions',
  'delete_markers',
  'purge_trash',
  'abort_uploads',
] as const
export type LifecycleAction = (typeof LIFECYCLE_ACTIONS)[number]

/** From which of its times the age of something is counted. */
export const LIFECYCLE_BASES = ['created_at', 'updated_at', 'archived_at'] as const
export type LifecycleBasis = (typeof LIFECYCLE_BASES)[number]

/** What each action counts from: the first one, if a rule does not say. */
export const BASES_OF: Record<LifecycleAction, readonly [LifecycleBasis, ...LifecycleBasis[]]> = {
  delete: ['created_at', 'updated_at'],
  delete_old_versions: ['archived_at'],
  delete_markers: ['created_at'],
  purge_trash: ['archived_at'],
  abort_uploads: ['created_at'],
}

/** In days, as those of a bucket. */
export const MOST_DAYS = 36_500

/** As many as a bucket may keep of a name. */
export const MOST_KEPT_VERSIONS = 1000

/** Of a filter: as many as S3 gives an object. In all, and characters of each. */
export const MOST_FILTER_TAGS = 10
export const LONGEST_TAG = 400

/** Which of them; what is null or empty says nothing. */
export interface LifecycleFilter {
  prefix: string
  /** Words that it has to have, all of them. */
  tags: string[]
  /** Such as `image/png`, or `image/*`. */
  contentType: string | null
  /** In bytes, these included. */
  minSize: number | null
  maxSize: number | null
}

export const NO_FILTER: LifecycleFilter = {
  prefix: '',
  tags: [],
  contentType: null,
  minSize: null,
  maxSize: null,
}

export interface LifecycleRule {
  /** Of one id a policy may have several, of different actions: they are one rule of S3. */
  id: string
  isEnabled: boolean
  action: LifecycleAction
  /** So many days after what `basedOn` says; null with a date. */
  afterDays: number | null
  /** From the beginning of this day on, in UTC, whatever their age is: `2027-01-31`. Of `delete` alone. */
  date: string | null
  basedOn: LifecycleBasis
  /** How many of the newest former versions of a name stay, however old they are. */
  keepVersions: number
  filter: LifecycleFilter
}

/** Whether it filters by more than names: what has neither tags nor a size is not asked for them. */
export function filtersByMoreThanNames({ filter }: Pick<LifecycleRule, 'filter'>): boolean {
  const { tags, contentType, minSize, maxSize } = filter
  return tags.length > 0 || contentType !== null || minSize !== null || maxSize !== null
}

/** What is wrong with a rule whose fields are each as they should be, in words that go on after its name; null if nothing is. */
export function lifecycleRuleProblem(rule: LifecycleRule): string | null {
  const { action, afterDays, date, basedOn, keepVersions, filter } = rule
  if ((afterDays === null) === (date === null)) return 'must have either after_days or date'
  if (date !== null && action !== 'delete') return `must not have a date: ${action} goes by after_days`
  if (!BASES_OF[action].includes(basedOn))
    return `must be based_on ${BASES_OF[action].join(' or ')}: it is of the action ${action}`
  if (keepVersions > 0 && action !== 'delete_old_versions')
    return 'must not have keep_versions: they are of the action delete_old_versions'
  if ((action === 'abort_uploads' || action === 'delete_markers') && filtersByMoreThanNames(rule))
    return `must not filter by more than a prefix: what ${action} is about has no more`
  if (filter.minSize !== null && filter.maxSize !== null && filter.minSize > filter.maxSize)
    return 'must not have a min_size that is more than its max_size'
  return null
}

/** The id of a rule that is given none (wire §13.2): the same of the same rule. */
export function idOfRule(rule: object): string {
  return `rule-${createHash('sha256').update(JSON.stringify(rule)).digest('hex')}`
}

/** Something that a rule may be about, as its row tells it. */
export interface LifecycleItem {
  kind: 'object' | 'version' | 'marker' | 'trash' | 'upload'
  name: string
  /** Null of rows that plain SQL made without: a rule that counts from it does not match. */
  createdAt: Date | null
  updatedAt: Date | null
  /** Of what is there no more: since when. */
  archivedAt: Date | null
  /** In bytes. */
  size: number | null
  contentType: string | null
  tags: string[]
  /** Of a former version: how many of its name are newer, the current one not counted. */
  newerVersions: number
  /** Of a marker: whether nothing is there that is newer, so that the name is deleted. */
  isLatest: boolean
  /** Of a marker: whether it is all that there is of its name. */
  isAlone: boolean
}

const DAY_MS = 86_400_000

/** The first rule that is about it at this moment, in the order in which they are given. */
export function ruleFor<Rule extends LifecycleRule>(
  rules: Rule[],
  item: LifecycleItem,
  at: Date,
): Rule | undefined {
  return rules.find((rule) => isAbout(rule, item) && passes(rule.filter, item) && isOldEnough(rule, item, at))
}

/** Whether a rule's action is for such a thing. */
function isAbout(rule: LifecycleRule, item: LifecycleItem): boolean {
  const { action } = rule
  switch (item.kind) {
    case 'object':
      return action === 'delete'
    case 'version':
      return action === 'delete_old_versions' && item.newerVersions >= rule.keepVersions
    case 'trash':
      return action === 'purge_trash'
    case 'upload':
      return action === 'abort_uploads'
    case 'marker':
      // As S3 has it: an expiration by days takes along what it has left.
      if (item.isAlone)
        return action === 'delete_markers' || (action === 'delete' && !filtersByMoreThanNames(rule))
      // Who took the latest one away from what is behind it would undelete that.
      return action === 'delete_old_versions' && !item.isLatest && item.newerVersions >= rule.keepVersions
  }
}

function passes(filter: LifecycleFilter, { name, size, contentType, tags }: LifecycleItem): boolean {
  const { minSize, maxSize } = filter
  return (
    name.startsWith(filter.prefix) &&
    (minSize === null || (size !== null && size >= minSize)) &&
    (maxSize === null || (size !== null && size <= maxSize)) &&
    (filter.contentType === null || isOfType(filter.contentType, contentType)) &&
    filter.tags.every((tag) => tags.includes(tag))
  )
}

function isOfType(wanted: string, found: string | null): boolean {
  if (found === null) return false
  const type = (found.split(';', 1)[0] ?? '').trim().toLowerCase()
  const asked = wanted.toLowerCase()
  return asked.endsWith('/*') ? type.startsWith(asked.slice(0, -1)) : type === asked
}

function isOldEnough(rule: LifecycleRule, item: LifecycleItem, at: Date): boolean {
  if (rule.date !== null) return at.getTime() >= Date.parse(rule.date)
  const since = timeOf(rule.basedOn, item)
  return since !== null && at.getTime() - since.getTime() >= (rule.afterDays ?? 0) * DAY_MS
}

function timeOf(
  basis: LifecycleBasis,
  { kind, createdAt, updatedAt, archivedAt }: LifecycleItem,
): Date | null {
  // A marker has one time: when it was made, or since when it is not the latest any more.
  if (kind === 'marker') return archivedAt
  return { created_at: createdAt, updated_at: updatedAt, archived_at: archivedAt }[basis]
}

/** The prefixes of these rules, without those that begin with another one of them: what has to be looked through. */
export function prefixesOf(rules: Pick<LifecycleRule, 'filter'>[]): string[] {
  const prefixes: string[] = []
  for (const { filter } of [...rules].sort((a, b) => (a.filter.prefix < b.filter.prefix ? -1 : 1))) {
    const last = prefixes.at(-1)
    if (last === undefined || !filter.prefix.startsWith(last)) prefixes.push(filter.prefix)
  }
  return prefixes
}
