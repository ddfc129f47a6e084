import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callerContext } from '../../src/database/as-caller.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { withPolicies } from '../support/policies.ts'

/*
 * Policies are asked about many former versions at once (drizzle/functions/version-sight.sql), where they can be: then they say of
 * each what they would say if it were put back and asked by itself.
 */

const ANN = randomUUID()
const BOB = randomUUID()
const bucket = `b-${randomUUID()}`

let made: TestDatabase
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  await made.admin.unsafe(`
    create schema app;
    grant usage on schema app to anon, authenticated;
    create table app.members (id text, folder text, until timestamptz);
    alter table app.members enable row level security;
    create policy own on app.members using (id = auth.jwt() ->> 'sub');
    insert into app.members values ('${ANN}', 'shared', null), ('${BOB}', 'other', null);
    create table app.names (name text, owner_id text);
    create view app.seen as select * from app.names;
    create schema hidden;
    create table hidden.members as select * from app.members;
    grant select on app.members, app.names, app.seen, hidden.members to anon, authenticated;
    create type app.kind as enum ('text/plain', 'image/png');
    create function app.owns(object text) returns boolean language sql stable security definer as
      $$ select exists (select from storage.objects o where o.name = object and o.owner_id = auth.jwt() ->> 'sub') $$;
    grant execute on function app.owns(text) to anon, authenticated;
    insert into storage.buckets (id, name, versioning_status) values ('${bucket}', '${bucket}', 'ENABLED')`)
  // Each name has had both for owners, in folders of both, with two types, and is deleted now, or another's.
  for (const [name, owners, isDeleted] of [
    ['shared/a', [ANN, BOB], false],
    ['shared/b', [BOB, ANN], false],
    ['shared/c', [BOB, ANN], true],
    ['other/a', [ANN, BOB, ANN], true],
    [`${ANN}/a`, [ANN, BOB], false],
    [`${BOB}/a`, [ANN], true],
    ['deep/er/a.png', [BOB, ANN, BOB, ANN], false],
  ] as const) {
    for (const [i, owner] of owners.entries()) {
      await made.admin`
        insert into storage.objects as o (bucket_id, name, version, owner_id, metadata, tags)
        values (${bucket}, ${name}, ${randomUUID()}, ${owner}, ${JSON.stringify({ mimetype: ['text/plain', 'image/png'][i % 2], size: i })}::jsonb,
          ${[`n=${i}`]})
        on conflict (bucket_id, name) do update set version = excluded.version, owner_id = excluded.owner_id,
          metadata = excluded.metadata, tags = excluded.tags`
    }
    if (isDeleted)
      await made.admin`delete from storage.objects where bucket_id = ${bucket} and name = ${name}`
  }
})
afterAll(() => made.drop())

function contextOf(role: string, subject: string | null): string {
  return callerContext({
    role,
    subject,
    claims: { sub: subject, role },
    token: '',
    operation: 'storage.object.list_versions',
    method: 'POST',
    path: '/',
    headers: {},
    userBuckets: false,
  })
}

/** What is said of each row of the bucket, at once, or null, and one by one; both in one transaction, which is taken back. */
async function answers(context: string, command: 'r' | 'd') {
  let found = { atOnce: null as boolean[] | null, alone: [] as boolean[] }
  await made.admin
    .begin(async (tx) => {
      await tx`set local role service_role`
      const [together] = await tx<{ answers: boolean[] | null }[]>`
        select storage.hold_at_once(
          (select array_agg(storage.judged(storage.as_object(v), v.is_delete_marker) order by v.sequence)
            from storage.object_versions v), false,
          storage.condition_of(storage.role_of(${context}), ${command}::"char"), ${context}) as answers`
      const alone: boolean[] = []
      for (const { sequence } of await tx`select sequence from storage.object_versions order by sequence`) {
        const [row] = await tx<{ answer: boolean }[]>`
          select storage.may_have(storage.judged(storage.as_object(v), v.is_delete_marker),
            ${command === 'r' ? 'see' : 'delete'}, ${context}) as answer
          from storage.object_versions v where v.sequence = ${sequence}`
        alone.push(row?.answer === true)
      }
      found = { atOnce: together?.answers ?? null, alone }
      throw new Error('taken back')
    })
    .catch((error: Error) => {
      if (error.message !== 'taken back') throw error
    })
  return found
}

const callers = [
  ['Ann', contextOf('authenticated', ANN)],
  ['Bob', contextOf('authenticated', BOB)],
  ['the anonymous key', contextOf('anon', null)],
] as const

describe.each([
  ['no policy', 'select'],
  ['the owner', `create policy p on storage.objects using (owner_id = auth.jwt() ->> 'sub')`],
  ['a folder', `create policy p on storage.objects using ((storage.foldername(name))[1] = auth.uid()::text)`],
  ['a type', `create policy p on storage.objects using (metadata ->> 'mimetype' = 'image/png')`],
  [
    'an enumerated type',
    `create policy p on storage.objects using ((metadata ->> 'mimetype')::app.kind = 'image/png')`,
  ],
  ['tags', `create policy p on storage.objects using (tags @> '{n=0}')`],
  ['a time', `create policy p on storage.objects using (created_at < now() - interval '1 day')`],
  ['what may be null', `create policy p on storage.objects using (user_metadata ->> 'x' = 'y')`],
  ['another role', `create policy p on storage.objects to service_role using (true)`],
  [
    'one of several',
    `create policy p on storage.objects for select to authenticated using (name like 'shared/%');
     create policy q on storage.objects to anon using (name like 'other/%');
     create policy r on storage.objects for delete using (owner_id = auth.jwt() ->> 'sub')`,
  ],
  [
    'a restriction',
    `create policy p on storage.objects using (true);
     create policy q on storage.objects as restrictive to authenticated using (owner_id = auth.jwt() ->> 'sub')`,
  ],
  [
    'a table with policies of its own',
    `create policy p on storage.objects using (exists (
       select from app.members m where m.folder = (storage.foldername(objects.name))[1]))`,
  ],
])('policies by %s', (_, sql) => {
  it.each(callers)('say the same of many and of each, to %s', async (_, context) => {
    await withPolicies(made.admin, sql, async () => {
      for (const command of ['r', 'd'] as const) {
        const { atOnce, alone } = await answers(context, command)
        // Who may not see it may not delete it: that is asked before.
        const seen = (await answers(context, 'r')).atOnce
        expect(atOnce?.map((answer, i) => answer && seen?.[i])).toEqual(alone)
      }
    })
  })
})

describe.each([
  ['a function', `create policy p on storage.objects using (app.owns(name))`],
  [
    'a view',
    `create policy p on storage.objects using (exists (select from app.seen s where s.name = objects.name))`,
  ],
  ['a column that is computed', `create policy p on storage.objects using (folded_name = 'shared/a')`],
  [
    'the row as a whole',
    `create policy p on storage.objects using (to_jsonb(objects) ->> 'folded_name' = 'shared/a')`,
  ],
  [
    'a schema of others',
    `create policy p on storage.objects using (exists (select from hidden.members m where m.folder = name))`,
  ],
  [
    'a table that a trigger writes',
    `create policy p on storage.objects using (exists (
       select from app.names n where n.name = objects.name and n.owner_id = auth.jwt() ->> 'sub'));
     create or replace function app.note() returns trigger language plpgsql security definer as $$ begin
       delete from app.names where name = new.name;
       insert into app.names values (new.name, new.owner_id);
       return new;
     end $$;
     create or replace trigger note after insert or update on storage.objects for each row execute function app.note()`,
  ],
])('policies by %s', (_, sql) => {
  afterAll(() => made.admin`drop trigger if exists note on storage.objects`)

  it.each(callers)('are asked about each by itself, for %s', async (_, context) => {
    await withPolicies(made.admin, sql, async () => {
      expect((await answers(context, 'r')).atOnce).toBeNull()
    })
  })
})

it('the service is not asked', async () => {
  const [row] = await made.admin`select storage.condition_of('service_role', 'r') as condition`
  expect(row?.condition).toBeNull()
})
