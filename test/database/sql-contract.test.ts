import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { startTestServer, type TestServer } from '../support/server.ts'

/** The functions that Supabase users' policies and SQL call by name (wire §7.4). */

let server: TestServer
let admin: postgres.Sql
beforeAll(async () => {
  server = await startTestServer()
  admin = server.admin
  await server.createBucket('docs')
})
afterAll(() => server.close())

describe('the parts of a name', () => {
  it.each([
    // name, foldername, filename, extension
    ['a/b/c.txt', ['a', 'b'], 'c.txt', 'txt'],
    ['c.txt', [], 'c.txt', 'txt'],
    ['a/archive.tar.gz', ['a'], 'archive.tar.gz', 'gz'],
    ['a/README', ['a'], 'README', 'README'],
    ['a.d/b', ['a.d'], 'b', 'b'],
    ['.env', [], '.env', 'env'],
    ['a/b.', ['a'], 'b.', ''],
    ['a/', ['a'], '', ''],
    ['/a', [''], 'a', 'a'],
    ['a//b.c', ['a', ''], 'b.c', 'c'],
    ['', [], '', ''],
    ['图/naïve.文', ['图'], 'naïve.文', '文'],
    ['a/e\u0301.\u{1f600}', ['a'], 'e\u0301.\u{1f600}', '\u{1f600}'],
  ])('of %j are %j, %j and %j', async (name, folders, file, extension) => {
    const [row] = await admin`
      select storage.foldername(${name}) as folders, storage.filename(${name}) as file,
        storage.extension(${name}) as extension, (storage.foldername(${name}))[1] as top`
    expect(row).toEqual({ folders, file, extension, top: folders[0] ?? null })
  })

  it('are immutable functions, so that an index may use them', async () => {
    await admin`create index on storage.objects (storage.extension(name), storage.filename(name), ((storage.foldername(name))[1]))`
    const [row] = await admin`
      select storage.filename(null) as file, storage.extension(null) as extension,
        (storage.foldername(null))[1] as top`
    expect(row).toEqual({ file: null, extension: null, top: null })
  })
})

describe('the operation', () => {
  const during = <T>(operation: string | null, work: (sql: postgres.TransactionSql) => Promise<T>) =>
    admin.begin(async (sql) => {
      if (operation !== null) await sql`select set_config('storage.operation', ${operation}, true)`
      return work(sql)
    }) as Promise<T>

  it('is null outside requests', async () => {
    expect(await during(null, (sql) => sql`select storage.operation() as now`)).toEqual([{ now: null }])
    expect(await during('', (sql) => sql`select storage.operation() as now`)).toEqual([{ now: null }])
  })

  it.each([
    ['storage.object.list', 'storage.object.list', true],
    ['storage.object.list', 'object.list', true],
    ['object.get_authenticated_info', 'storage.object.get_authenticated_info', true],
    ['object.get_authenticated_info', 'object.get_authenticated_info', true],
    ['storage.object.list_v2', 'object.list', false],
    ['storage.object.list', 'object.list_v2', false],
    ['storage.object.list', 'object', false],
    ['storage.object.list', 'storage.', false],
    ['storage.object.list', 'object.%', false],
    ['storage.object.list', 'storage_object.list', false],
    ['storage.object.list', '', false],
    ['storage.object.list', null, false],
    ['', '', false],
    [null, 'object.list', false],
    [null, null, false],
  ])('during %j, allow_only_operation(%j) is %j', async (operation, expected, allowed) => {
    const rows = await during(
      operation,
      (sql) => sql`select storage.allow_only_operation(${expected}) as only,
        storage.allow_any_operation(array['', null, ${expected}, 'object.other']) as any`,
    )
    expect(rows).toEqual([{ only: allowed, any: allowed }])
  })

  it.each(["'{}'::text[]", 'null::text[]', '\'{"",null}\'::text[]'])(
    'is none of no operations: %s',
    async (list) => {
      const rows = await during('storage.object.list', (sql) =>
        sql.unsafe(`select storage.allow_any_operation(${list}) as any`),
      )
      expect(rows).toEqual([{ any: false }])
    },
  )
})

describe('who asks', () => {
  const asked = (settings: Record<string, string>) =>
    admin.begin(async (sql) => {
      for (const [name, value] of Object.entries(settings))
        await sql`select set_config(${name}, ${value}, true)`
      return sql`select auth.uid() as uid, auth.role() as role, auth.email() as email, auth.jwt() as jwt`
    })
  const sub = randomUUID()
  const other = randomUUID()

  it.each([
    ['nothing', {}, { uid: null, role: null, email: null, jwt: null }],
    ['emptied settings', { 'request.jwt.claims': '', 'request.jwt.claim.sub': '' }, { uid: null, jwt: null }],
    [
      'claims',
      { 'request.jwt.claims': JSON.stringify({ sub, role: 'anon', email: 'a@b.c', deep: { x: [1] } }) },
      {
        uid: sub,
        role: 'anon',
        email: 'a@b.c',
        jwt: { sub, role: 'anon', email: 'a@b.c', deep: { x: [1] } },
      },
    ],
    [
      'single claims, which come first',
      {
        'request.jwt.claims': JSON.stringify({ sub, role: 'anon' }),
        'request.jwt.claim.sub': other,
        'request.jwt.claim.role': 'custom',
      },
      { uid: other, role: 'custom', jwt: { sub, role: 'anon' } },
    ],
    [
      'claims beside an empty single claim',
      { 'request.jwt.claims': JSON.stringify({ sub }), 'request.jwt.claim.sub': '' },
      { uid: sub },
    ],
  ])('is told by %s', async (_, settings, told) => {
    expect((await asked(settings as Record<string, string>))[0]).toMatchObject(told)
  })

  it('is an error for auth.uid() when the subject is no UUID', async () => {
    await expect(asked({ 'request.jwt.claim.sub': 'auth0|1' })).rejects.toMatchObject({ code: '22P02' })
  })
})

describe('storage.get_size_by_bucket()', () => {
  it('adds up sizes, whatever else plain SQL has left as metadata', async () => {
    await admin`insert into storage.buckets (id, name) values ('sized', 'sized')`
    await admin`
      insert into storage.objects (bucket_id, name, metadata) values
        ('sized', 'a', '{"size": 5000000000}'), ('sized', 'b', '{"size": 3}'), ('sized', 'c', null),
        ('sized', 'd', '{"size": "a lot"}'), ('sized', 'e', '[]'), ('sized', 'f', '"text"')`
    expect(await admin`select * from storage.get_size_by_bucket() where bucket_id = 'sized'`).toEqual([
      { size: '5000000003', bucket_id: 'sized' },
    ])
  })

  it('counts what the asking role may see', async () => {
    const rows = await as('authenticated', (sql) => sql`select * from storage.get_size_by_bucket()`)
    expect(rows).toEqual([])
  })
})

describe('storage.can_insert_object()', () => {
  const ask = (role: string) =>
    as(
      role,
      (sql) => sql`select storage.can_insert_object('docs', 'a.txt', null, '{"mimetype": "text/plain"}')`,
    )

  it('raises PT200 when the insert is allowed, and leaves no row', async () => {
    await expect(ask('service_role')).rejects.toMatchObject({ code: 'PT200' })
    expect(await admin`select id from storage.objects where bucket_id = 'docs'`).toEqual([])
  })

  it('raises 42501 when a policy refuses it', async () => {
    await expect(ask('authenticated')).rejects.toMatchObject({ code: '42501' })
  })
})

describe('storage.protect_delete()', () => {
  it('keeps rows from plain SQL once attached, and hinders no delete through the API', async () => {
    await server.createBucket('guarded')
    for (const name of ['a', 'b', 'c', 'd']) {
      await server.request('POST', `/object/guarded/${name}`, { body: 'x' })
    }
    for (const table of ['buckets', 'objects']) {
      await admin.unsafe(`create trigger protect before delete on storage.${table}
        for each statement execute function storage.protect_delete()`)
    }
    try {
      for (const table of ['buckets', 'objects']) {
        await expect(admin`delete from storage.${admin(table)}`).rejects.toMatchObject({ code: '42501' })
      }
      const status = async (method: string, path: string, body?: object) =>
        (await server.request(method, path, body && { body })).status
      expect(await status('DELETE', '/object/guarded/a')).toBe(204)
      expect(await status('DELETE', '/object/guarded', { prefixes: ['b'] })).toBe(200)
      expect(await status('POST', '/bucket/guarded/empty')).toBe(200)
      expect(await status('DELETE', '/bucket/guarded')).toBe(200)
      expect(await server.storedFiles()).toEqual([])
      await admin.begin(async (sql) => {
        await sql`select set_config('storage.allow_delete_query', 'true', true)`
        await sql`delete from storage.objects where false`
      })
    } finally {
      await admin`drop trigger protect on storage.buckets`
      await admin`drop trigger protect on storage.objects`
    }
  })
})

describe('the doors of the server', () => {
  it.each([
    "storage.act_as('service_role', '', '{}', '', '', '', '', '{}', true)",
    "storage.read_object('signed', 'docs', 'a', 'anon', '', '{}', '', '', '', '', '{}', false)",
    "storage.begin_upload(null, null, 'docs', 'a', null, null, '{}', '{}', false, 'service_role', '', '{}', '', '', '', '', '{}', true)",
    "storage.bucket_settings('docs')",
    'storage.strike_removals(array[]::uuid[])',
    'storage.strike_upload(gen_random_uuid())',
  ])('are closed to callers’ roles: %s', async (call) => {
    for (const role of ['anon', 'authenticated']) {
      const opened = as(role, (sql) => sql.unsafe(`select ${call}`))
      await expect(opened).rejects.toMatchObject({ code: '42501' })
    }
  })

  it.each(['uploads', 'removals', 'strongroom_migrations'])('nor is table %s theirs', async (table) => {
    for (const role of ['anon', 'authenticated']) {
      const opened = as(role, (sql) => sql`select * from storage.${sql(table)}`)
      await expect(opened).rejects.toMatchObject({ code: '42501' })
    }
  })
})

/** Runs SQL as a user of another service on this database would: under a role, without any request. */
function as<T>(role: string, work: (sql: postgres.TransactionSql) => Promise<T>) {
  return admin.begin(async (sql) => {
    await sql`select set_config('role', ${role}, true)`
    return work(sql)
  })
}
