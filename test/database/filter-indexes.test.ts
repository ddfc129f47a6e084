import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  type FilteredQuery,
  filterJson,
  type ListFilter,
  listFiltered,
} from '../../src/database/queries/filtered-list.ts'
import type { Caller } from '../../src/model/caller.ts'
import { contentTypesOf } from '../../src/storage/object/attributes.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** What lists with filters read of a large table, and by which index (drizzle/functions/filters.sql). */

const ROWS = 30_000
/** Of so many rows one is what is looked for. */
const EVERY = 1000
const FOUND = ROWS / EVERY
const BUCKET = `large-${randomUUID()}`
const MIB = 1024 * 1024

const ANN: Caller = {
  role: 'authenticated',
  subject: 'ann',
  claims: { role: 'authenticated', sub: 'ann' },
  token: '',
  operation: 'storage.object.list_v2',
  method: 'POST',
  path: '/',
  headers: {},
  userBuckets: false,
}

let made: TestDatabase
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  await made.admin`insert into storage.buckets (id, name) values (${BUCKET}, ${BUCKET})`
  await made.admin.begin(async (tx) => {
    await tx`set local session_replication_role = replica` // no trigger: an event of each would take a minute
    await tx.unsafe(`
      insert into storage.objects (
        bucket_id, name, version, owner_id, organization_id, access_level, asset_type, tags, user_metadata, created_at, updated_at,
        metadata)
      select '${BUCKET}', 'n' || lpad(n::text, 6, '0') || case when is_one then 'Needle' else '' end, gen_random_uuid(),
        case when is_one or is_map then 'ann' else 'bob' end, case when is_one then 'org' end, case when is_one then 'shared' else 'private' end,
        case when is_map then 'map' end, case when is_one then '{rare,often}'::text[] else '{often}' end,
        case when is_one then '{"k": "rare"}' else '{"k": "often"}' end::jsonb,
        now() - n * interval '1 s', now(),
        jsonb_build_object('size', case when is_one then ${32 * MIB} else 5 end, 'mimetype',
          case when is_one then 'image/png' else 'text/plain' end)
      from (select n, n % ${EVERY} = 0 as is_one, n % ${EVERY} = 1 as is_map from generate_series(1, ${ROWS}) n) rows`)
  })
  await made.admin.unsafe(`
    analyze storage.objects;
    create policy p on storage.objects for select to authenticated using (owner_id = auth.jwt() ->> 'sub')`)
})
afterAll(() => made.drop())

const EARLIEST = new Date(Date.now() - (ROWS - 2 * EVERY) * 1000)

const BY_INDEX: [name: string, filter: ListFilter, index: string][] = [
  ['an owner', { ownerId: 'ann' }, 'objects_owner_id_created_at'],
  ['an organisation', { organizationId: 'org' }, 'objects_organization_id_created_at'],
  ['an access level', { accessLevel: 'shared' }, 'objects_access_level'],
  ['a content type', { contentTypes: ['image/png'] }, 'objects_bucket_id_mimetype'],
  ['content types that begin so', { contentTypes: ['image/*'] }, 'objects_bucket_id_mimetype'],
  ['what says what it is', { assetType: contentTypesOf('map') }, 'objects_asset_type'],
  ['what is it by its type', { assetType: contentTypesOf('image') }, 'objects_bucket_id_mimetype'],
  ['all tags', { tags: ['often', 'rare'] }, 'objects_tags'],
  ['any tag', { anyTags: ['rare', 'nobody has it'] }, 'objects_tags'],
  ['metadata', { metadata: { k: 'rare' } }, 'objects_user_metadata'],
  ['before a time', { createdBefore: EARLIEST }, 'objects_bucket_id_created_at'],
  ['after a time', { createdAfter: new Date(Date.now() - 2 * EVERY * 1000) }, 'objects_bucket_id_created_at'],
  ['what is large', { minSize: 20 * MIB }, 'objects_large'],
]

it.each(BY_INDEX)('%s is found by its index', async (_, filter, index) => {
  const [found] = await made.admin`
    select driver from storage.filter_conditions(${BUCKET}, ${JSON.stringify(filterJson(filter))}::text::jsonb)`
  const plan = await made.admin.begin(async (tx) => {
    await tx`set local enable_seqscan = off` // as found_by_filter
    return tx.unsafe(`explain select from storage.objects o where ${found?.driver} limit 20001`)
  })
  expect(plan.map((row) => row['QUERY PLAN']).join('\n')).toContain(index)
})

/** What a list shows, and how many rows of objects it reads for that. */
function read(query: Partial<FilteredQuery>) {
  return made.admin.begin(async (tx) => {
    // What the session has not reported yet of the transactions before counts, too.
    const readUntilNow = async () => {
      const [row] = await tx<{ rows: number }[]>`
        select (seq_tup_read + idx_tup_fetch)::integer as rows from pg_stat_xact_all_tables
        where relid = 'storage.objects'::regclass`
      return row?.rows ?? 0
    }
    const before = await readUntilNow()
    const { entries, end } = await listFiltered(
      { run: (statement, values) => statement.send(tx, values) },
      ANN,
      {
        bucketId: BUCKET,
        prefix: '',
        filter: {},
        limit: 1000,
        skip: 0,
        mostLooks: 2000,
        after: null,
        isWalk: false,
        column: 'name',
        order: 'asc',
        withMetadata: false,
        ...query,
      },
    )
    return { shown: entries.length, end, rows: (await readUntilNow()) - before }
  })
}

/** Once found, once judged, once shown; times for policies that read the index of another column besides. */
const FEW_READS = 2 * FOUND * 6

it.each(BY_INDEX)('a page of %s reads what it shows, and little else', async (_, filter) => {
  const { shown, end, rows } = await read({ filter, mostLooks: 10_000 })
  expect(shown).toBeGreaterThan(1)
  expect(end).toBeNull()
  expect(rows).toBeLessThanOrEqual(filter.createdBefore || filter.createdAfter ? 4 * 2 * EVERY : FEW_READS)
})

const UNINDEXED: [name: string, query: Partial<FilteredQuery>][] = [
  ['no filter', {}],
  ['a search', { filter: { search: 'needle' } }],
  ['a search in all buckets', { bucketId: null, filter: { search: 'nowhere' } }],
  ['what is small', { filter: { maxSize: 4 } }],
  ['a tag that most have', { filter: { tags: ['often'], search: 'nowhere' } }],
  [
    'metadata that most have',
    { filter: { metadata: { k: 'often' }, search: 'nowhere' }, column: 'created_at' },
  ],
  [
    'an owner of most, over all buckets',
    { bucketId: null, filter: { ownerId: 'bob', search: 'x' }, column: 'created_at' },
  ],
  ['a prefix, by time', { prefix: 'n0', filter: { search: 'nowhere' }, column: 'updated_at' }],
]

it.each(UNINDEXED)('a page of %s looks at so many rows and no more, and goes on', async (_, query) => {
  const { end, rows } = await read(query)
  expect(end).not.toBeNull()
  expect(rows).toBeLessThanOrEqual(12_000)
})

it('where an operator has made an index for it, a search is found by it', async () => {
  await made.admin.unsafe(`
    create extension pg_trgm schema public;
    create index names_by_trigrams on storage.objects using gin (folded_name public.gin_trgm_ops)`)
  const { shown, end, rows } = await read({ filter: { search: 'nEEdle' } })
  expect([shown, end]).toEqual([FOUND, null])
  expect(rows).toBeLessThanOrEqual(FEW_READS)
})
