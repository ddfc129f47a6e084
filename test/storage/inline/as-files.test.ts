import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it, type ProvidedContext } from 'vitest'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { openEmbedded } from '../../../src/database/opening/connect.ts'
import { DEBIAN_POSTGRES, hasDebianPostgres } from '../../support/debian-postgres.ts'
import { dropPolicies } from '../../support/policies.ts'
import { IN_FILES, type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { startTrustingPostgres } from '../../support/trusting-postgres.ts'

/*
 * What users have made of their database answers for small bytes in it as for files: the one call that stores them does to
 * the rows, and says, what the transaction of several statements does.
 */

const USER = '4f9c1d7e-0000-4000-8000-000000000002'

let server: TestServer
let inFiles: Served
let close: () => Promise<void>

/** @param postgres another than the run's own */
async function open(postgres?: ProvidedContext['postgres']): Promise<void> {
  server = await startTestServer({}, postgres && { postgres })
  inFiles = await server.beside(IN_FILES)
  close = async () => {
    await inFiles.close()
    await server.close()
  }
}

/** Before 18, what waits for a transaction's end is run as whoever the transaction is at its end. */
async function openOn15(): Promise<void> {
  const { host, port, superuser, stop } = await startTrustingPostgres(15)
  const template = 'template_of_tests'
  const root = openDatabase({ host, port, database: 'postgres', username: superuser }, { connections: 1 })
  await root.sql`create database ${root.sql(template)}`
  await root.close()
  const logger = pino({ level: 'silent' })
  await (
    await openEmbedded({ host, port, database: template }, superuser, { connections: 1 }, logger)
  ).close()
  await open({ host, port, superuser, template })
  const closeServers = close
  close = async () => {
    await closeServers()
    await stop()
  }
}

/** A rule of a user's: what is run before the requests, about `BUCKET`. `public.notes` has what it notes. */
interface Rule {
  sql: string
  /** Whether the built-in policies of a bucket for all who are signed in hold beside it. */
  isBeside?: boolean
}

const ALL = 'to authenticated using (bucket_id = $B$BUCKET$B$)'

/** A function as a trigger. */
const trigger = (when: string, body: string, { each = 'row', kind = '', after = '' } = {}): Rule => ({
  sql: `
    create function public.rule() returns trigger language plpgsql as $$ begin
      if tg_level = 'ROW' then if new.bucket_id <> 'BUCKET' then return new; end if; end if; ${body}; end $$;
    create ${kind} trigger users_rule ${when} on storage.objects ${after} for each ${each} execute function public.rule()`,
})

const deferred = (body: string) =>
  trigger('after insert or update', body, { kind: 'constraint', after: 'deferrable initially deferred' })

/** Policies that say this of a row. */
const policies = (check: string, more = ''): Rule => ({
  isBeside: false,
  sql: `
    ${more};
    create policy "in" on storage.objects for insert to authenticated with check (bucket_id = 'BUCKET' and (${check}));
    create policy "over" on storage.objects for update ${ALL} with check (bucket_id = 'BUCKET' and (${check}));
    create policy "seen" on storage.objects for select ${ALL};
    create policy "away" on storage.objects for delete ${ALL}`,
})

const NOTE = `insert into public.notes (note) values (concat_ws(' ', current_user, session_user, auth.uid(), auth.role(),
  storage.operation(), current_setting('request.method', true), current_setting('search_path')))`

const RULES: [string, Rule][] = [
  ['no rule', { sql: 'select' }],
  ...(['insert', 'update', 'insert or update'] as const).flatMap((event): [string, Rule][] => [
    [`a trigger that raises before ${event}`, trigger(`before ${event}`, `raise 'not today'`)],
    [`a trigger that raises after ${event}`, trigger(`after ${event}`, `raise 'not today'`)],
    [`a trigger that leaves rows out before ${event}`, trigger(`before ${event}`, 'return null')],
  ]),
  ...['42501', '23505', '23503', '40001', '57014', 'SR001', 'SR003', 'SR004', 'PT200', 'PT418'].map(
    (state): [string, Rule] => [
      `a trigger that raises ${state}`,
      trigger('before insert or update', `raise 'because' using errcode = '${state}'`),
    ],
  ),
  ...[
    `name := new.name || '-renamed'`,
    `bucket_id := 'BUCKET-2'`,
    `owner := null; new.owner_id := 'somebody'`,
    'owner := null; new.owner_id := null',
    `metadata := new.metadata || '{"mimetype": "image/png", "cacheControl": "max-age=1"}'`,
    `metadata := new.metadata || '{"size": 3}'`,
    `metadata := new.metadata || '{"size": "many"}'`,
    'metadata := null',
    `user_metadata := '{"by": "a trigger"}'`,
    `tags := '{a,b}'`,
    `checksum := repeat('0', 64)`,
    'checksum := null',
    `created_at := 'infinity'`,
    `updated_at := '2001-01-01'`,
    'version := gen_random_uuid()::text',
    `version := 'his own'`,
    'version := null',
    'id := gen_random_uuid()',
  ].map((change): [string, Rule] => [
    `a trigger that sets ${change}`,
    trigger('before insert or update', `new.${change}; return new`),
  ]),
  ['a trigger that waits and raises', deferred(`raise '% %', current_user, auth.uid()`)],
  ['a trigger that waits and notes who it is', deferred(`${NOTE}; return null`)],
  [
    'a trigger of deletes that waits and notes who it is',
    {
      sql: `
        create function public.rule() returns trigger language plpgsql as $$ begin ${NOTE}; return null; end $$;
        create constraint trigger users_rule after delete on storage.objects deferrable initially deferred for each row
          execute function public.rule()`,
    },
  ],
  ['a trigger that notes who it is', trigger('before insert or update', `${NOTE}; return new`)],
  [
    'a trigger for each statement',
    trigger('before insert or update', `${NOTE}; return null`, { each: 'statement' }),
  ],
  [
    'a trigger that raises for each statement',
    trigger('after insert or update', `raise 'not today'`, { each: 'statement' }),
  ],
  [
    'a trigger that makes another row',
    trigger(
      'after insert or update',
      `if new.name not like '%.log' then insert into storage.objects (bucket_id, name) values (new.bucket_id, new.name || '.log')
         on conflict do nothing; end if; return null`,
    ),
  ],
  [
    'a trigger that deletes the others',
    trigger(
      'after insert or update',
      'delete from storage.objects where bucket_id = new.bucket_id and name <> new.name; return null',
    ),
  ],
  [
    'a trigger that deletes the row itself',
    trigger('after insert or update', 'delete from storage.objects where id = new.id; return null'),
  ],
  ['a policy about the length', policies(`(metadata ->> 'size')::int < 8`)],
  ['a policy about the type', policies(`metadata ->> 'mimetype' = 'text/plain'`)],
  ['a policy about the version', policies('version is not null')],
  ['a policy about the owner', policies(`owner_id = (select auth.uid()::text) and owner = auth.uid()`)],
  ['a policy about the user’s metadata', policies(`user_metadata ->> 'project' = 'x'`)],
  ['a policy about the operation', policies(`storage.operation() in ('storage.object.upload')`)],
  ['a policy about the request', policies(`current_setting('request.method') = 'POST'`)],
  [
    'a policy about another table',
    policies(
      'exists (select from public.members m where m.uid = auth.uid() and objects.name like m.prefix)',
      `create table public.members as select '${USER}'::uuid as uid, 'a%' as prefix; grant select on public.members to authenticated`,
    ),
  ],
  [
    'a policy about a table that it may not read',
    policies(
      'exists (select from public.members)',
      'create table public.members (); revoke all on public.members from authenticated',
    ),
  ],
  ['a policy about all other objects', policies('(select count(*) from storage.buckets) >= 0')],
  ['a policy about the objects themselves', policies('(select count(*) from storage.objects) >= 0')],
  [
    'a policy that raises',
    policies(
      'public.rule()',
      `create function public.rule() returns boolean language plpgsql as $$ begin raise 'of no use'; end $$`,
    ),
  ],
  ['a policy that divides by zero', policies(`1 / (length(name) - length(name)) = 1`)],
  ['a policy that takes its time', policies('pg_sleep(0.02) is not null')],
  [
    'a policy that writes, with a trigger that waits',
    policies(
      'public.rule()',
      `create function public.rule() returns boolean language plpgsql as $$ begin insert into public.notes (note) values ('asked');
         return true; end $$;
       create function public.noted() returns trigger language plpgsql as $$ begin ${NOTE}; return null; end $$;
       create constraint trigger noted after insert on public.notes deferrable initially deferred for each row
         when (new.note = 'asked') execute function public.noted()`,
    ),
  ],
  [
    'a policy of reads that writes, with a trigger that waits',
    {
      isBeside: false,
      sql: `
        create function public.rule() returns boolean language plpgsql as $$ begin insert into public.notes (note) values ('asked');
          return true; end $$;
        create function public.noted() returns trigger language plpgsql as $$ begin ${NOTE}; return null; end $$;
        create constraint trigger noted after insert on public.notes deferrable initially deferred for each row
          when (new.note = 'asked') execute function public.noted();
        create policy "in" on storage.objects for insert to authenticated with check (bucket_id = 'BUCKET');
        create policy "seen" on storage.objects for select to authenticated using (bucket_id = 'BUCKET' and public.rule())`,
    },
  ],
  [
    'a policy to insert alone',
    {
      isBeside: false,
      sql: `create policy "in" on storage.objects for insert to authenticated with check (bucket_id = 'BUCKET')`,
    },
  ],
  [
    'a policy that forbids to replace',
    {
      sql: `create policy "never" on storage.objects as restrictive for update to authenticated using (false)`,
    },
  ],
  ['no policy', { isBeside: false, sql: 'select' }],
  [
    'a unique index of his own',
    { sql: 'create unique index users_rule on storage.objects (bucket_id, (metadata ->> $$size$$))' },
  ],
  [
    'a constraint of his own',
    {
      sql: `alter table storage.objects add constraint users_rule check (name not like 'b%' or bucket_id not like 'b-%')`,
    },
  ],
]

/** Takes away what a rule has made. */
async function clear(): Promise<void> {
  await dropPolicies(server.admin)
  await server.admin.unsafe(`
    drop table if exists public.notes cascade; drop table if exists public.members cascade;
    drop function if exists public.rule cascade; drop function if exists public.noted cascade;
    drop index if exists storage.users_rule; alter table storage.objects drop constraint if exists users_rule;
    set storage.allow_delete_query = 'true'; delete from storage.objects; delete from storage.buckets`)
}

/** What differs by chance, or by what is compared. */
function plain(text: string, bucket: string): string {
  return text
    .replaceAll(bucket, 'BUCKET')
    .replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, (uuid) => (uuid === USER ? uuid : 'UUID'))
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (time) => (/^(?:1970|2001)/.test(time) ? time : 'NOW'))
}

async function answers(by: Served, bucket: string): Promise<string[]> {
  const token = await by.token(USER)
  const said: string[] = []
  const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const init = { token, headers, ...(body === undefined ? {} : { body: body as string }) }
    const response = await by.request(method, `/storage/v1/object/${path}`, init)
    said.push(plain(`${method} ${path} ${response.status} ${await response.text()}`, bucket))
  }
  const text = { 'content-type': 'text/plain' }
  const over = { ...text, 'x-upsert': 'true' }
  const form = () => {
    const data = new FormData()
    data.append('metadata', '{"project":"x"}')
    data.append('', new Blob(['formed'], { type: 'text/plain' }), 'f.txt')
    return data
  }
  await send('POST', `${bucket}/a`, 'first', text)
  await send('POST', `${bucket}/a`, 'second', text)
  await send('POST', `${bucket}/a`, 'over', over)
  await send('PUT', `${bucket}/a`, 'put', text)
  await send('PUT', `${bucket}/b`, 'another', text)
  await send('POST', `${bucket}/c`, 'more than a few', { ...over, 'content-type': 'image/png' })
  await send('POST', `${bucket}/d`, 'new', { ...text, 'if-none-match': '*' })
  await send('POST', `${bucket}/a`, 'judged', { ...over, 'if-none-match': '*' })
  await send('POST', `${bucket}/aform`, form())
  await send('POST', `${bucket}/empty`, '', over)
  for (const name of ['a', 'b', 'c', 'd', 'aform', 'empty', 'a-renamed', 'a.log'])
    await send('GET', `${bucket}/${name}`)
  await send('POST', 'copy', { bucketId: bucket, sourceKey: 'a', destinationKey: 'e' })
  await send('POST', 'move', { bucketId: bucket, sourceKey: 'e', destinationKey: 'g' })
  await send('GET', `${bucket}/g`)
  await send('DELETE', `${bucket}/a`)
  return said
}

async function outcome(by: Served, { sql, isBeside = true }: Rule) {
  const bucket = `b-${randomUUID()}`
  const policy = isBeside ? 'authenticated' : 'private'
  for (const name of [bucket, `${bucket}-2`]) await server.createBucket(name, { policy })
  try {
    await server.admin.unsafe(`
      create table public.notes (number serial, note text); grant all on public.notes to public;
      grant all on sequence public.notes_number_seq to public; ${sql.replaceAll('BUCKET', bucket)}`)
    const said = await answers(by, bucket)
    const rows = await server.admin`
      select bucket_id, name, owner, owner_id, metadata - 'lastModified' as metadata, user_metadata, checksum, tags,
        version is not null as has_version, created_at = 'infinity' as is_created_never,
        updated_at = '2001-01-01' as is_of_2001, quarantine_reason
      from storage.objects where bucket_id like ${`${bucket}%`} order by bucket_id collate "C", name collate "C"`
    const events = await server.admin`
      select type, name, operation, size, content_type, owner_id from storage.events where bucket_id like ${`${bucket}%`} order by id`
    const notes = await server.admin`select note from public.notes order by number`
    return JSON.parse(plain(JSON.stringify({ said, rows, events, notes }), bucket))
  } finally {
    await clear()
  }
}

describe('small bytes in the database, and files, beside', () => {
  beforeAll(() => open())
  afterAll(() => close())
  it.each(RULES)('%s: the same', async (_, rule) => {
    const asFiles = await outcome(inFiles, rule)
    expect(await outcome(server, rule)).toEqual(asFiles)
  })
})

describe.skipIf(!hasDebianPostgres)(`the same with PostgreSQL 15 (of ${DEBIAN_POSTGRES})`, () => {
  beforeAll(openOn15)
  afterAll(() => close())
  it.each(RULES.filter(([name]) => name.includes('waits')))('%s: the same', async (_, rule) => {
    const asFiles = await outcome(inFiles, rule)
    expect(JSON.stringify(asFiles.notes)).not.toContain('service_role')
    expect(await outcome(server, rule)).toEqual(asFiles)
  })
})
