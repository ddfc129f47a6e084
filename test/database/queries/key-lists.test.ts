import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { keyModel } from '../../support/list-model.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** storage.list_keys over random trees of names, against a plain model; and what it reads for a page. */

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

const MARKER = '.emptyFolderPlaceholder'

/** What stands around a slash and around a marker's dot in byte order, and what a delimiter is made of. */
const name = fc
  .array(
    fc.constantFrom(
      '/',
      '/',
      'a',
      'b',
      '-',
      '.',
      '!',
      '0',
      'é',
      '\u{10ffff}',
      '\ud7ff',
      `/${MARKER}`,
      MARKER,
    ),
    {
      minLength: 1,
      maxLength: 7,
      size: 'max',
    },
  )
  .map((parts) => parts.join(''))
const names = fc.uniqueArray(name, { minLength: 1, maxLength: 20, size: 'max' })
const delimiter = fc.constantFrom('', '', '/', '/', '-', '.', 'a', 'é', '/.', 'b/', '//', '!-', '.empty', 'x')

const listing = names.chain((all) => {
  const cut = fc
    .constantFrom(...all)
    .chain((text) => fc.nat(8).map((length) => [...text].slice(0, length).join('')))
  const text = fc.oneof(fc.constant(''), fc.constant(''), cut, cut, name)
  return fc.record({
    names: fc.constant(all),
    prefix: text,
    after: text,
    delimiter,
    limit: fc.integer({ min: 1, max: 5 }),
  })
})

describe('keys of S3', () => {
  it('are those of the model, on pages of any size, from any place', async () => {
    const property = fc.asyncProperty(listing, async ({ names, prefix, after, delimiter, limit }) => {
      const bucket = await bucketOf(names)
      const model = keyModel(names, prefix, delimiter, after)
      expect(await keysOf(bucket, prefix, delimiter, after, 1000)).toEqual(model)
      const paged: string[] = []
      let place = after
      for (let page = 0; page <= model.length; page++) {
        const keys = await keysOf(bucket, prefix, delimiter, place, limit)
        paged.push(...keys)
        place = keys.at(-1) ?? place
        if (keys.length < limit) break
      }
      expect(paged).toEqual(model)
    })
    await fc.assert(property, { numRuns: 300 })
  })

  it('are shown as far as policies show them, markers too', async () => {
    const bucket = await bucketOf([
      'a/hidden/x',
      `a/hidden/${MARKER}`,
      `a/${MARKER}`,
      'a/x',
      `b/${MARKER}`,
      'hidden',
    ])
    const policy = `create policy "seen" on storage.objects for select to authenticated
      using (bucket_id = '${bucket}' and name not like '%hidden%')`
    await withPolicies(server.admin, policy, async () => {
      const seen = await server.admin.begin(async (sql) => {
        await sql`set local role authenticated`
        return sql`select key from storage.list_keys(${bucket}, '', '', '', 100)`
      })
      expect(seen.map(({ key }) => key)).toEqual(['a/', 'a/x', 'b/'])
    })
  })

  const paths = {
    'names of one folder': (n: number) => `folder/file-${String(n).padStart(6, '0')}`,
    'folders of one file each': (n: number) => `a/${String(n).padStart(6, '0')}/file`,
    markers: (n: number) => `a/${String(n).padStart(6, '0')}/${MARKER}`,
    'folders of many files': (n: number) => `${n % 300}/${n}`,
    'one beginning': (n: number) => `x-${n}`,
  }
  it.each(Object.entries(paths))('cost what a page shows, and not what there is: %s', async (_, path) => {
    const bucket = await bucketOf(Array.from({ length: 12_000 }, (_, n) => path(n)))
    await server.admin`vacuum analyze storage.objects`
    for (const role of ['service_role', 'authenticated']) {
      for (const [prefix, delimiter, after] of [
        ['', '', ''],
        ['', '', path(6000)],
        ['', '/', ''],
        ['', '-', ''],
        ['a/', '/', path(6000)],
        ['', '00', path(6000)],
      ] as const) {
        const { shown, read } = await pagesRead(role, bucket, prefix, delimiter, after)
        // A seek is four, a skip reads ten rows ahead, and a marker is sought; all names would be ten thousand.
        expect([role, prefix, delimiter, after, read < 100 + 25 * shown]).toEqual([
          role,
          prefix,
          delimiter,
          after,
          true,
        ])
      }
    }
  })
})

/** Pages of the table, where rows stand in no order, and of its indexes that are looked at for a list of up to a hundred. */
async function pagesRead(role: string, bucket: string, prefix: string, delimiter: string, after: string) {
  return server.admin.begin(async (sql) => {
    // As users write them: of one that is simply true PostgreSQL knows that it hides nothing, and goes ways of its own.
    await sql.unsafe(`create policy "unhidden" on storage.objects for select to authenticated
      using (bucket_id = '${bucket}' and (storage.foldername(name))[1] is distinct from 'hidden')`)
    await sql.unsafe(`set local role ${role}`)
    const list = `select * from storage.list_keys('${bucket}', '${prefix}', '${delimiter}', '${after}', 100)`
    const { count: shown } = await sql.unsafe(list)
    const [row] = await sql.unsafe(`explain (analyze, buffers, format json) ${list}`)
    await sql`reset role`
    await sql`drop policy "unhidden" on storage.objects`
    const plan = (row as postgres.Row)['QUERY PLAN'][0].Plan
    return { shown, read: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'] }
  })
}

async function bucketOf(names: string[]): Promise<string> {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await server.admin`
    insert into storage.objects (bucket_id, name)
    select ${bucket}, name from unnest(${names}::text[]) name order by md5(name)`
  return bucket
}

async function keysOf(
  bucket: string,
  prefix: string,
  delimiter: string,
  after: string,
  limit: number,
): Promise<string[]> {
  const rows = await server.admin`
    select key, is_prefix, id from storage.list_keys(${bucket}, ${prefix}, ${delimiter}, ${after}, ${limit})`
  for (const row of rows) expect(row.is_prefix).toBe(row.id === null)
  return rows.map(({ key }) => key)
}
