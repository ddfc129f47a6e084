import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { startTestServer, type TestServer } from '../support/server.ts'

/** The listing functions that SQL and PostgREST users call by name (wire §7.4). */

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('docs')
  await server.createBucket('shared', { policy: 'authenticated' })
  await server.admin`
    insert into storage.objects (bucket_id, name, created_at, updated_at, last_accessed_at, metadata)
    select bucket, name, at, at, at, '{"size": 1}'
    from unnest('{docs,shared}'::text[]) as bucket, unnest(
      '{B.txt,a.txt,dir/one.txt,dir/two.txt,dir/sub/deep.txt,100%.txt,100x.txt}'::text[]
    ) with ordinality as n (name, number),
    lateral (select '2024-01-01'::timestamptz + number * interval '1 day') as t (at)`
})
afterAll(() => server.close())

describe('storage.search()', () => {
  it.each([
    ["'', 'docs'", ['100%.txt', '100x.txt', 'a.txt', 'B.txt', 'dir']],
    ["'dir/', 'docs'", ['one.txt', 'sub', 'two.txt']],
    ["'dir', 'docs'", ['one.txt', 'sub', 'two.txt']],
    ["'DIR', 'docs'", ['one.txt', 'sub', 'two.txt']],
    ["'di', 'docs'", []],
    ["'', 'docs', 2", ['100%.txt', '100x.txt']],
    ["'', 'docs', 2, 1, 3", ['B.txt', 'dir']],
    ["'', 'docs', 100, 7", ['100%.txt', '100x.txt', 'a.txt', 'B.txt', 'dir']],
    ["'', 'docs', search => '100%'", ['100%.txt']],
    ["'', 'docs', search => 'b'", ['B.txt']],
    ["'', 'docs', search => 'dir/t'", ['dir/two.txt']],
    ["'', 'docs', sortorder => 'desc'", ['dir', 'B.txt', 'a.txt', '100x.txt', '100%.txt']],
    ["'dir', 'docs', sortcolumn => 'created_at', sortorder => 'desc'", ['sub', 'two.txt', 'one.txt']],
    ["'', 'docs', sortcolumn => 'updated_at'", ['dir', 'B.txt', 'a.txt', '100%.txt', '100x.txt']],
    ["'', 'nowhere'", []],
    ["'', 'docs', 0", []],
    ["null, 'docs'", []],
    ["'', null", []],
  ])('(%s) shows %j', async (call, names) => {
    expect(await shown(server.admin, `storage.search(${call})`)).toEqual(names)
  })

  it('has the columns of list v1, empty for a folder', async () => {
    const rows = await server.admin`select * from storage.search('', 'docs', search => 'd')`
    expect(rows).toEqual([
      { name: 'dir', id: null, updated_at: null, created_at: null, last_accessed_at: null, metadata: null },
    ])
  })
})

describe('storage.search_v2()', () => {
  it.each([
    ["'', 'docs'", ['100%.txt', '100x.txt', 'B.txt', 'a.txt', 'dir/']],
    ["'dir/', 'docs'", ['dir/one.txt', 'dir/sub/', 'dir/two.txt']],
    ["'di', 'docs'", ['dir/']],
    ["'DIR', 'docs'", []],
    ["'', 'docs', 2, 1, 'B.txt'", ['a.txt', 'dir/']],
    ["'dir/', 'docs', start_after => 'dir/sub/'", ['dir/two.txt']],
    ["'', 'docs', start_after => 'a.txt', sort_order => 'desc'", ['B.txt', '100x.txt', '100%.txt']],
    ["'', 'docs', sort_column => 'created_at'", ['B.txt', 'a.txt', 'dir/', '100%.txt', '100x.txt']],
    [
      "'', 'docs', start_after => 'a.txt', sort_column => 'created_at', sort_column_after => '2024-01-03'",
      ['dir/', '100%.txt', '100x.txt'],
    ],
    ["'', 'nowhere'", []],
  ])('(%s) shows %j', async (call, names) => {
    expect(await shown(server.admin, `storage.search_v2(${call})`)).toEqual(names)
  })

  it('gives the last segment as key', async () => {
    const rows = await server.admin`select key, name from storage.search_v2('dir/', 'docs')`
    expect(rows.map((row) => row.key)).toEqual(['one.txt', 'sub', 'two.txt'])
  })
})

describe('storage.list_objects_with_delimiter()', () => {
  it.each([
    ["'docs', '', '/'", ['100%.txt', '100x.txt', 'B.txt', 'a.txt', 'dir/']],
    ["'docs', 'dir/', '/'", ['dir/one.txt', 'dir/sub/', 'dir/two.txt']],
    ["'docs', 'dir/', ''", ['dir/one.txt', 'dir/sub/deep.txt', 'dir/two.txt']],
    ["'docs', '', '/', 2", ['100%.txt', '100x.txt']],
    ["'docs', '', '/', 2, 'a.txt'", ['dir/']],
    ["'docs', '', '/', 2, 'a.txt', '100x.txt'", ['B.txt', 'a.txt']],
    ["'docs', '', '/', sort_order => 'desc'", ['dir/', 'a.txt', 'B.txt', '100x.txt', '100%.txt']],
  ])('(%s) shows %j', async (call, names) => {
    expect(await shown(server.admin, `storage.list_objects_with_delimiter(${call})`)).toEqual(names)
  })
})

describe.each([
  ["storage.search('dir', '$bucket')", 3],
  ["storage.search_v2('dir/', '$bucket')", 3],
  ["storage.list_objects_with_delimiter('$bucket', 'dir/', '/')", 3],
])('%s', (call, count) => {
  it('shows a caller’s role what its policies let it see', async () => {
    const as = (role: string, bucket: string) =>
      server.admin.begin(async (sql) => {
        await sql`select set_config('role', ${role}, true)`
        return (await shown(sql, call.replace('$bucket', bucket))).length
      })
    expect([
      await as('anon', 'shared'),
      await as('authenticated', 'docs'),
      await as('authenticated', 'shared'),
      await as('service_role', 'docs'),
    ]).toEqual([0, 0, count, count])
  })
})

async function shown(sql: postgres.Sql | postgres.TransactionSql, call: string): Promise<string[]> {
  const rows = await sql.unsafe<{ name: string }[]>(`select name from ${call}`)
  return rows.map((row) => row.name)
}
