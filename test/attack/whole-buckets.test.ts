import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withPolicies } from '../support/policies.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'

/** Questions that are free to ask, and have a whole bucket read. */

describe('a bucket that takes long to read', () => {
  let proxy: PostgresProxy
  let server: TestServer
  beforeAll(async () => {
    proxy = await openPostgresProxy()
    // By URL, so that the settings of the database count.
    server = await startTestServer(
      { STORAGE_LIST_TIMEOUT: '1s', STORAGE_TRUST_PROXY: 'true' },
      { databaseUrl: (name) => proxy.url(name) },
    )
    await server.createBucket('endless')
    await server.createBucket('open', { public: true })
    await server.request('POST', '/object/open/a.txt', { body: 'a' })
    await server.admin`
      insert into storage.objects (bucket_id, name) select 'endless', 'dir/' || i from generate_series(1, 1000) i`
    // As long as a few million rows that the policies hide.
    await server.admin.unsafe(`create policy slow on storage.objects for select using (
      case when bucket_id = 'endless' then pg_sleep(0.01) is null else false end)`)
  })
  afterAll(async () => {
    await server.close()
    await proxy.close()
  })

  it('holds up nobody: who asks is told so, and the others upload, read and list meanwhile', async () => {
    const ask = (path: string, body: object, from: string) =>
      server.request('POST', `/object/${path}/endless`, {
        token: server.keys.anonKey,
        headers: { 'x-forwarded-for': from },
        body,
      })
    const questions: [path: string, body: object][] = [
      ['list', { prefix: '' }],
      ['list', { prefix: 'dir', search: '9', sortBy: { column: 'created_at', order: 'desc' } }],
      ['list', { prefix: 'dir', offset: 100_000 }],
      ['list-v2', {}],
      ['list-v2', { prefix: 'dir/', sortBy: { column: 'updated_at' } }],
      ['list-v2', { with_delimiter: true, sortBy: { column: 'created_at', order: 'desc' } }],
      ['list-v2', { at: new Date().toISOString() }],
    ]
    const attack = async () => {
      const crowd = Array.from({ length: 60 }, async (_, index) => {
        const [path, body] = questions[index % questions.length] ?? ['list', {}]
        const response = await ask(path, body, '203.0.113.7')
        const { code, message } = (await response.json()) as { code: string; message: string }
        return { status: response.status, retry: response.headers.get('retry-after'), code, message }
      })
      // Somebody else without a login, from another place.
      const neighbour = await server.request('POST', '/object/list/open', {
        token: server.keys.anonKey,
        headers: { 'x-forwarded-for': '198.51.100.9' },
        body: { prefix: '' },
      })
      expect(await neighbour.json()).toMatchObject([{ name: 'a.txt' }])
      return Promise.all(crowd)
    }
    const { result } = await besideInnocent(server, attack)
    for (const answer of result) expect(answer).toMatchObject({ status: 503, retry: '2' })
    const told = new Set(result.map(({ code, message }) => `${code}: ${message}`))
    expect([...told].sort()).toEqual([
      'DatabaseTimeout: This has to read too much: it was ended after 1 seconds (STORAGE_LIST_TIMEOUT). ' +
        'Ask for less, such as for a folder, or by name',
      'SlowDown: Too many lists and statistics are asked for at once; try again soon',
    ])
  })
})

describe.each(['default', 'supabase'] as const)('under %s rules', (mode) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer(mode === 'supabase' ? { STORAGE_COMPAT: mode } : {})
    await server.createBucket('docs')
    await server.request('POST', '/object/docs/a.txt', { body: '12345' })
  })
  afterAll(() => server.close())

  const json = async (path: string) => (await server.request('GET', path)).json()

  it('a bucket is counted for who asks for it alone', async () => {
    expect(await json('/bucket/docs')).not.toHaveProperty('file_count')
    const counted = { file_count: 1, total_size: 5 }
    for (const answer of [
      await json('/bucket/docs?stats=true'),
      (await json('/bucket?stats=true')) as object,
    ]) {
      const bucket = Array.isArray(answer) ? answer[0] : answer
      if (mode === 'supabase') expect(bucket).not.toHaveProperty('file_count')
      else expect(bucket).toMatchObject(counted)
    }
    expect((await server.request('GET', '/bucket/docs?stats=maybe')).status).toBe(
      mode === 'supabase' ? 200 : 400,
    )
  })

  it('a list passes over 100 000 entries at most, and says what goes further', async () => {
    const list = (offset: number) =>
      server.request('POST', '/object/list/docs', { body: { prefix: '', offset } })
    expect((await list(100_000)).status).toBe(200)
    const further = await list(100_001)
    const buckets = await server.request('GET', '/bucket?offset=100001')
    if (mode === 'supabase') {
      expect([further.status, buckets.status]).toEqual([200, 200])
      return
    }
    expect([further.status, buckets.status]).toEqual([400, 400])
    expect(await further.json()).toMatchObject({
      code: 'InvalidParameter',
      message: 'offset must be at most 100000; POST /object/list-v2 goes on from a cursor, however far',
    })
  })

  it('what is sought has bounds', async () => {
    const long = 'x'.repeat(5000)
    for (const body of [{ prefix: long }, { prefix: '', search: long }]) {
      expect((await server.request('POST', '/object/list/docs', { body })).status).toBe(400)
    }
    expect((await server.request('POST', '/object/list-v2/docs', { body: { prefix: long } })).status).toBe(
      400,
    )
    expect((await server.request('GET', `/bucket?search=${long}`)).status).toBe(400)
  })
})

describe('a page of 20 000 objects', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer()
    await server.createBucket('full', { policy: 'authenticated' })
    await server.admin`
      insert into storage.objects (bucket_id, name, created_at, updated_at, last_accessed_at)
      select 'full', 'Dir/' || md5(i::text), t.moment, t.moment, t.moment
      from generate_series(1, 20000) i, lateral (select now() - i * 7919 % 20011 * interval '1 second' as moment) t`
    // An index alone answers for pages that all can see: not while any session looks at what was before, or the commit is
    // not on the disk.
    await until(async () => {
      await server.admin`vacuum analyze storage.objects`
      const [row] = await server.admin<{ pages: number; marked: number }[]>`
        select relpages as pages, relallvisible as marked from pg_class where oid = 'storage.objects'::regclass`
      return row !== undefined && row.marked === row.pages
    }, 'all can see the rows')
  })
  afterAll(() => server.close())

  /** How many rows of objects a question of a signed-in user reads. */
  async function rowsRead(question: string, shown = 100): Promise<number> {
    return server.admin.begin(async (sql) => {
      await sql`select storage.act_as('authenticated', 'u', '{"sub":"u"}', '', 'x', 'POST', '/', '{}', false)`
      const read = async () => {
        const [row] = await sql<{ rows: string }[]>`
          select seq_tup_read + coalesce(idx_tup_fetch, 0) as rows from pg_stat_xact_user_tables
          where schemaname = 'storage' and relname = 'objects'`
        return Number(row?.rows)
      }
      const before = await read()
      const found = await sql.unsafe(question)
      expect(found).toHaveLength(shown)
      return (await read()) - before
    })
  }

  /** Whether a level, or what begins with a prefix, is worth sorting. */
  const PROBE = 5001

  it.each(['created_at', 'updated_at', 'last_accessed_at'])(
    'by %s reads little more than it shows',
    async (column) => {
      for (const order of ['asc', 'desc']) {
        const level = `select * from storage.list_folder('full', 'Dir/', '', 100, 0, '${column}', '${order}')`
        expect(await rowsRead(level)).toBeLessThan(PROBE + 200)
        if (column === 'last_accessed_at') continue // is no order of list v2
        const after = `'Dir/x', now() - interval '1 hour'`
        for (const place of ['null, null', after]) {
          const page = (prefix: string) =>
            `select * from storage.page_entries('full', '${prefix}', false, 100, ${place}, '${column}', '${order}')`
          expect(await rowsRead(page(''))).toBeLessThan(200)
          expect(await rowsRead(page('Dir/'))).toBeLessThan(PROBE + 200)
        }
      }
    },
  )

  it('of folders reads a few rows for each, whatever it holds and however it is spelled', async () => {
    await server.createBucket('folders', { policy: 'authenticated' })
    await server.admin`
      insert into storage.objects (bucket_id, name)
      select 'folders', case when i % 2 = 0 then 'Kit ' else 'KIT ' end || i / 2 || '/' || j
      from generate_series(0, 99) i, generate_series(1, 200) j`
    for (const order of ['asc', 'desc']) {
      const level = `select * from storage.list_folder('folders', '', '', 100, 0, 'name', '${order}', true)`
      expect(await rowsRead(level)).toBeLessThan(100 * 20)
    }
  })

  it('of folders among those that the policies hide reads these once, and not for every spelling', async () => {
    await server.createBucket('sparse')
    await server.admin`
      insert into storage.objects (bucket_id, name)
      select 'sparse', 'team-' || lpad(i::text, 4, '0') || '/' || j
      from generate_series(1, 1000) i, generate_series(1, 20) j`
    const policy = `create policy "every tenth" on storage.objects for select to authenticated
      using (bucket_id = 'sparse' and name like '%0/%')`
    await withPolicies(server.admin, policy, async () => {
      const level = `select * from storage.list_folder('sparse', '', '', 1000, 0, 'name', 'asc', true)`
      expect(await rowsRead(level)).toBeLessThan(1.5 * 20_000)
    })
  })

  it('of a folder whose names agree with many others but for case, reads it, and not these for each', async () => {
    await server.createBucket('alike', { policy: 'authenticated' })
    // 1024 files whose names are spellings of a prefix of the folders' names.
    await server.admin`
      insert into storage.objects (bucket_id, name)
      select 'alike', translate(i::bit(10)::text, '01', 'aA') || 'x' from generate_series(0, 1023) i
      union all
      select 'alike', 'aaaaaaaaaa' || i || '/' || j from generate_series(101, 200) i, generate_series(1, 5) j`
    const level = `select * from storage.list_folder('alike', '', 'aaaaaaaaaa1', 100, 0, 'name', 'asc', true)`
    expect(await rowsRead(level, 99)).toBeLessThan(100 * (32 + 30))
  })
})
