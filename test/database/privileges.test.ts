import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { migrate } from '../../src/database/migrations/migrate.ts'
import { openCluster } from '../support/blank-database.ts'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

// What somebody could do who got to run SQL under a caller's role, be it by a hole in another service.
let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('hidden')
  await server.request('POST', '/object/hidden/a.txt', { body: 'a' })
})
afterAll(() => server.close())

/** Runs SQL as the server's login that became this role; what it did is taken back. */
async function as(role: string, run: (sql: postgres.TransactionSql) => Promise<unknown>): Promise<unknown> {
  const undo = new Error('undo')
  let result: unknown
  await server.database.sql
    .begin(async (sql) => {
      await sql.unsafe(`set local role ${role}`)
      result = await run(sql)
      throw undo
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error
    })
  return result
}

describe.each(['anon', 'authenticated'])('%s', (role) => {
  it.each([
    ['truncate storage.objects'],
    ['truncate storage.buckets cascade'],
    [
      'create trigger t before insert on storage.objects for each row execute function storage.touch_updated_at()',
    ],
    ['select * from storage.uploads'],
    ['select * from storage.removals'],
    ['select * from storage.former_buckets'],
    ['select * from storage.events'],
    ['select * from storage.scrubs'],
    ['select * from storage.moves'],
    ['select * from storage.webhooks'],
    ['select * from storage.webhook_deliveries'],
    ['select * from storage.credentials'],
    ['delete from storage.credentials'],
    ["insert into storage.credentials values ('SRA', '', 'service_role', null, '{}', '')"],
    ['update storage.credentials set role = current_user'],
    ["select * from storage.find_credential('SRA')"],
    [
      "insert into storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version) values ('a', '', 'hidden', 'a', 'a')",
    ],
    ["update storage.s3_multipart_uploads set owner_id = 'me'"],
    ['delete from storage.s3_multipart_uploads'],
    [
      "insert into storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version) values ('a', 1, 'hidden', 'a', '', 'a')",
    ],
    ["update storage.s3_multipart_uploads_parts set etag = ''"],
    ['delete from storage.s3_multipart_uploads_parts'],
    ['select * from storage.version_parts'],
    ['select * from storage.sweeps'],
    ["select nextval('storage.sweeps')"],
    ['select storage.begin_sweep()'],
    ['select storage.next_sweep()'],
    ['select * from storage.backup_jobs'],
    [
      "insert into storage.backup_jobs (id, kind, type, target) values (gen_random_uuid(), 'backup', 'full', '/etc')",
    ],
    ["update storage.backup_jobs set target = '/etc'"],
    ['delete from storage.backup_jobs'],
    ['select * from storage.backup_holds'],
    ["insert into storage.backup_holds (name) values ('for ever')"],
    ['delete from storage.backup_holds'],
    ['select * from storage.inline_bytes'],
    ["insert into storage.inline_bytes (version, bytes) values (gen_random_uuid(), '')"],
    ['update storage.inline_bytes set bytes = bytes'],
    ['delete from storage.inline_bytes'],
    ["select storage.write_inline_bytes(gen_random_uuid(), '')"],
    ['select * from storage.read_inline_bytes(gen_random_uuid(), 0, null)'],
    ['select storage.copy_inline_bytes(gen_random_uuid(), gen_random_uuid())'],
    ['select storage.remove_inline_bytes(gen_random_uuid())'],
    ['select * from storage.list_inline_bytes(null, 1)'],
    ["select * from storage.read_object_now('policy', 'hidden', 'a', '', '')"],
    ["select * from storage.read_object('policy', 'hidden', 'a', '', '')"],
    ["select * from storage.put_objects('[]', '')"],
    [
      "select * from storage.put_object_version('hidden', null, null, 'a', null, null, null, null, '{}', '{}', '', '{}', '', null, true, '')",
    ],
    ['select storage.find_multipart_upload(gen_random_uuid(), 1)'],
    ["select storage.keep_part(gen_random_uuid(), 1, 0, '', '', '', '{}', 0, 0, 0)"],
    ['select storage.parts_of(gen_random_uuid(), 0, 1)'],
    ["select storage.list_parts(gen_random_uuid(), 0, '{}', '')"],
    ['select storage.keep_version_parts(gen_random_uuid())'],
    ["select storage.note_checksum(gen_random_uuid(), '', '')"],
    ['select * from storage.audit_log'],
    [
      "insert into storage.audit_log (at, id, action, resource_type, allowed, status) values (now(), gen_random_uuid(), 'upload', 'object', true, 200)",
    ],
    ['delete from storage.audit_log'],
    ["select storage.write_audit('{}', '[]')"],
    ['select storage.make_audit_month(now())'],
    ['select storage.drop_audit_months(now())'],
    ['select * from strongroom.bucket_rules'],
    ['select * from strongroom.turns'],
    ['select * from storage.link_revocations'],
    ["select storage.revoke_links('{all}', now(), now(), null, 1, '{}')"],
    ["select storage.owners_of('hidden', 'a')"],
    ["select storage.count_link_download(gen_random_uuid(), '', false, 1, now())"],
    ['select storage.forget_links(1)'],
    ['select * from storage.shares'],
    ["select storage.find_share('x')"],
    ["select storage.create_share('{}', 1, 1, '')"],
    ["select storage.change_share('x', '{}', 1)"],
    ["select storage.end_share('x', '')"],
    ["select storage.use_share('x', true, '')"],
    ["select storage.list_shares(null, null, null, null, now(), '', 1)"],
    ["select storage.find_sharable(null, 'hidden', 'a')"],
    ['select * from strongroom.rates'],
    ["select storage.settle_rates('{read}', '{subject another}', '{0}', '{1000}')"],
    ['select storage.forget_rates()'],
    ['select * from strongroom.ordering'],
    ['select * from strongroom.channel'],
    ["select storage.act_as('service_role', '', '{}', '', '', '', '', '{}', false)"],
    ["select * from storage.bucket_settings('hidden')"],
    ['select storage.strike_removals(array[]::uuid[])'],
    ['select storage.beat_uploads(array[]::uuid[])'],
  ])('may not: %s', async (statement) => {
    await expect(as(role, (sql) => sql.unsafe(statement))).rejects.toMatchObject({ code: '42501' })
  })

  it('sees no uploads in parts of others, and tags none of their objects', async () => {
    await server.admin`
      insert into storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, owner_id)
      values ('another’s', '', 'hidden', 'a', 'a', 'another') on conflict do nothing`
    await server.admin`
      insert into storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version, owner_id)
      values ('another’s', 1, 'hidden', 'a', '', 'a', 'another')`
    const counts = await as(role, async (sql) => [
      (await sql`select from storage.s3_multipart_uploads`).count,
      (await sql`select from storage.s3_multipart_uploads_parts`).count,
      (await sql`update storage.objects set tags = '{mine}'`).count,
      await sql`select tags from storage.objects`,
    ])
    expect(counts).toEqual([0, 0, 0, []])
  })

  it('who may read an object does not tag it', async () => {
    const policy = `create policy "all read" on storage.objects for select to ${role} using (true)`
    await withPolicies(server.admin, policy, async () => {
      const counts = await as(role, async (sql) => [
        (await sql`select from storage.objects`).count,
        (await sql`update storage.objects set tags = '{mine}'`).count,
      ])
      expect(counts).toEqual([1, 0])
    })
  })

  it('may not borrow the rights of the functions that look after bytes', async () => {
    const attempt = as(role, async (sql) => {
      await sql.unsafe(`create temp table t (version text, bytes_bucket uuid, bucket_id text)`)
      await sql.unsafe(
        `create trigger x after delete on t for each row execute function storage.list_removal()`,
      )
    })
    await expect(attempt).rejects.toMatchObject({ code: '42501' })
  })
})

it('no function of ours with its owner’s rights looks for names in a temporary schema first', async () => {
  const rows = await server.admin`
    select proname from pg_proc
    where pronamespace in ('storage'::regnamespace, 'strongroom'::regnamespace)
      and (prosecdef or prorettype = 'trigger'::regtype) and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)`
  expect(rows).toEqual([])
})

it('a bucket is never neither public nor private', async () => {
  await server.admin`insert into storage.buckets (id, name, public) values ('unsaid', 'unsaid', null)`
  expect(await server.admin`select public, policy from storage.buckets where id = 'unsaid'`).toEqual([
    { public: false, policy: 'private' },
  ])
})

it('a database that gives callers all on whatever is new gives them none of ours', async () => {
  const cluster = openCluster()
  const migrated = async (prepare: string) => {
    const name = await cluster.newDatabase()
    const { sql } = cluster.open(name)
    await sql.unsafe(prepare)
    await migrate(cluster.address(name), pino({ level: 'silent' }))
    return await sql<{ privilege: string }[]>`
      with callers as (select unnest(array['anon', 'authenticated', 'service_role']) as caller),
        schemas as (select oid, nspname from pg_namespace where nspname in ('storage', 'strongroom'))
      select format('%s: %s on %s.%s', caller, held, nspname, c.relname) as privilege
      from callers, schemas s join pg_class c on c.relnamespace = s.oid,
        unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) held
      where c.relkind in ('r', 'v') and has_schema_privilege(caller, s.oid, 'usage')
        and has_table_privilege(caller, c.oid, held)
      union all
      select format('%s: %s on %s.%s', caller, held, nspname, c.relname)
      from callers, schemas s join pg_class c on c.relnamespace = s.oid, unnest(array['usage', 'update']) held
      where caller <> 'service_role' and c.relkind = 'S' and has_sequence_privilege(caller, c.oid, held)
      union all
      select format('%s: %s', caller, p.oid::regprocedure)
      from callers, schemas s join pg_proc p on p.pronamespace = s.oid
      where has_function_privilege(caller, p.oid, 'execute')
      order by privilege`
  }
  try {
    const usual = await migrated('select')
    const generous = await migrated(
      ['tables', 'sequences', 'functions']
        .map((all) => `alter default privileges grant all on ${all} to anon, authenticated, service_role`)
        .join(';'),
    )
    expect([...generous]).toEqual([...usual])
  } finally {
    await cluster.close()
  }
})
