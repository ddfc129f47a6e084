import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { orderEvents } from '../../src/database/queries/events.ts'
import { type EventReader, openEvents } from '../support/event-stream.ts'
import { type Served, startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

let server: TestServer
let other: Served
let bucket: string
const readers: EventReader[] = []

beforeAll(async () => {
  server = await startTestServer()
  other = await server.beside()
})
afterAll(async () => {
  await other.close()
  await server.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close()
})

async function open(at: Served = server, lastEventId?: number) {
  const options = { token: server.keys.serviceKey, query: `?bucket=${bucket}` }
  const reader = await openEvents(at, { ...options, ...(lastEventId !== undefined && { lastEventId }) })
  readers.push(reader)
  return reader
}

const put = (name: string, at: Served = server) =>
  at.request('PUT', `/object/${bucket}/${name}`, { token: server.keys.serviceKey, body: name })

/** A transaction that is left open until it is told to go on. */
async function transaction(first: string) {
  const sql = await server.admin.reserve()
  await sql.unsafe(`begin; ${first}`)
  return {
    run: (text: string) => sql.unsafe(text),
    end: async (text = 'commit') => {
      await sql.unsafe(text)
      sql.release()
    },
  }
}
const insert = (name: string) =>
  `insert into storage.objects (bucket_id, name) values ('${bucket}', '${name}')`
const setVersion = (version: string) =>
  `update storage.objects set version = '${version}' where bucket_id = '${bucket}'`

describe('the order of events', () => {
  it('waits for no transaction, and leaves out none that commits late', async () => {
    const reader = await open()
    const late = await transaction(insert('late.txt'))
    try {
      await put('early.txt')
      expect(await reader.hears(1)).toEqual(['object.created early.txt'])
    } finally {
      await late.end()
      await orderEvents(server.database) // plain SQL tells nobody
    }
    expect(await reader.hears(2)).toEqual(['object.created early.txt', 'object.created late.txt'])
  })

  it('is that of the changes for one object, whatever numbers their transactions have', async () => {
    await put('a')
    const reader = await open()
    // The later change belongs to the older transaction, with one between them that goes on.
    const older = await transaction('select pg_current_xact_id()')
    const between = await transaction('select pg_current_xact_id()')
    try {
      await put('a')
      await older.run(setVersion('second'))
      await older.end()
      await orderEvents(server.database)
      await reader.hears(2)
    } finally {
      await between.end('rollback')
    }
    expect(reader.events().map((event) => event.version)).toEqual([expect.stringMatching(/-/), 'second'])
  })

  it('is the same for all readers of all servers, and nothing comes twice', async () => {
    const [here, there] = [await open(server), await open(other)]
    const names = Array.from({ length: 40 }, (_, index) => `${index % 10}`)
    await Promise.all(names.map((name, index) => put(name, index % 2 ? server : other)))
    await here.hears(names.length)
    await there.hears(names.length)
    expect(there.events()).toEqual(here.events())
    expect(new Set(here.events().map((event) => event.id)).size).toBe(names.length)
    // The last event of each object is the object as it is.
    const rows = await server.admin<{ name: string; version: string }[]>`
      select name, version from storage.objects where bucket_id = ${bucket}`
    const last = new Map(here.events().map((event) => [event.path, event.version]))
    expect(last).toEqual(new Map(rows.map((row) => [row.name, row.version])))
  })

  it('has no gaps', async () => {
    await orderEvents(server.database)
    const [before] = await server.admin`select max(position)::int as position from storage.event_order`
    await Promise.all(['a', 'b', 'c'].map((name) => put(name)))
    await put('d')
    const refused = await server.request('POST', `/object/${bucket}/a`, { body: 'again' })
    expect(refused.status).toBe(409)
    await orderEvents(server.database)
    const rows = await server.admin<{ position: number }[]>`
      select position::int from storage.event_order where position > ${before?.position} order by position`
    expect(rows.map((row) => row.position - before?.position)).toEqual([1, 2, 3, 4])
  })

  it('goes on in a database that came from another cluster, with other transaction numbers', async () => {
    const reader = await open()
    await put('before.txt')
    await reader.hears(1)
    const far = '9000000000000000'
    await server.admin.begin(async (sql) => {
      await sql`update storage.events set transaction = ${far}::xid8`
      await sql`update storage.event_order set seen = ${`${far}:${far}:`}::pg_snapshot
        where position = (select max(position) from storage.event_order)`
      // Not yet ordered when it was dumped.
      await sql`insert into storage.objects (bucket_id, name) values (${bucket}, 'pending.txt')`
      await sql`update storage.events set transaction = '8000000000000000' where name = 'pending.txt'`
    })
    await put('after.txt')
    const created = ['before.txt', 'pending.txt', 'after.txt'].map((name) => `object.created ${name}`)
    expect(await reader.hears(3)).toEqual(created)
  })
})

it('no upload waits for it', async () => {
  const reader = await open()
  const holder = await transaction('lock table strongroom.ordering')
  try {
    const stored = await Promise.all(['a', 'b', 'c'].map((name) => put(name)))
    expect(stored.map((response) => response.status)).toEqual([201, 201, 201])
    expect(reader.heard()).toEqual([])
  } finally {
    await holder.end()
  }
  expect(await reader.hears(3)).toHaveLength(3)
})

it('is followed even when the connection that listens is lost', async () => {
  const reader = await open(other)
  await put('one.txt')
  await reader.hears(1)
  await server.admin`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and query ilike 'listen%'`
  await put('two.txt')
  expect(await reader.hears(2)).toEqual(['object.created one.txt', 'object.created two.txt'])
})

it('a truncation deletes every object', async () => {
  await put('a')
  await put('b')
  const reader = await open()
  await server.admin`truncate storage.objects`
  await until(() => reader.events().length === 2, 'both are heard of')
  expect(reader.heard().toSorted()).toEqual(['object.deleted a', 'object.deleted b'])
})

it('a statement that deletes many leaves one event for each, in its order, and none for what a trigger keeps', async () => {
  await server.admin`
    insert into storage.objects (bucket_id, name, version)
    select ${bucket}, 'many/' || i, i from generate_series(1, 100) i`
  await server.admin.unsafe(`
    create function public.keeps_seven() returns trigger language plpgsql as
      $$ begin return case when old.name <> 'many/7' then old end; end $$;
    create trigger keeps_seven before delete on storage.objects for each row execute function public.keeps_seven()`)
  const gone = await server.admin<{ name: string }[]>`
    with gone as (delete from storage.objects where bucket_id = ${bucket} returning name) select name from gone`
  await server.admin`drop function public.keeps_seven() cascade`
  const events = await server.admin<{ name: string; version: string; policy: string }[]>`
    select name, version, bucket_policy as policy from storage.events
    where bucket_id = ${bucket} and type = 'storage.object.deleted' order by id`
  expect(gone).toHaveLength(99)
  expect(gone).not.toContainEqual({ name: 'many/7' })
  expect(events).toEqual(gone.map(({ name }) => ({ name, version: name.slice(5), policy: 'private' })))
})

it('what goes with another row is deleted too: by a reference, and by a trigger', async () => {
  await server.admin.unsafe(`
    insert into storage.objects (bucket_id, name) values ('${bucket}', 'by reference'), ('${bucket}', 'by trigger'), ('${bucket}', 'first');
    create table public.users (id int primary key);
    alter table storage.objects add column of_user int references public.users on delete cascade;
    insert into public.users values (1);
    update storage.objects set of_user = 1 where name = 'by reference';
    create function public.deletes_another() returns trigger language plpgsql as $$ begin
      delete from storage.objects where bucket_id = old.bucket_id and name = 'by trigger';
      return null;
    end $$;
    create trigger deletes_another after delete on storage.objects for each row
      when (old.name = 'first') execute function public.deletes_another()`)
  await server.admin`delete from public.users`
  await server.admin`delete from storage.objects where bucket_id = ${bucket} and name = 'first'`
  await server.admin.unsafe(`
    drop function public.deletes_another() cascade; alter table storage.objects drop column of_user;
    drop table public.users`)
  const events = await server.admin<{ name: string }[]>`
    select name from storage.events where bucket_id = ${bucket} and type = 'storage.object.deleted'`
  expect(events.map(({ name }) => name).toSorted()).toEqual(['by reference', 'by trigger', 'first'])
})
