import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type FilteredList,
  type FilteredQuery,
  type ListFilter,
  listFiltered,
} from '../../../src/database/queries/filtered-list.ts'
import type { Caller } from '../../../src/model/caller.ts'
import { contentTypesOf } from '../../../src/storage/object/attributes.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

/*
 * Lists with filters (drizzle/functions/filters.sql): random ones of random objects against a plain model, page by page, with few
 * rows that a page may look at, so that most end early; and that each filter is found by its index.
 */

const RUNS = process.env.DATABASES === 'full' ? 500 : 50
const SEED = Number(process.env.FILTERS_SEED ?? Date.now() % 1_000_000)
const BUCKETS = ['Zoo', 'barn', 'yard'].map((name) => `${name}-${randomUUID()}`)

interface Item {
  bucket: string
  name: string
  owner: string | null
  organization: string | null
  level: 'private' | 'shared'
  type: string | null
  asset: 'map' | 'image' | null
  tags: string[]
  metadata: Record<string, unknown> | null
  created: number | null
  size: number
}

const MIB = 1024 * 1024
const TAGS = ['a', 'b', 'open', 'ü, "x"']
const details = fc.record(
  { k: fc.constantFrom(1, 'x', true), deep: fc.record({ n: fc.constantFrom(1, 2) }) },
  { requiredKeys: [] },
)

const item: fc.Arbitrary<Item> = fc.record({
  bucket: fc.constantFrom(...BUCKETS),
  name: fc
    .array(fc.constantFrom('a', 'B', '/', 'é', 'É', '%', '_', '\\', '0'), { minLength: 1, maxLength: 6 })
    .map((parts) => parts.join('')),
  owner: fc.constantFrom('ann', 'bob', null),
  organization: fc.constantFrom('org', null),
  level: fc.constantFrom('private', 'shared'),
  type: fc.constantFrom(
    'image/png',
    'image/jpeg',
    'imagery/x',
    'text/plain',
    'text/plain;charset=UTF-8',
    'application/geo+json',
    null,
  ),
  asset: fc.constantFrom('map', 'image', null, null),
  tags: fc.subarray(TAGS),
  metadata: fc.option(details),
  created: fc.constantFrom(0, 1, 1, 2, 3, null),
  size: fc.constantFrom(0, 5, 16 * MIB, 17 * MIB),
})

const filters: fc.Arbitrary<ListFilter> = fc.record(
  {
    ownerId: fc.constantFrom('ann', 'bob'),
    organizationId: fc.constant('org'),
    accessLevel: fc.constantFrom('private', 'shared', 'public'),
    contentTypes: fc.constantFrom(['image/png'], ['image/*'], ['text/plain']),
    assetType: fc.constantFrom('image', 'map', 'document', 'other').map((type) => contentTypesOf(type)),
    tags: fc.subarray(TAGS, { minLength: 1, maxLength: 2 }),
    anyTags: fc.subarray(TAGS, { minLength: 1 }),
    metadata: fc.constantFrom(
      { k: 1 },
      { k: 'x' },
      { deep: {} },
      { deep: { n: 2 } },
      { k: true, deep: { n: 1 } },
    ),
    createdAfter: fc.nat(3).map(moment),
    createdBefore: fc.nat(4).map(moment),
    minSize: fc.constantFrom(0, 5, 17 * MIB),
    maxSize: fc.constantFrom(4, 16 * MIB),
    search: fc.constantFrom('A', 'b', 'É', '%', '_', '\\', 'a/b', 'aB'),
    isNothing: fc.constant(false),
  },
  { requiredKeys: [] },
)
// Most of them at once let nothing through.
const some = fc
  .tuple(filters, fc.array(fc.nat(13), { maxLength: 3 }))
  .map(
    ([all, which]) =>
      Object.fromEntries(Object.entries(all).filter((_, n) => which.includes(n))) as ListFilter,
  )

function moment(n: number): Date {
  return new Date(1_700_000_000_000 + n * 1000)
}

let made: TestDatabase
let items: Item[]
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  const { admin } = made
  const all = fc.sample(item, { numRuns: 150, seed: SEED })
  items = [...new Map(all.map((each) => [`${each.bucket}/${each.name}`, each])).values()]
  for (const bucket of [...BUCKETS, `empty-${randomUUID()}`]) {
    await admin`insert into storage.buckets (id, name) values (${bucket}, ${bucket})`
  }
  for (const each of items) {
    await admin`
      insert into storage.objects (
        bucket_id, name, version, owner_id, organization_id, access_level, asset_type, tags, user_metadata, created_at, updated_at, metadata)
      values (
        ${each.bucket}, ${each.name}, ${randomUUID()}, ${each.owner}, ${each.organization}, ${each.level}, ${each.asset},
        ${each.tags}, ${each.metadata && JSON.stringify(each.metadata)}::text::jsonb,
        ${timeOf(each)}, ${timeOf(each)},
        ${JSON.stringify({ size: each.size, ...(each.type !== null && { mimetype: each.type }) })}::text::jsonb)`
  }
  await admin.unsafe(`create policy p on storage.objects for select to authenticated
    using (owner_id = auth.jwt() ->> 'sub' or 'open' = any (tags))`)
})
afterAll(() => made.drop())

const timeOf = ({ created }: Item) => (created === null ? null : moment(created).toISOString())

const callerAs = (role: string): Caller => ({
  role,
  subject: role === 'authenticated' ? 'ann' : null,
  claims: { role, ...(role === 'authenticated' && { sub: 'ann' }) },
  token: '',
  operation: 'storage.object.list_v2',
  method: 'POST',
  path: '/',
  headers: {},
  userBuckets: false,
})

type Asked = Pick<FilteredQuery, 'bucketId' | 'prefix' | 'filter' | 'column' | 'order' | 'skip'>

const bytes = (text: string) => Buffer.from(text)
const typeMatches = (type: string | null, wanted: string) => {
  if (type === null) return false
  return wanted.endsWith('*') ? type.startsWith(wanted.slice(0, -1)) : type.split(';')[0] === wanted
}
const contains = (value: unknown, wanted: unknown): boolean =>
  typeof wanted === 'object' && wanted !== null
    ? typeof value === 'object' &&
      value !== null &&
      Object.entries(wanted).every(([key, inner]) => key in value && contains((value as never)[key], inner))
    : value === wanted

function matches(each: Item, filter: ListFilter): boolean {
  const { assetType, createdAfter, createdBefore } = filter
  const created = each.created === null ? null : moment(each.created)
  const isOf = (types: string[]) => types.some((type) => typeMatches(each.type, type))
  return [
    filter.ownerId === undefined || each.owner === filter.ownerId,
    filter.organizationId === undefined || each.organization === filter.organizationId,
    filter.accessLevel === undefined || each.level === filter.accessLevel,
    !filter.contentTypes || isOf(filter.contentTypes),
    !assetType ||
      (each.asset === null
        ? isOf(assetType.contentTypes) !== assetType.isOther
        : each.asset === assetType.type),
    !filter.tags || filter.tags.every((tag) => each.tags.includes(tag)),
    !filter.anyTags || filter.anyTags.some((tag) => each.tags.includes(tag)),
    !filter.metadata || contains(each.metadata, filter.metadata),
    !createdAfter || (created !== null && created >= createdAfter),
    !createdBefore || (created !== null && created < createdBefore),
    filter.minSize === undefined || each.size >= filter.minSize,
    filter.maxSize === undefined || each.size <= filter.maxSize,
    filter.search === undefined || each.name.toLowerCase().includes(filter.search.toLowerCase()),
  ].every(Boolean)
}

async function model(asked: Asked, role: string): Promise<string[]> {
  const order = new Map(
    (await made.admin`select id from storage.buckets order by id`).map(({ id }, n) => [id as string, n]),
  )
  const time = (each: Item) => (asked.column === 'name' ? 0 : (each.created ?? -1))
  const found = items
    .filter((each) => asked.bucketId === null || each.bucket === asked.bucketId)
    .filter((each) => each.name.startsWith(asked.prefix) && matches(each, asked.filter))
    .filter((each) => role !== 'authenticated' || each.owner === 'ann' || each.tags.includes('open'))
    .filter((each) => asked.bucketId !== null || asked.column === 'name' || each.created !== null)
    .sort(
      (a, b) =>
        time(a) - time(b) ||
        Number(order.get(a.bucket)) - Number(order.get(b.bucket)) ||
        bytes(a.name).compare(bytes(b.name)),
    )
  if (asked.order === 'desc') found.reverse()
  return found.map((each) => `${each.bucket} ${each.name}`).slice(asked.skip)
}

const asked = fc
  .record({
    bucketId: fc.constantFrom(...BUCKETS, null),
    prefix: fc.constantFrom('', '', '', 'a', 'é/'),
    filter: some,
    column: fc.constantFrom('name', 'created_at', 'updated_at'),
    order: fc.constantFrom('asc', 'desc'),
    skip: fc.constantFrom(0, 0, 2, 30),
  })
  .map(({ filter, ...rest }): Asked => {
    if (rest.bucketId !== null || rest.column === 'name') return { ...rest, filter }
    return { ...rest, column: 'created_at', filter: { ownerId: 'ann', ...filter } }
  })

describe(`random filters (FILTERS_SEED=${SEED})`, () => {
  it('show what the model has, whatever a page may look at', async () => {
    const property = fc.asyncProperty(
      asked,
      fc.constantFrom('authenticated', 'service_role'),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom(3, 10, 40, 20_000),
      async (query, role, limit, mostLooks) => {
        const shown: string[] = []
        let page: FilteredList | undefined
        do {
          page = await listFiltered(made.database, callerAs(role), {
            ...query,
            limit,
            mostLooks,
            skip: page?.end ? page.end.skip : query.skip,
            after: page?.end?.place ?? null,
            isWalk: page?.end?.isWalk ?? false,
            withMetadata: limit % 2 === 0,
          })
          expect(page.entries.length).toBeLessThanOrEqual(limit)
          shown.push(...page.entries.map(({ bucket, name }) => `${bucket} ${name}`))
        } while (page.end)
        expect(shown).toEqual(await model(query, role))
      },
    )
    await fc.assert(property, { numRuns: RUNS, seed: SEED })
  })
})
