import { randomUUID } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import type postgres from '#postgres'
import { BEFORE, definitionsScript, readDefinitions } from '../../../src/database/dump/definitions.ts'
import { openCluster } from '../../support/blank-database.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

async function newDatabase(): Promise<TestDatabase> {
  const made = await createTestDatabase()
  onTestFinished(() => made.drop())
  return made
}

/** What a caller's rights and users' rules are made of, as PostgreSQL has them. */
async function rulesOf(admin: postgres.Sql) {
  return {
    policies: await admin`
      select tablename, policyname, permissive, roles::text[], cmd, qual, with_check from pg_policies
      where schemaname = 'storage' order by 1, 2`,
    triggers: await admin`
      select pg_get_triggerdef(oid) as text, tgenabled from pg_trigger where not tgisinternal order by 1`,
    rights: await admin`
      select c.relname, a.grantee::regrole::text, a.privilege_type, a.is_grantable
      from pg_class c, aclexplode(c.relacl) a where c.oid in ('storage.objects'::regclass, 'storage.buckets'::regclass)
      order by 1, 2, 3`,
    functions: await admin`
      select pg_get_functiondef(p.oid) as text, p.proacl::text from pg_proc p
      where p.pronamespace = to_regnamespace('app') order by 1`,
  }
}

describe('what users have added to the schema storage', () => {
  it('is the same in a database where its script has run, once or twice', async () => {
    const role = `editor_${randomUUID().replaceAll('-', '')}`
    const cluster = openCluster()
    onTestFinished(async () => {
      await cluster.root.sql.unsafe(`drop role ${role}`) // once the databases are gone that know it
      await cluster.close()
    })
    const source = await newDatabase()
    await source.admin.unsafe(`
      create role ${role} nologin;
      grant ${role} to strongroom_server;
      create schema app;
      grant usage on schema app to anon, authenticated, service_role;
      create function app.inner_rule(a text) returns boolean language sql return a like 'x%';
      create function app.may_read(a text) returns boolean language sql stable return app.inner_rule(a);
      revoke all on function app.may_read(text) from public;
      grant execute on function app.may_read(text) to anon, ${role};
      create function app.stamp() returns trigger language plpgsql as $$ begin new.user_metadata := '{"it''s": 1}'; return new; end $$;
      create function app.unused() returns int language sql return 1;
      create policy "it's; a ""rule""" on storage.objects as restrictive for select to anon, ${role} using (app.may_read(name));
      create policy uploads on storage.objects for insert to authenticated with check (bucket_id = 'a' and auth.uid() is not null);
      create trigger stamp before insert on storage.objects for each row execute function app.stamp();
      alter table storage.objects disable trigger stamp;
      drop policy "strongroom: anyone reads public buckets" on storage.objects;
      revoke insert, delete on storage.objects from anon;
      grant select on storage.objects to ${role};
      create table app.things (id int primary key, kind text);
      create index things_of_users on storage.objects (owner_id);
    `)
    const definitions = await readDefinitions(source.database.sql)
    expect(definitions.left).toEqual([
      'function app.unused()',
      'index storage.things_of_users',
      'table app.things',
    ])
    const script = definitionsScript(definitions)
    expect(script).toContain('-- Not in here: table app.things\n')

    const target = await newDatabase()
    for (let round = 0; round < 2; round++) {
      await target.admin.unsafe(script).simple()
      const [came, went] = [await rulesOf(target.admin), await rulesOf(source.admin)]
      expect({ ...came, functions: null }).toEqual({ ...went, functions: null })
      expect(came.functions).toEqual(went.functions.filter(({ text }) => !text.includes('unused')))
    }
  })

  it('is nothing in a new database, but for rights that are as they are', async () => {
    const fresh = await newDatabase()
    const before = await rulesOf(fresh.admin)
    const { statements, left } = await readDefinitions(fresh.database.sql)
    expect(left).toEqual([])
    expect(statements.filter(({ what }) => !/^(?:rights of|role) /.test(what))).toEqual([])
    await fresh.admin.unsafe([BEFORE, ...statements.map(({ sql }) => `${sql};`)].join('\n')).simple()
    expect(await rulesOf(fresh.admin)).toEqual(before)
  })

  it('says which tables of theirs it needs', async () => {
    const source = await newDatabase()
    await source.admin.unsafe(`
      create table public.members (id text);
      create policy members on storage.objects using (exists (select from public.members m where m.id = owner_id))`)
    const { statements, left } = await readDefinitions(source.database.sql)
    expect(statements.find(({ what }) => what === 'policy members on storage.objects')?.needs).toEqual([
      'public.members',
    ])
    expect(left).toEqual(['table public.members'])
  })
})
