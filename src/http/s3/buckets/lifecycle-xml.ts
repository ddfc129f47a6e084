import { isStorable } from '../../../lib/storable-text.ts'
import {
  type BucketRule,
  LONGEST_RULE_ID,
  MOST_BUCKET_RULES,
  MOST_NEWER_VERSIONS,
} from '../../../model/bucket-lifecycle.ts'
import { StorageError } from '../../../model/errors.ts'
import {
  filtersByMoreThanNames,
  idOfRule,
  type LifecycleFilter,
  MOST_DAYS,
  NO_FILTER,
} from '../../../model/lifecycle-rule.ts'
import { type Tag, tagsOf, tagTexts } from '../../../storage/object/tags.ts'
import { invalid } from '../parameters.ts'
import { childText, malformed, type XmlElement } from '../xml-reader.ts'
import type { XmlElements } from '../xml-writer.ts'

/*
 * S3's LifecycleConfiguration (https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html). What has no meaning here
 * is refused: a rule of which a part were passed over would take away more than was meant.
 */

/** Whether S3 has words for a rule: it knows no types, and not all tags. */
export function isS3Rule({ id, filter, expiration, abort }: BucketRule): boolean {
  if (filter.contentType !== null || id.length > LONGEST_RULE_ID) return false
  // It lets neither be filtered by more than a prefix; here they cannot be, but together with others.
  if ((expiration === 'markers' || abort) && filtersByMoreThanNames({ filter })) return false
  try {
    tagTexts(tagsOf(filter.tags))
    return true
  } catch {
    return false
  }
}

/** @throws MalformedXML, InvalidParameter, InvalidRequest, InvalidStorageClass, InvalidTag */
export function bucketRulesIn(configuration: XmlElement): BucketRule[] {
  const { children } = configuration
  const other = children.find(({ name }) => name !== 'Rule')
  if (other) throw malformed(`a LifecycleConfiguration has no ${other.name}`)
  if (children.length < 1 || children.length > MOST_BUCKET_RULES)
    throw malformed(`a LifecycleConfiguration has 1 to ${MOST_BUCKET_RULES} rules`)
  const rules = children.map(ruleIn)
  if (new Set(rules.map(({ id }) => id)).size < rules.length)
    throw invalid('Rule ID must be unique: the same one was found for more than one rule')
  return rules
}

/** What a rule may have. */
const OF_RULE = new Set([
  'ID',
  'Status',
  'Filter',
  'Prefix',
  'Expiration',
  'NoncurrentVersionExpiration',
  'AbortIncompleteMultipartUpload',
  'Transition',
  'NoncurrentVersionTransition',
])

function ruleIn(rule: XmlElement): BucketRule {
  const repeats = new Set(['Transition', 'NoncurrentVersionTransition'])
  checkChildren(rule, OF_RULE, repeats)
  if (rule.children.some(({ name }) => repeats.has(name))) {
    throw new StorageError('InvalidStorageClass', {
      message: 'There are no storage classes to which a lifecycle rule could move objects',
    })
  }
  const status = childText(rule, 'Status')
  if (status !== 'Enabled' && status !== 'Disabled') throw malformed('Status is Enabled or Disabled')
  const expiration = child(rule, 'Expiration')
  const noncurrent = child(rule, 'NoncurrentVersionExpiration')
  const abort = child(rule, 'AbortIncompleteMultipartUpload')
  if (!expiration && !noncurrent && !abort)
    throw invalidRequest('At least one action needs to be specified in a rule')
  const read = {
    isEnabled: status === 'Enabled',
    filter: filterOf(rule),
    ...(expiration && { expiration: expirationIn(expiration) }),
    ...(noncurrent && { noncurrent: noncurrentIn(noncurrent) }),
    ...(abort && { abort: { days: daysIn(abort, 'DaysAfterInitiation') } }),
  }
  if (filtersByMoreThanNames(read)) {
    if (abort) throw invalidRequest('AbortIncompleteMultipartUpload cannot be specified with tags or sizes')
    if (read.expiration === 'markers')
      throw invalidRequest('ExpiredObjectDeleteMarker cannot be specified with tags or sizes')
  }
  return { id: idIn(rule) ?? idOfRule(read), ...read }
}

function idIn(rule: XmlElement): string | undefined {
  const id = childText(rule, 'ID')
  if (id === undefined || id === '') return undefined
  if (id.length > LONGEST_RULE_ID)
    throw invalid(`ID length should not exceed allowed limit of ${LONGEST_RULE_ID}`)
  if (!isStorable(id)) throw invalid('The ID has a character that cannot be stored')
  return id
}

function expirationIn(expiration: XmlElement): NonNullable<BucketRule['expiration']> {
  checkChildren(expiration, new Set(['Days', 'Date', 'ExpiredObjectDeleteMarker']))
  const [kind, ...more] = expiration.children
  if (!kind || more.length > 0)
    throw malformed('an Expiration has one of Days, Date and ExpiredObjectDeleteMarker')
  if (kind.name === 'Days') return { days: daysIn(expiration, 'Days') }
  if (kind.name === 'Date') return { date: dateIn(kind.text.trim()) }
  if (kind.text.trim() !== 'true') throw malformed('ExpiredObjectDeleteMarker is true, or not there')
  return 'markers'
}

function dateIn(text: string): string {
  const [, date = '', time] = /^(\d{4}-\d\d-\d\d)(?:T(.*))?$/.exec(text) ?? []
  const moment = new Date(text)
  if (Number.isNaN(moment.getTime()) || date === '') throw malformed('a Date is in ISO 8601 format')
  if (time !== undefined && moment.getTime() % 86_400_000 !== 0)
    throw invalid("'Date' must be at midnight GMT")
  return moment.toISOString().slice(0, 10)
}

function noncurrentIn(noncurrent: XmlElement): NonNullable<BucketRule['noncurrent']> {
  checkChildren(noncurrent, new Set(['NoncurrentDays', 'NewerNoncurrentVersions']))
  const days = daysIn(noncurrent, 'NoncurrentDays')
  const text = childText(noncurrent, 'NewerNoncurrentVersions')
  if (text === undefined) return { days, newer: 0 }
  return { days, newer: numberIn(text, 'NewerNoncurrentVersions', 1, MOST_NEWER_VERSIONS) }
}

function daysIn(element: XmlElement, name: string): number {
  const text = childText(element, name)
  if (text === undefined) throw malformed(`${element.name} has ${name}`)
  return numberIn(text, name, 1, MOST_DAYS)
}

/** @throws MalformedXML for what is no number, InvalidParameter for one that is not from `from` to `to` */
function numberIn(text: string, name: string, from: number, to: number): number {
  const digits = text.trim()
  if (!/^-?\d{1,15}$/.test(digits)) throw malformed(`${name} is a whole number`)
  const value = Number(digits)
  if (value < from || value > to) throw invalid(`'${name}' must be a whole number from ${from} to ${to}`)
  return value
}

/** Exactly one of Filter, and Prefix of old, which means the same. */
function filterOf(rule: XmlElement): LifecycleFilter {
  const filter = child(rule, 'Filter')
  const prefix = childText(rule, 'Prefix')
  if ((filter === undefined) === (prefix === undefined))
    throw malformed('a rule has exactly one of Filter and Prefix')
  if (!filter) return { ...NO_FILTER, prefix: prefixIn(prefix ?? '') }
  checkChildren(filter, new Set(['Prefix', 'Tag', 'ObjectSizeGreaterThan', 'ObjectSizeLessThan', 'And']))
  const [first, ...more] = filter.children
  if (!first) return NO_FILTER
  if (more.length > 0) throw malformed('a Filter has one condition; several stand in an And')
  if (first.name !== 'And') return conditionsIn([first])
  checkChildren(
    first,
    new Set(['Prefix', 'Tag', 'ObjectSizeGreaterThan', 'ObjectSizeLessThan']),
    new Set(['Tag']),
  )
  if (first.children.length < 2) throw malformed('an And has two conditions at least')
  return conditionsIn(first.children)
}

function conditionsIn(conditions: XmlElement[]): LifecycleFilter {
  const filter = { ...NO_FILTER }
  const tags: Tag[] = []
  for (const condition of conditions) {
    const { name, text } = condition
    if (name === 'Prefix') filter.prefix = prefixIn(text)
    else if (name === 'Tag') tags.push(tagIn(condition))
    else if (name === 'ObjectSizeGreaterThan') filter.minSize = sizeIn(condition, 0) + 1
    else filter.maxSize = sizeIn(condition, 1) - 1
  }
  if (filter.minSize !== null && filter.maxSize !== null && filter.minSize > filter.maxSize + 1)
    throw invalidRequest("'ObjectSizeLessThan' has to be greater than 'ObjectSizeGreaterThan'")
  return { ...filter, tags: tagTexts(tags) }
}

function sizeIn({ name, text }: XmlElement, from: number): number {
  return numberIn(text, name, from, Number.MAX_SAFE_INTEGER - 1)
}

function tagIn(tag: XmlElement): Tag {
  const key = childText(tag, 'Key')
  const value = childText(tag, 'Value')
  if (key === undefined || value === undefined) throw malformed('a Tag has a Key and a Value')
  return { key, value }
}

const LONGEST_PREFIX = 1024

function prefixIn(text: string): string {
  if (Buffer.byteLength(text) > LONGEST_PREFIX)
    throw invalidRequest(`The maximum size of a prefix is ${LONGEST_PREFIX}`)
  if (!isStorable(text)) throw invalid('The prefix has a character that no key can have')
  return text
}

function child({ children }: XmlElement, name: string): XmlElement | undefined {
  return children.find((one) => one.name === name)
}

/** @throws MalformedXML for a child of another name, and for one that comes twice, unless it may */
function checkChildren(
  { name: parent, children }: XmlElement,
  known: ReadonlySet<string>,
  repeated?: ReadonlySet<string>,
): void {
  const seen = new Set<string>()
  for (const { name } of children) {
    if (!known.has(name)) throw malformed(`${parent} has no ${name}`)
    if (seen.has(name) && !repeated?.has(name)) throw malformed(`${parent} has one ${name}`)
    seen.add(name)
  }
}

function invalidRequest(message: string): StorageError {
  return new StorageError('InvalidRequest', { message })
}

/** The content of a Rule. */
export function ruleElements({
  id,
  isEnabled,
  filter,
  expiration,
  noncurrent,
  abort,
}: BucketRule): XmlElements {
  return {
    ID: id,
    Filter: filterElements(filter),
    Status: isEnabled ? 'Enabled' : 'Disabled',
    Expiration: expiration && expirationElements(expiration),
    NoncurrentVersionExpiration: noncurrent && {
      NoncurrentDays: noncurrent.days,
      NewerNoncurrentVersions: noncurrent.newer > 0 ? noncurrent.newer : undefined,
    },
    AbortIncompleteMultipartUpload: abort && { DaysAfterInitiation: abort.days },
  }
}

function expirationElements(expiration: NonNullable<BucketRule['expiration']>): XmlElements {
  if (expiration === 'markers') return { ExpiredObjectDeleteMarker: true }
  return 'days' in expiration ? { Days: expiration.days } : { Date: `${expiration.date}T00:00:00.000Z` }
}

/** One condition stands by itself, and several in an And; an empty filter says nothing but a prefix that is empty. */
function filterElements({ prefix, tags, minSize, maxSize }: LifecycleFilter): XmlElements {
  const conditions = {
    Prefix: prefix === '' ? undefined : prefix,
    Tag: tagsOf(tags).map(({ key, value }) => ({ Key: key, Value: value })),
    ObjectSizeGreaterThan: minSize === null ? undefined : minSize - 1,
    ObjectSizeLessThan: maxSize === null ? undefined : maxSize + 1,
  }
  const { Prefix, Tag, ObjectSizeGreaterThan, ObjectSizeLessThan } = conditions
  const count =
    Tag.length + [Prefix, ObjectSizeGreaterThan, ObjectSizeLessThan].filter((one) => one !== undefined).length
  if (count === 0) return { Prefix: '' }
  return count === 1 ? conditions : { And: conditions }
}
