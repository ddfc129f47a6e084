import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { Lifecycle, type LifecycleOptions } from '../../src/jobs/lifecycle.ts'
import { CLEANUP_TURN } from '../../src/jobs/turns.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { isThere, pathOf } from '../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'

/** What rules of lifecycle policies do (docs/versions.md). Days pass by the job's clock. */

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})
afterEach(() => server.admin`delete from storage.lifecycle_policies`)

const NEVER = new AbortController().signal
const DAY_MS = 86_400_000
const inDays = (days: number) => () => new Date(Date.now() + days * DAY_MS)

const logs: Record<string, unknown>[] = []

/** A job to which so many days have passed. */
function newLifecycle(days: number, options: Partial<LifecycleOptions> = {}): Lifecycle {
  const backend = new InlineBackend(new LocalBackend({ root: server.dataDir, fsync: false }), server.database)
  const logger = pino({ level: 'info' }, { write: (line: string) => void logs.push(JSON.parse(line)) })
  return new Lifecycle({ database: server.database, backend, logger, now: inDays(days), ...options })
}

const pass = (days: number, options?: Partial<LifecycleOptions>) => newLifecycle(days, options).pass(NEVER)

type Init = Parameters<TestServer['request']>[2]

async function json(method: string, path: string, init?: Init): Promise<Record<string, unknown>> {
  const answer = await server.request(method, `/storage/v1${path}`, init)
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return text === '' ? {} : JSON.parse(text)
}

const policy = (rules: object[], more: object = {}) =>
  json('POST', '/lifecycle', { body: { name: 'p', bucket, rules, ...more } })

/** Uploads each text under that name. */
async function put(name: string, ...texts: string[]): Promise<void> {
  for (const body of texts.length > 0 ? texts : [name]) {
    await json('PUT', `/object/${bucket}/${name}`, { body, headers: { 'content-type': 'text/plain' } })
  }
}

const remove = (name: string) => json('DELETE', `/object/${bucket}/${name}`)

const names = async () => {
  const rows = await server.admin`
    select name from storage.objects where bucket_id = ${bucket} order by name`
  return rows.map(({ name }) => name)
}

/** What is not there any more, by name and then by age, as `<kind> <name> <number>`. */
const former = async () => {
  const rows = await server.admin`
    select kind, name, version_number as number from storage.object_versions
    where bucket_id = ${bucket} order by name, sequence`
  return rows.map(({ kind, name, number }) => `${kind} ${name} ${number}`)
}

/** What plain SQL must not change: history, as if it were older. */
const age = (name: string, days: number) =>
  server.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`
    await sql`
      update storage.object_versions
      set archived_at = archived_at - ${days} * interval '1 day', valid_from = valid_from - ${days} * interval '1 day'
      where bucket_id = ${bucket} and name = ${name}`
    await sql`
      update storage.objects
      set created_at = created_at - ${days} * interval '1 day', updated_at = updated_at - ${days} * interval '1 day'
      where bucket_id = ${bucket} and name = ${name}`
  })

const setBucket = (settings: Record<string, unknown>) =>
  server.admin`update storage.buckets set ${server.admin(settings)} where id = ${bucket}`

describe('objects', () => {
  it('go when they are old enough, with their bytes, and events tell why', async () => {
    for (const name of ['logs/old', 'logs/new', 'old']) await put(name)
    await age('logs/old', 8)
    await age('old', 8)
    const files = await server.admin`
      select version, bytes_bucket as uid from storage.objects where bucket_id = ${bucket} order by name`
    const paths = files.map(({ version, uid }) => pathOf(server, uid, version))
    await policy([{ action: 'delete', after_days: 7, filter: { prefix: 'logs/' } }])
    const lifecycle = newLifecycle(0)
    await lifecycle.pass(NEVER)
    expect(await names()).toEqual(['logs/new', 'old'])
    expect(await Promise.all(paths.map(isThere))).toEqual([true, false, true])
    expect(lifecycle.totals.get('delete')).toBe(1)
    const [event] = await server.admin`
      select name, operation from storage.events where bucket_id = ${bucket} and type = 'storage.object.deleted'`
    expect(event).toEqual({ name: 'logs/old', operation: 'storage.lifecycle' })
    expect(logs.at(-1)).toMatchObject({ actions: { delete: 1 }, failures: 0 })
  })

  it('go by all that a filter says, and by nothing less', async () => {
    await put('a', 'x'.repeat(10))
    await put('b', 'x'.repeat(11))
    await json('PUT', `/object/${bucket}/c`, {
      body: 'x'.repeat(10),
      headers: { 'content-type': 'image/png' },
    })
    await put('d', 'x'.repeat(10))
    await server.admin`
      update storage.objects set tags = '{tmp,kind=draft}' where bucket_id = ${bucket} and name <> 'd'`
    const filter = { tags: ['kind=draft', 'tmp'], content_type: 'text/*', min_size: 10, max_size: 10 }
    await policy([{ action: 'delete', after_days: 1, filter }])
    await pass(2)
    expect(await names()).toEqual(['b', 'c', 'd'])
  })

  it('count from when they were made, or last changed, as a rule says', async () => {
    await put('made', 'one')
    await put('changed', 'one')
    await age('made', 5)
    await age('changed', 5)
    await put('changed', 'two')
    await policy([{ action: 'delete', after_days: 5, based_on: 'updated_at' }])
    await pass(0)
    expect(await names()).toEqual(['changed'])
    await server.admin`delete from storage.lifecycle_policies`
    await policy([{ action: 'delete', after_days: 5 }])
    await pass(0)
    expect(await names()).toEqual([])
  })

  it('go from a day on, whatever their age', async () => {
    await put('a')
    const [made] = await server.admin`select (now() + interval '3 days')::date::text as day`
    await policy([{ action: 'delete', date: made?.day }])
    await pass(1)
    expect(await names()).toEqual(['a'])
    await pass(4)
    expect(await names()).toEqual([])
  })

  it('leave what their bucket keeps: in the trash, or as versions with a marker', async () => {
    await setBucket({ trash_days: 3 })
    await put('a', 'one')
    await policy([{ action: 'delete', after_days: 1 }])
    await pass(2)
    expect([await names(), await former()]).toEqual([[], ['trash a 1']])
    await setBucket({ trash_days: 0, versioning_status: 'ENABLED' })
    await put('b', 'one', 'two')
    await pass(2)
    expect([await names(), await former()]).toEqual([
      [],
      ['trash a 1', 'version b 1', 'version b 2', 'delete_marker b 3'],
    ])
  })

  it('stay while somebody changes them, and when they were changed after they were read', async () => {
    for (const name of ['a', 'b']) await put(name)
    await policy([{ action: 'delete', after_days: 1 }])
    await server.admin.begin(async (sql) => {
      await sql`update storage.objects set tags = '{kept}' where bucket_id = ${bucket} and name = 'a'`
      await pass(2)
      expect(await names()).toEqual(['a'])
    })
    const [read] = await server.admin`
      select name, version, updated_at::text as updated from storage.objects where bucket_id = ${bucket}`
    const expire = () => server.admin`
      select * from storage.expire_objects(${bucket}, array[${read?.name}], array[${read?.version}], array[${read?.updated}::timestamptz],
        ${`service_role${'\x1f'.repeat(8)}`})`
    await put('a', 'another')
    expect(await expire()).toEqual([])
    expect(await names()).toEqual(['a'])
  })
})

describe('what was there before', () => {
  beforeEach(() => setBucket({ versioning_status: 'ENABLED' }))

  it('goes by its age, but for so many of the newest', async () => {
    await put('a', '1', '2', '3', '4', '5')
    await put('b', '1', '2', '3')
    await age('b', 3)
    await policy([{ action: 'delete_old_versions', after_days: 30, keep_versions: 2 }])
    await pass(28)
    expect(await former()).toEqual([
      ...['version a 1', 'version a 2', 'version a 3', 'version a 4'],
      ...['version b 1', 'version b 2'],
    ])
    await pass(31, { batch: 3 })
    expect(await former()).toEqual(['version a 3', 'version a 4', 'version b 1', 'version b 2'])
    expect(await (await server.request('GET', `/storage/v1/object/${bucket}/a`)).text()).toBe('5')
  })

  it('stays while it is locked', async () => {
    await setBucket({ object_lock: true })
    await put('a', '1', '2', '3')
    await server.admin`
      insert into storage.object_locks (version, legal_hold)
      select version::uuid, true from storage.object_versions where bucket_id = ${bucket} and version_number = 1`
    await policy([{ action: 'delete_old_versions', after_days: 1 }])
    const lifecycle = newLifecycle(2)
    await lifecycle.pass(NEVER)
    expect(await former()).toEqual(['version a 1'])
    expect(lifecycle.locked).toBe(1)
    expect(logs.at(-1)).toMatchObject({ locked: 1, msg: 'the lifecycle has made a pass' })
    await server.admin`delete from storage.object_locks`
    await pass(2)
    expect(await former()).toEqual([])
  })

  it('is a marker that goes when nothing is behind it, and no other one', async () => {
    for (const name of ['gone', 'kept', 'back']) {
      await put(name, '1')
      await remove(name)
    }
    await put('back', '2')
    await server.admin`
      delete from storage.object_versions where bucket_id = ${bucket} and kind = 'version' and name in ('gone', 'back')`
    await policy([{ action: 'delete_markers', after_days: 0 }])
    const lifecycle = newLifecycle(1)
    await lifecycle.pass(NEVER)
    expect(await former()).toEqual(['delete_marker back 2', 'version kept 1', 'delete_marker kept 2'])
    expect(lifecycle.totals.get('delete_markers')).toBe(1)
    expect(await names()).toEqual(['back'])
  })

  it('goes as S3 has it: objects by days, then their versions, then the marker that is left', async () => {
    await put('a', '1')
    await policy([
      { id: 's3', action: 'delete', after_days: 2, based_on: 'updated_at' },
      { id: 's3', action: 'delete_old_versions', after_days: 1 },
    ])
    await age('a', 3)
    await pass(0)
    expect(await former()).toEqual(['version a 1', 'delete_marker a 2'])
    await age('a', 3)
    await pass(0)
    expect(await former()).toEqual(['delete_marker a 2'])
    await pass(0)
    expect(await former()).toEqual([])
  })

  it('is a marker among versions, which goes as they do, from when it was the latest no more', async () => {
    await put('a', '1')
    await remove('a')
    await age('a', 10)
    await put('a', '2')
    await policy([{ action: 'delete_old_versions', after_days: 5 }])
    await pass(0)
    expect(await former()).toEqual(['delete_marker a 2'])
    await pass(6)
    expect(await former()).toEqual([])
    expect(await names()).toEqual(['a'])
  })
})

it('the trash is purged, and nothing that is there', async () => {
  await setBucket({ trash_days: 30 })
  for (const name of ['a', 'b', 'c']) await put(name)
  await remove('a')
  await remove('b')
  await age('a', 4)
  await policy([{ action: 'purge_trash', after_days: 4 }])
  await pass(0)
  expect([await former(), await names()]).toEqual([['trash b 1'], ['c']])
})

it('the trash keeps what is locked, and the rest of it is purged', async () => {
  await setBucket({ trash_days: 30 })
  for (const name of ['free', 'held']) await put(name)
  for (const name of ['free', 'held']) await remove(name)
  await age('free', 4)
  await setBucket({ versioning_status: 'ENABLED', object_lock: true, retention_days: 3 })
  await policy([{ action: 'purge_trash', after_days: 0 }])
  const lifecycle = newLifecycle(1)
  await lifecycle.pass(NEVER)
  expect(await former()).toEqual(['trash held 1'])
  expect([lifecycle.totals.get('purge_trash'), lifecycle.locked]).toEqual([1, 1])
})

it('uploads that were begun too long ago end, resumable and in parts, and others go on', async () => {
  const tus = new TusRequests(server)
  const begin = async (name: string) => {
    const url = await tus.begin({ bucket, name }, 10)
    expect((await tus.patch(url, 0, 'hello')).status).toBe(204)
    return url
  }
  const old = await begin('tmp/old')
  const other = await begin('other')
  const young = await begin('tmp/young')
  const inParts = randomUUID()
  await server.admin`
    insert into storage.resumable_uploads (id, bucket_uid, bucket_id, name, owner_role, is_signed, in_parts, content, expires_at)
    select ${inParts}, uid, id, 'tmp/parts', 'service_role', false, true, '{}', now() + interval '9 days'
    from storage.buckets where id = ${bucket}`
  await server.admin`
    insert into storage.s3_multipart_uploads (id, upload, upload_signature, bucket_id, key, version)
    values (${inParts}, ${inParts}, '', ${bucket}, 'tmp/parts', ${inParts})`
  await server.admin`
    update storage.resumable_uploads set created_at = created_at - interval '3 days'
    where bucket_id = ${bucket} and name <> 'tmp/young'`
  const inHands = () => server.admin`select from strongroom.turns where name like 'upload %'`
  await until(async () => (await inHands()).length === 0, 'no request has an upload in its hands')
  await policy([{ action: 'abort_uploads', after_days: 3, filter: { prefix: 'tmp/' } }])
  const lifecycle = newLifecycle(0)
  await lifecycle.pass(NEVER)
  expect(lifecycle.totals.get('abort_uploads')).toBe(2)
  expect(
    [await tus.head(old), await tus.head(other), await tus.head(young)].map(({ status }) => status),
  ).toEqual([410, 200, 200])
  expect(await server.admin`select from storage.s3_multipart_uploads where id = ${inParts}`).toEqual([])
})

describe('rules', () => {
  it('are asked by the priority of their policies, of all buckets too, and one thing is done once', async () => {
    await put('a/1')
    await put('b/1')
    await json('POST', '/lifecycle', {
      body: {
        name: 'all',
        priority: 1,
        rules: [{ id: 'all', action: 'delete', after_days: 1, filter: { prefix: 'a/' } }],
      },
    })
    const own = await policy([{ id: 'own', action: 'delete', after_days: 1 }], { priority: 2 })
    const run = await json('POST', `/lifecycle/${own.id}/run?dry_run=true`)
    expect(run).toMatchObject({ actions: { delete: 0 }, complete: true })
    const lifecycle = newLifecycle(2)
    await lifecycle.pass(NEVER)
    expect(await names()).toEqual([])
    expect(lifecycle.totals.get('delete')).toBe(2)
  })

  it('do nothing while they, or their policy, are not enabled', async () => {
    await put('a')
    const made = await policy([{ action: 'delete', after_days: 0, enabled: false }])
    await pass(1)
    await json('PUT', `/lifecycle/${made.id}`, {
      body: { enabled: false, rules: [{ action: 'delete', after_days: 0 }] },
    })
    await pass(1)
    expect(await names()).toEqual(['a'])
  })

  it('are told what they would do, and do it when they are asked to', async () => {
    await setBucket({ versioning_status: 'ENABLED' })
    await put('a', '1', '2')
    await put('b')
    await age('a', 9)
    const made = await policy(
      [
        { id: 'o', action: 'delete', after_days: 9 },
        { id: 'v', action: 'delete_old_versions', after_days: 9 },
      ],
      { enabled: false },
    )
    const told = await json('POST', `/lifecycle/${made.id}/run?dry_run=true`)
    const nothing = { delete_markers: 0, purge_trash: 0, abort_uploads: 0 }
    expect(told).toEqual({
      dry_run: true,
      looked_at: 3,
      actions: { delete: 1, delete_old_versions: 1, ...nothing },
      failures: 0,
      complete: true,
      sample: [
        { action: 'delete', rule_id: 'o', bucket, path: 'a', version_id: expect.any(String) },
        { action: 'delete_old_versions', rule_id: 'v', bucket, path: 'a', version_id: expect.any(String) },
      ],
    })
    expect([await names(), await former()]).toEqual([['a', 'b'], ['version a 1']])
    const done = await json('POST', `/lifecycle/${made.id}/run`)
    expect(done).toMatchObject({ dry_run: false, actions: { delete: 1, delete_old_versions: 1, ...nothing } })
    expect([await names(), await former()]).toEqual([['b'], ['version a 2', 'delete_marker a 3']])
  })
})

describe('a pass', () => {
  const deletedEvents = async () => {
    const [row] = await server.admin`
      select count(*)::int as count from storage.events where bucket_id = ${bucket} and type = 'storage.object.deleted'`
    return row?.count
  }

  it('goes through all in batches, and stops for the cleanup in between', async () => {
    for (let number = 0; number < 7; number++) await put(`o${number}`)
    await policy([{ action: 'delete', after_days: 1 }])
    const lifecycle = newLifecycle(2, { batch: 2, most: 40 })
    // A batch counts as twenty things at least.
    expect(await lifecycle.pass(NEVER)).toBe(10_000)
    expect(await names()).toEqual(['o4', 'o5', 'o6'])
    await lifecycle.pass(NEVER)
    expect(await names()).toEqual([])
  })

  it('waits while another has the turn of the cleanup', async () => {
    await put('a')
    await policy([{ action: 'delete', after_days: 1 }])
    await server.database.exclusively(CLEANUP_TURN, async () => {
      expect(await pass(2)).toBe(60_000)
      expect(await names()).toEqual(['a'])
    })
    expect(await pass(2)).toBeGreaterThan(60_000)
    expect(await names()).toEqual([])
  })

  /** What a user's trigger does at the deletion of the fourth of seven. */
  const atFourth = async (statement: string, work: () => Promise<void>) => {
    for (let number = 1; number <= 7; number++) await put(`o${number}`)
    await policy([{ action: 'delete', after_days: 1 }])
    await server.admin.unsafe(`
      create function public.at_fourth() returns trigger language plpgsql security definer as $$
      begin
        if old.bucket_id = '${bucket}' and old.name = 'o4' then ${statement}; end if;
        return old;
      end $$;
      create trigger at_fourth before delete on storage.objects for each row execute function public.at_fourth()`)
    try {
      await work()
    } finally {
      await server.admin.unsafe('drop trigger at_fourth on storage.objects; drop function public.at_fourth()')
    }
  }

  it('that is killed has done whole batches, with their events, and the next one does the rest', async () => {
    await atFourth('perform pg_terminate_backend(pg_backend_pid())', async () => {
      await expect(pass(2, { batch: 3 })).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
    })
    expect([await names(), await deletedEvents()]).toEqual([['o4', 'o5', 'o6', 'o7'], 3])
    for (const name of await names()) {
      expect(await (await server.request('GET', `/storage/v1/object/${bucket}/${name}`)).text()).toBe(name)
    }
    await pass(2, { batch: 3 })
    expect([await names(), await deletedEvents()]).toEqual([[], 7])
    const left = await server.admin`
      select from storage.removals r join storage.buckets b on b.uid = r.bucket_uid where b.id = ${bucket}`
    expect(left).toEqual([])
  })

  it('passes over what a trigger keeps, and says so', async () => {
    await atFourth(`raise exception 'not this one'`, async () => {
      await pass(2, { batch: 3 })
    })
    expect(await names()).toEqual(['o4', 'o5', 'o6'])
    expect(logs.at(-1)).toMatchObject({ looked: 7, failures: 1, actions: { delete: 4 } })
    expect(logs.at(-2)).toMatchObject({ bucket, err: { message: expect.stringContaining('not this one') } })
  })

  it('does nothing any more by a policy that was deleted meanwhile', async () => {
    for (const name of ['a', 'b', 'c']) await put(name)
    const made = await policy([{ action: 'delete', after_days: 1 }])
    const lifecycle = newLifecycle(2, { batch: 1, most: 20 })
    await lifecycle.pass(NEVER)
    expect(await names()).toEqual(['b', 'c'])
    await json('DELETE', `/lifecycle/${made.id}`)
    await lifecycle.pass(NEVER)
    expect(await names()).toEqual(['b', 'c'])
  })
})
