import { describe, expect, it } from 'vitest'
import {
  type LifecycleItem,
  type LifecycleRule,
  NO_FILTER,
  prefixesOf,
  ruleFor,
} from '../../src/model/lifecycle-rule.ts'

const AT = new Date('2026-11-30T12:00:00Z')
const daysAgo = (days: number) => new Date(AT.getTime() - days * 86_400_000)

const rule = (more: Partial<LifecycleRule> = {}): LifecycleRule => ({
  id: 'r',
  isEnabled: true,
  action: 'delete',
  afterDays: 7,
  date: null,
  basedOn: 'created_at',
  keepVersions: 0,
  filter: NO_FILTER,
  ...more,
})

const item = (more: Partial<LifecycleItem> = {}): LifecycleItem => ({
  kind: 'object',
  name: 'logs/a.txt',
  createdAt: daysAgo(7),
  updatedAt: daysAgo(3),
  archivedAt: null,
  size: 10,
  contentType: 'text/plain; charset=utf-8',
  tags: ['tmp'],
  newerVersions: 0,
  isLatest: false,
  isAlone: false,
  ...more,
})

const isMet = (one: LifecycleRule, of: LifecycleItem) => ruleFor([one], of, AT) !== undefined

describe('a rule', () => {
  it('is met from the very moment on, and not by what has no such time', () => {
    expect(isMet(rule(), item())).toBe(true)
    expect(isMet(rule(), item({ createdAt: new Date(daysAgo(7).getTime() + 1) }))).toBe(false)
    expect(isMet(rule(), item({ createdAt: null }))).toBe(false)
    expect(isMet(rule({ afterDays: 0 }), item({ createdAt: new Date(AT.getTime() + 1) }))).toBe(false)
  })

  it('is the first that is met', () => {
    const first = rule({ id: 'first', afterDays: 8 })
    const second = rule({ id: 'second' })
    expect(ruleFor([first, second, rule()], item(), AT)).toBe(second)
  })

  it.each<[string, Partial<LifecycleRule['filter']>, boolean]>([
    ['a prefix', { prefix: 'logs/' }, true],
    ['another prefix', { prefix: 'log/' }, false],
    ['its tag', { tags: ['tmp'] }, true],
    ['a tag more', { tags: ['tmp', 'more'] }, false],
    ['its type', { contentType: 'TEXT/plain' }, true],
    ['any of its kind', { contentType: 'text/*' }, true],
    ['another type', { contentType: 'text/plai' }, false],
    ['its size', { minSize: 10, maxSize: 10 }, true],
    ['a larger one', { minSize: 11 }, false],
    ['a smaller one', { maxSize: 9 }, false],
  ])('filters by %s', (_, filter, met) => {
    expect(isMet(rule({ filter: { ...NO_FILTER, ...filter } }), item())).toBe(met)
  })

  it('by size or type is not met by what has none', () => {
    expect(isMet(rule({ filter: { ...NO_FILTER, maxSize: 9 } }), item({ size: null }))).toBe(false)
    expect(
      isMet(rule({ filter: { ...NO_FILTER, contentType: 'text/*' } }), item({ contentType: null })),
    ).toBe(false)
  })

  it('that deletes takes a marker along which is alone, unless it asks for more than a name', () => {
    const marker = item({ kind: 'marker', archivedAt: daysAgo(7), isAlone: true, size: null, tags: [] })
    expect(isMet(rule(), marker)).toBe(true)
    expect(isMet(rule(), { ...marker, isAlone: false })).toBe(false)
    const versions = rule({ action: 'delete_old_versions', basedOn: 'archived_at' })
    expect(isMet(versions, { ...marker, isAlone: false })).toBe(true)
    expect(isMet(versions, { ...marker, isAlone: false, isLatest: true })).toBe(false)
    expect(isMet(rule({ filter: { ...NO_FILTER, tags: ['tmp'] } }), marker)).toBe(false)
  })
})

it('what has to be looked through is what no other prefix has', () => {
  const of = (...prefixes: string[]) =>
    prefixesOf(prefixes.map((prefix) => ({ filter: { ...NO_FILTER, prefix } })))
  expect(of('b', 'a/b', 'a/', 'a', 'b/c', 'ba', 'c')).toEqual(['a', 'b', 'c'])
  expect(of('a', '', 'b')).toEqual([''])
  expect(of()).toEqual([])
})
