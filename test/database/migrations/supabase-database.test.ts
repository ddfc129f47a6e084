import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { migrate } from '../../../src/database/migrations/migrate.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'
import { exercise } from '../../support/exercise.ts'
import { type Served, serveOn } from '../../support/server.ts'

/** Strongroom over a database that has been Supabase's: what is there stays, and goes on working. */

let cluster: Cluster
beforeAll(() => {
  cluster = openCluster()
})
afterAll(() => cluster.close())

describe.each([
  { kind: 'of our own collation', create: '' },
  { kind: 'that sorts by language', create: `template template0 locale_provider icu icu_locale 'en-US'` },
])('a database with Supabase’s schema, $kind', ({ create }) => {
  let database: string
  let server: Served

  beforeAll(async () => {
    database = await cluster.newDatabase(create)
    await cluster.open(database).sql.unsafe(SUPABASE)
    await migrate(cluster.address(database), pino({ level: 'silent' }))
    server = await serveOn(cluster.open(database, 'strongroom_server'))
  })
  afterAll(() => server.close())

  it('keeps its rows', async () => {
    const { sql } = cluster.open(database)
    expect(
      await sql`select id, name, owner, public, policy, file_size_limit, allowed_mime_types
        from storage.buckets order by id`,
    ).toEqual([
      {
        id: 'avatars',
        name: 'avatars',
        owner: USER,
        public: true,
        policy: 'public',
        file_size_limit: '1000',
        allowed_mime_types: ['image/*'],
      },
      {
        id: 'docs',
        name: 'docs',
        owner: null,
        public: false,
        policy: 'private',
        file_size_limit: null,
        allowed_mime_types: null,
      },
    ])
    expect(
      await sql`select bucket_id, name, owner, owner_id, metadata, version, path_tokens
        from storage.objects where bucket_id = 'avatars'`,
    ).toEqual([
      {
        bucket_id: 'avatars',
        name: 'u/a.png',
        owner: USER,
        owner_id: USER,
        metadata: { size: 3, mimetype: 'image/png' },
        version: VERSION,
        path_tokens: ['u', 'a.png'],
      },
    ])
  })

  it('takes a bucket that says nothing of being public for a private one', async () => {
    const stored = await server.request('POST', '/object/docs/secret.txt', { body: 'secret' })
    expect(stored.status).toBe(201)
    for (const path of [
      '/object/public/docs/secret.txt',
      '/object/docs/secret.txt',
      '/object/info/public/docs/secret.txt',
    ]) {
      const response = await server.request('GET', path, { token: null })
      expect([path, response.status]).toEqual([path, 404])
    }
  })

  it('keeps its functions and policies', async () => {
    const { sql } = cluster.open(database)
    const marked = await sql<{ name: string }[]>`
      select p.proname as name from pg_proc p where p.prosrc like '%theirs%' order by p.proname`
    expect(marked.map((row) => row.name)).toEqual(['extension', 'foldername', 'search', 'uid'])
    expect(await sql`select from pg_policies where policyname = 'own folder'`).toHaveLength(1)
    // A column that they left in the database's own collation stays so.
    const [column] = await sql`
      select collname from pg_attribute a join pg_collation c on c.oid = a.attcollation
      where attrelid = 'storage.objects'::regclass and attname = 'name'`
    expect(column).toEqual({ collname: 'default' })
  })

  it('lets users’ policies decide as before', async () => {
    const token = await server.token(USER)
    const path = `/object/docs/${USER}/mine.txt`
    expect((await server.request('POST', path, { token, body: 'mine' })).status).toBe(201)
    expect(await (await server.request('GET', path, { token })).text()).toBe('mine')
    expect((await server.request('POST', '/object/docs/x.txt', { token, body: 'x' })).status).toBe(403)
  })

  it('is listed in byte order, page by page', async () => {
    const names = ['B', '_', 'a', 'a-b', 'a/c', 'aB', 'ab', 'é', 'é/x']
    await server.request('POST', '/bucket', { body: { name: 'lists' } })
    await cluster.open(database).sql`
      insert into storage.objects (bucket_id, name) select 'lists', unnest(${names}::text[])`
    const paged: string[] = []
    let cursor: string | undefined
    do {
      const response = await server.request('POST', '/object/list-v2/lists', { body: { limit: 2, cursor } })
      const page = (await response.json()) as { objects: { name: string }[]; nextCursor?: string }
      paged.push(...page.objects.map((object) => object.name))
      cursor = page.nextCursor
    } while (cursor !== undefined)
    expect(paged).toEqual(names)
    const list = await server.request('POST', '/object/list/lists', { body: { prefix: '', search: 'A' } })
    const found = ((await list.json()) as { name: string }[]).map((entry) => entry.name)
    expect(found.map((name) => name.toLowerCase())).toEqual(['a', 'a-b', 'a', 'ab', 'ab'])
  })

  it('shows folders in every spelling once, though lower case makes two letters of one, or goes by the next', async () => {
    const folders = [
      'kilo',
      'KILO',
      '\u212aILO',
      'KİLO',
      'Ki\u0307lo',
      'ΑΣ',
      'ας',
      'ασ',
      'ΑΣΑ',
      'ασα',
      'Straße',
      'STRAẞE',
      'ǆ',
      'ǅ',
    ]
    await server.request('POST', '/bucket', { body: { name: 'spellings' } })
    await cluster.open(database).sql`
      insert into storage.objects (bucket_id, name)
      select 'spellings', folder || '/' || file
      from unnest(${folders}::text[]) folder, unnest(${['a', 'b/c']}::text[]) file`
    const list = async (body: object) => {
      const response = await server.request('POST', '/object/list/spellings', {
        body: { prefix: '', ...body },
      })
      return ((await response.json()) as { name: string }[]).map((entry) => entry.name)
    }
    for (const column of ['name', 'created_at']) {
      for (const order of ['asc', 'desc']) {
        const shown = await list({ sortBy: { column, order } })
        expect([...shown].sort()).toEqual([...folders].sort())
        const pages = [0, 5, 10].map((offset) => list({ sortBy: { column, order }, limit: 5, offset }))
        expect((await Promise.all(pages)).flat()).toEqual(shown)
      }
    }
    for (const prefix of folders) expect(await list({ prefix })).toEqual(['a', 'b'])
  })

  it('works through every endpoint, with its guard against plain deletes in place', async () => {
    await exercise(server)
    const { sql } = cluster.open(database)
    await expect(sql`delete from storage.objects`).rejects.toMatchObject({ code: '42501' })
  })
})

const USER = '6b8bd8f5-4a3c-4e36-9ff4-54b0a3c3f0aa'
const VERSION = 'f3b7a1f0-1d4d-4f7e-8a43-0f2a8c1f7f6a'

/** A schema such as Supabase's own (wire §7.1, §7.2, §7.4), as far as it meets ours. */
const SUPABASE = `
  create schema auth;
  create function auth.uid() returns uuid language sql stable as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid -- theirs
  $$;
  create schema storage;
  grant usage on schema auth, storage to anon, authenticated, service_role;
  create type storage.buckettype as enum ('STANDARD', 'ANALYTICS');
  create table storage.buckets (
    id text primary key, name text not null, owner uuid, created_at timestamptz default now(),
    updated_at timestamptz default now(), public boolean default false, avif_autodetection boolean default false,
    file_size_limit bigint, allowed_mime_types text[], owner_id text,
    type storage.buckettype not null default 'STANDARD'
  );
  create unique index bname on storage.buckets (name);
  create table storage.objects (
    id uuid primary key default gen_random_uuid(), bucket_id text references storage.buckets (id), name text,
    owner uuid, created_at timestamptz default now(), updated_at timestamptz default now(),
    last_accessed_at timestamptz default now(), metadata jsonb,
    path_tokens text[] generated always as (string_to_array(name, '/')) stored,
    version text, owner_id text, user_metadata jsonb
  );
  create unique index bucketid_objname on storage.objects (bucket_id, name);
  alter table storage.buckets enable row level security;
  alter table storage.objects enable row level security;
  grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
  create function storage.foldername(name text) returns text[] language sql immutable as $$
    select (string_to_array(name, '/'))[1:array_length(string_to_array(name, '/'), 1) - 1] -- theirs
  $$;
  create function storage.extension(name text) returns text language sql immutable as $$
    select split_part(name, '.', -1) -- theirs
  $$;
  create function storage.search(
    prefix text, bucketname text, limits integer default 100, levels integer default 1, offsets integer default 0,
    search text default '', sortcolumn text default 'name', sortorder text default 'asc'
  ) returns table (name text) language sql stable as $$ select 'theirs' $$;
  create function storage.update_updated_at_column() returns trigger language plpgsql as $$
    begin new.updated_at = now(); return new; end $$;
  create trigger update_objects_updated_at before update on storage.objects
    for each row execute function storage.update_updated_at_column();
  create function storage.protect_delete() returns trigger language plpgsql as $$
    begin
      if coalesce(current_setting('storage.allow_delete_query', true), '') <> 'true' then
        raise exception 'not with SQL' using errcode = '42501';
      end if;
      return null;
    end $$;
  create trigger protect_objects_delete before delete on storage.objects
    for each statement execute function storage.protect_delete();
  create trigger protect_buckets_delete before delete on storage.buckets
    for each statement execute function storage.protect_delete();
  create policy "own folder" on storage.objects for all to authenticated
    using (bucket_id = 'docs' and (storage.foldername(name))[1] = auth.uid()::text);
  insert into storage.buckets (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types) values
    ('avatars', 'avatars', '${USER}', '${USER}', true, 1000, '{image/*}'),
    ('docs', 'docs', null, null, null, null, null);
  insert into storage.objects (bucket_id, name, owner, owner_id, metadata, version) values
    ('avatars', 'u/a.png', '${USER}', '${USER}', '{"size": 3, "mimetype": "image/png"}', '${VERSION}');
`
