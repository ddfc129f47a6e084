import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { callerContext } from '../../src/database/as-caller.ts'
import { type Database, openDatabase } from '../../src/database/connection/client.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { until } from '../support/wait.ts'

/*
 * What a name has when several sessions change it at the same moment: no number twice, no two versions at one time, and nobody who
 * waits for somebody who waits for him.
 */

type Session = Awaited<ReturnType<TestDatabase['admin']['reserve']>>

const SERVICE = contextOf('service_role', null)

let made: TestDatabase
let pool: Database
let bucket: string
let one: Session
let two: Session
let three: Session
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  const { host, port, superuser } = inject('postgres')
  pool = openDatabase({ host, port, database: made.name, username: superuser }, { connections: 3 })
  ;[one, two, three] = await Promise.all([pool.sql.reserve(), pool.sql.reserve(), pool.sql.reserve()])
  await Promise.all([one, two, three].map(pidOf))
  await made.admin.unsafe(`
    create policy own on storage.objects to authenticated using (owner_id = auth.jwt() ->> 'sub');
    create function public.pause() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(4711); return old; end $$;
    create trigger pause before delete on storage.object_versions for each row when (old.name like 'slow%')
      execute function public.pause()`)
})
afterAll(async () => {
  for (const session of [one, two, three]) session?.release()
  await pool?.close()
  await made?.drop()
})
beforeEach(() => {
  bucket = `b-${randomUUID()}`
})
afterEach(async () => {
  for (const session of [one, two, three]) await session`rollback`
})

describe.each(['ENABLED', 'SUSPENDED'])(
  'a name that another has and leaves meanwhile, with versions %s',
  (status) => {
    const ways: [string, () => Promise<unknown>, (tx: Session) => Promise<unknown>][] = [
      ['an insert', async () => {}, (tx) => insert(tx, 'a')],
      ['an upsert', async () => {}, (tx) => upsert(tx, 'a')],
      [
        'another name',
        () => insert(one, 'b'),
        (tx) =>
          tx`update storage.objects set name = 'a' where bucket_id = ${bucket} and name = 'b'`.execute(),
      ],
      [
        'a restore from the trash',
        async () => {
          await one`update storage.buckets set trash_days = 7 where id = ${bucket}`
          await insert(one, 'a')
          await one`delete from storage.objects where bucket_id = ${bucket}`
        },
        (tx) =>
          tx`select * from storage.restore_trash(null, ${bucket}, 'a', null, false, ${SERVICE})`.execute(),
      ],
    ]
    const histories: [string, () => Promise<unknown>][] = [
      ['without a history', async () => {}],
      [
        'with one',
        async () => {
          await insert(one, 'a')
          await one`delete from storage.objects where bucket_id = ${bucket} and name = 'a'`
        },
      ],
    ]

    it.each(
      ways.flatMap(([way, before, deed]) =>
        histories.map(([what, begin]) => [way, what, before, begin, deed] as const),
      ),
    )('is given by %s, %s, to what comes behind that', async (way, _, before, begin, deed) => {
      // What goes into a trash is from before.
      const first = way.includes('trash') ? 'DISABLED' : 'ENABLED'
      await makeBucket(first)
      await before()
      if (first === 'DISABLED') await setStatus('ENABLED')
      if (status !== 'ENABLED') await setStatus(status)
      await begin()
      await one`begin`
      await insert(one, 'a')
      const done = deed(two)
      await waitsFor(two, one)
      await overwrite(one, 'a')
      await one`delete from storage.objects where bucket_id = ${bucket} and name = 'a'`
      const [last] = await one`select max(id) as id from storage.events`
      await one`commit`
      await done
      const [object] = await one`
      select updated_at = created_at as is_untouched, version_number from storage.objects
      where bucket_id = ${bucket} and name = 'a'`
      expect(object?.version_number).toBeGreaterThan(1)
      if (way === 'an insert') expect(object?.is_untouched).toBe(true)
      expect(await disorder()).toEqual([])
      // Nobody is told of that once more.
      const events = await one`
      select type from storage.events
      where bucket_id = ${bucket} and id > ${last?.id} and name = 'a' and type like 'storage.object.%'`
      expect(events).toEqual([
        { type: way === 'another name' ? 'storage.object.updated' : 'storage.object.created' },
      ])
    })
  },
)

describe('a name that was never there, and is deleted', () => {
  it('has no marker, if somebody is just giving it an object', async () => {
    await makeBucket()
    await one`begin`
    await insert(one, 'a')
    const marked = markDeleted(two, 'a')
    await waitsFor(two, one)
    await one`commit`
    expect(await marked).toEqual([])
    expect(await numbers('a')).toEqual([1])
  })

  it('has one before the object that somebody gives it then', async () => {
    await makeBucket()
    await one`begin`
    expect(await markDeleted(one, 'a')).toHaveLength(1)
    const inserted = insert(two, 'a')
    await waitsFor(two, one)
    await one`commit`
    await inserted
    expect(await numbers('a')).toEqual([1, 2])
    expect(await disorder()).toEqual([])
  })

  it('keeps nobody else from its bucket, nor those who make very many objects', async () => {
    await makeBucket()
    await one`begin`
    expect(await markDeleted(one, 'a')).toHaveLength(1)
    await insert(two, 'b')
    await two`begin`
    await two`
      insert into storage.objects (bucket_id, name, version)
      select ${bucket}, 'many/' || n, gen_random_uuid() from generate_series(1, 2000) n`
    const [row] = await two`
      select count(*)::int as locks from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`
    expect(row).toEqual({ locks: 0 })
  })
})

describe('who deletes a version', () => {
  it('does not wait for who puts another object there, and he for him', async () => {
    await makeBucket()
    await one`update storage.buckets set max_versions = 1 where id = ${bucket}`
    await insert(one, 'slow')
    await one`delete from storage.objects where bucket_id = ${bucket}`
    const marker = await newest('slow')
    // Deletes the marker, so that the version moves up; and is held up in the middle.
    await three`begin`
    await three`select pg_advisory_xact_lock(4711)`
    const deleted = deleteVersion(one, 'slow', marker)
    await waitsFor(one, three)
    const put = upsert(two, 'slow')
    await waitsFor(two, one)
    await three`rollback`
    expect(await deleted).toEqual(['deleted'])
    await put
    expect(await disorder()).toEqual([])
  })

  it('does not wait for who deletes all of the name for good, and he for him', async () => {
    const ann = randomUUID()
    await makeBucket()
    await insert(one, 'a', ann)
    const first = await live('a')
    await overwrite(one, 'a')
    await three`begin`
    await three`select pg_advisory_xact_lock(hashtextextended(${`${bucket}/a`}, 42))` // as all who change a history
    const deleted = deleteVersion(one, 'a', first)
    await waitsFor(one, three)
    const erased = two`
      select * from storage.delete_objects(${bucket}, array['a'], '{}', 'none', 'erase', ${contextOf('authenticated', ann)})`.execute()
    await until(async () => (await blockers(two)).length > 0, 'the other one waits, too')
    await three`rollback`
    expect((await erased)[0]).toMatchObject({ outcome: 'deleted' })
    expect(await deleted).toEqual(['deleted'])
    expect(await numbers('a')).toEqual([])
  })

  it('does not wait for who has deleted the object, and puts another one there', async () => {
    await makeBucket()
    await insert(one, 'a')
    const first = await live('a')
    await overwrite(one, 'a')
    await two`begin`
    await two`set local storage.deletion = 'replace'`
    await two`delete from storage.objects where bucket_id = ${bucket}`
    const deleted = deleteVersion(one, 'a', first)
    await waitsFor(one, two)
    await insert(two, 'a')
    await two`commit`
    expect(await deleted).toEqual(['deleted'])
    expect(await disorder()).toEqual([])
  })
})

describe('two versions that are moved to the names of each other', () => {
  it('do not wait for each other', async () => {
    await makeBucket()
    for (const name of ['slow-a', 'slow-b']) {
      await insert(one, name)
      await overwrite(one, name)
      await one`delete from storage.objects where bucket_id = ${bucket} and name = ${name}`
    }
    const move = async (tx: Session, from: string, to: string) => {
      const [row] = await made.admin<{ version: string }[]>`
        select version from storage.object_versions where bucket_id = ${bucket} and name = ${from} order by sequence limit 1`
      return tx`
        select * from storage.move_version(${bucket}, ${from}, ${String(row?.version)}, ${bucket}, ${to}, null, null, ${SERVICE})`.execute()
    }
    await three`begin`
    await three`select pg_advisory_xact_lock(4711)`
    const moved = move(one, 'slow-a', 'slow-b')
    await waitsFor(one, three)
    const crossing = move(two, 'slow-b', 'slow-a')
    await until(async () => (await blockers(two)).length > 0, 'the other one waits, too')
    await three`rollback`
    expect(await moved).toMatchObject([{ outcome: 'moved' }])
    await crossing
    expect(await disorder()).toEqual([])
  })
})

function contextOf(role: string, subject: string | null): string {
  return callerContext({
    role,
    subject,
    claims: { sub: subject, role },
    token: '',
    operation: 'storage.object.delete',
    method: 'DELETE',
    path: '/',
    headers: {},
    userBuckets: false,
  })
}

async function makeBucket(status = 'ENABLED'): Promise<void> {
  const trash = status === 'DISABLED' ? 7 : 0
  await one`
    insert into storage.buckets (id, name, versioning_status, trash_days) values (${bucket}, ${bucket}, ${status}, ${trash})`
}

async function setStatus(status: string): Promise<void> {
  await one`update storage.buckets set versioning_status = ${status} where id = ${bucket}`
}

function insert(tx: Session, name: string, owner: string | null = null) {
  return tx`
    insert into storage.objects (bucket_id, name, version, owner_id) values (${bucket}, ${name}, ${randomUUID()}, ${owner})`.execute()
}

function upsert(tx: Session, name: string) {
  return tx`
    insert into storage.objects (bucket_id, name, version) values (${bucket}, ${name}, ${randomUUID()})
    on conflict (bucket_id, name) do update set version = excluded.version`.execute()
}

function overwrite(tx: Session, name: string) {
  return tx`
    update storage.objects set version = ${randomUUID()} where bucket_id = ${bucket} and name = ${name}`.execute()
}

/** As the server does it, a statement in which the role is set. */
async function markDeleted(tx: Session, name: string): Promise<unknown[]> {
  const rows = await tx`select * from storage.mark_deleted(${bucket}, array[${name}], ${SERVICE})`
  return [...rows]
}

async function deleteVersion(tx: Session, name: string, version: string): Promise<string[]> {
  const rows = await tx<{ outcome: string }[]>`
    select * from storage.delete_versions(${bucket}, array[${name}], array[${version}], ${SERVICE})`
  return rows.map(({ outcome }) => outcome).filter((outcome) => outcome !== 'removal')
}

async function live(name: string): Promise<string> {
  const [row] =
    await made.admin`select version from storage.objects where bucket_id = ${bucket} and name = ${name}`
  return String(row?.version)
}

async function newest(name: string): Promise<string> {
  const [row] = await made.admin`
    select version from storage.object_versions where bucket_id = ${bucket} and name = ${name} order by sequence desc limit 1`
  return String(row?.version)
}

async function numbers(name: string): Promise<number[]> {
  const rows = await made.admin<{ number: number }[]>`
    select version_number as number, sequence from storage.object_versions where bucket_id = ${bucket} and name = ${name}
    union all select version_number, 1e18 from storage.objects where bucket_id = ${bucket} and name = ${name}
    order by sequence`
  return rows.map(({ number }) => number)
}

/** Of what follows another in the history of its name: where the number is none behind it, or the times of both overlap. */
async function disorder(): Promise<unknown[]> {
  const rows = await made.admin`
    select * from (
      select name, version_number as number, valid_from::text as since,
        lag(version_number) over w as number_before, (lag(archived_at) over w)::text as until,
        version_number <= lag(version_number) over w or valid_from < lag(archived_at) over w as is_wrong
      from (
        select bucket_id, name, version_number, valid_from, archived_at, sequence from storage.object_versions where kind <> 'trash'
        union all
        select bucket_id, name, version_number, current_since, 'infinity', 9223372036854775807 from storage.objects
      ) everything
      where bucket_id = ${bucket}
      window w as (partition by name order by sequence)
    ) followers
    where is_wrong`
  return [...rows]
}

async function blockers(waiting: Session): Promise<number[]> {
  const [row] = await made.admin<
    { pids: number[] }[]
  >`select pg_blocking_pids(${await pidOf(waiting)}) as pids`
  return row?.pids ?? []
}

async function waitsFor(waiting: Session, other: Session): Promise<void> {
  const pid = await pidOf(other)
  await until(async () => (await blockers(waiting)).includes(pid), 'it waits for the other one')
}

const pids = new Map<Session, number>()

/** Known from before: a session that waits answers nothing. */
async function pidOf(session: Session): Promise<number> {
  const known = pids.get(session)
  if (known !== undefined) return known
  const [row] = await session<{ pid: number }[]>`select pg_backend_pid() as pid`
  pids.set(session, row?.pid ?? 0)
  return row?.pid ?? 0
}
