import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  contextOf,
  openVersionSessions,
  SERVICE,
  type Session,
  type VersionSessions,
} from '../support/version-sessions.ts'

/*
 * What a name has when several sessions change it at the same moment: no number twice, no two versions at one time, and nobody who
 * waits for somebody who waits for him.
 */

let at: VersionSessions
let one: Session
let two: Session
let three: Session
beforeAll(async () => {
  at = await openVersionSessions(3)
  ;[one, two, three] = at.sessions as [Session, Session, Session]
  await at.admin.unsafe(`
    create policy own on storage.objects to authenticated using (owner_id = auth.jwt() ->> 'sub');
    create function public.pause() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(4711); return old; end $$;
    create trigger pause before delete on storage.object_versions for each row when (old.name like 'slow%')
      execute function public.pause()`)
})
afterAll(() => at?.close())
afterEach(async () => {
  for (const session of at.sessions) await session`rollback`
})

describe.each(['ENABLED', 'SUSPENDED'])(
  'a name that another has and leaves meanwhile, with versions %s',
  (status) => {
    const ways: [string, () => Promise<unknown>, (tx: Session) => Promise<unknown>][] = [
      ['an insert', async () => {}, (tx) => at.insert(tx, 'a')],
      ['an upsert', async () => {}, (tx) => at.upsert(tx, 'a')],
      [
        'another name',
        () => at.insert(one, 'b'),
        (tx) =>
          tx`update storage.objects set name = 'a' where bucket_id = ${at.bucket} and name = 'b'`.execute(),
      ],
      [
        'a restore from the trash',
        async () => {
          await one`update storage.buckets set trash_days = 7 where id = ${at.bucket}`
          await at.insert(one, 'a')
          await one`delete from storage.objects where bucket_id = ${at.bucket}`
        },
        (tx) =>
          tx`select * from storage.restore_trash(null, ${at.bucket}, 'a', null, false, ${SERVICE})`.execute(),
      ],
    ]
    const histories: [string, () => Promise<unknown>][] = [
      ['without a history', async () => {}],
      [
        'with one',
        async () => {
          await at.insert(one, 'a')
          await one`delete from storage.objects where bucket_id = ${at.bucket} and name = 'a'`
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
      await at.makeBucket(first)
      await before()
      if (first === 'DISABLED') await at.setStatus('ENABLED')
      if (status !== 'ENABLED') await at.setStatus(status)
      await begin()
      await one`begin`
      await at.insert(one, 'a')
      const done = deed(two)
      await at.waits(two, one)
      await at.overwrite(one, 'a')
      await one`delete from storage.objects where bucket_id = ${at.bucket} and name = 'a'`
      const [last] = await one`select max(id) as id from storage.events`
      await one`commit`
      await done
      const [object] = await one`
      select updated_at = created_at as is_untouched, version_number from storage.objects
      where bucket_id = ${at.bucket} and name = 'a'`
      expect(object?.version_number).toBeGreaterThan(1)
      if (way === 'an insert') expect(object?.is_untouched).toBe(true)
      expect(await at.disorder()).toEqual([])
      // Nobody is told of that once more.
      const events = await one`
      select type from storage.events
      where bucket_id = ${at.bucket} and id > ${last?.id} and name = 'a' and type like 'storage.object.%'`
      expect(events).toEqual([
        { type: way === 'another name' ? 'storage.object.updated' : 'storage.object.created' },
      ])
    })
  },
)

describe('a name that was never there, and is deleted', () => {
  it('has no marker, if somebody is just giving it an object', async () => {
    await at.makeBucket()
    await one`begin`
    await at.insert(one, 'a')
    const marked = at.markDeleted(two, 'a')
    await at.waits(two, one)
    await one`commit`
    expect(await marked).toEqual([])
    expect(await at.numbers('a')).toEqual([1])
  })

  it('has one before the object that somebody gives it then', async () => {
    await at.makeBucket()
    await one`begin`
    expect(await at.markDeleted(one, 'a')).toHaveLength(1)
    const inserted = at.insert(two, 'a')
    await at.waits(two, one)
    await one`commit`
    await inserted
    expect(await at.numbers('a')).toEqual([1, 2])
    expect(await at.disorder()).toEqual([])
  })

  it('keeps nobody else from its bucket, nor those who make very many objects', async () => {
    await at.makeBucket()
    await one`begin`
    expect(await at.markDeleted(one, 'a')).toHaveLength(1)
    await at.insert(two, 'b')
    await two`begin`
    await two`
      insert into storage.objects (bucket_id, name, version)
      select ${at.bucket}, 'many/' || n, gen_random_uuid() from generate_series(1, 2000) n`
    const [row] = await two`
      select count(*)::int as locks from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`
    expect(row).toEqual({ locks: 0 })
  })
})

describe('a new name', () => {
  it.each([
    ['DISABLED', []],
    ['ENABLED', ['strongroom_place_version', 'strongroom_settle_history']],
    ['SUSPENDED', ['strongroom_place_version', 'strongroom_settle_history']],
  ])('where versions are %s has its place by %j', async (status, triggers) => {
    await at.makeBucket(status === 'SUSPENDED' ? 'ENABLED' : status)
    await at.setStatus(status)
    // As put_object_version says it.
    const number = status === 'DISABLED' ? 1 : null
    const [row] = await one`
      explain (analyze, format json)
      insert into storage.objects (bucket_id, name, version, version_number)
      values (${at.bucket}, 'a', ${randomUUID()}, ${number}::integer)`
    const plan: { Triggers: { 'Trigger Name': string }[] } | undefined = row?.['QUERY PLAN']?.[0]
    const fired = plan?.Triggers.map((trigger) => trigger['Trigger Name'])
    expect(fired?.filter((name) => /_place_|_settle_/.test(name))).toEqual(triggers)
  })
})

describe('who deletes a version', () => {
  it('does not wait for who puts another object there, and he for him', async () => {
    await at.makeBucket()
    await one`update storage.buckets set max_versions = 1 where id = ${at.bucket}`
    await at.insert(one, 'slow')
    await one`delete from storage.objects where bucket_id = ${at.bucket}`
    const marker = String((await at.versions('slow')).at(-1))
    // Deletes the marker, so that the version moves up; and is held up in the middle.
    await three`begin`
    await three`select pg_advisory_xact_lock(4711)`
    const deleted = at.deleteVersion(one, 'slow', marker)
    await at.waits(one, three)
    const put = at.upsert(two, 'slow')
    await at.waits(two, one)
    await three`rollback`
    expect(await deleted).toEqual(['deleted'])
    await put
    expect(await at.disorder()).toEqual([])
  })

  it('does not wait for who deletes all of the name for good, and he for him', async () => {
    const ann = randomUUID()
    await at.makeBucket()
    await at.insert(one, 'a', ann)
    const first = String((await at.versions('a'))[0])
    await at.overwrite(one, 'a')
    await three`begin`
    await three`select pg_advisory_xact_lock(hashtextextended(${`${at.bucket}/a`}, 42))` // as all who change a history
    const deleted = at.deleteVersion(one, 'a', first)
    await at.waits(one, three)
    const erased = two`
      select * from storage.delete_objects(${at.bucket}, array['a'], '{}', 'none', 'erase', ${contextOf('authenticated', ann)})`.execute()
    await at.waits(two)
    await three`rollback`
    expect((await erased)[0]).toMatchObject({ outcome: 'deleted' })
    expect(await deleted).toEqual(['deleted'])
    expect(await at.numbers('a')).toEqual([])
  })

  it('does not wait for who has deleted the object, and puts another one there', async () => {
    await at.makeBucket()
    await at.insert(one, 'a')
    const first = String((await at.versions('a'))[0])
    await at.overwrite(one, 'a')
    await two`begin`
    await two`set local storage.deletion = 'replace'`
    await two`delete from storage.objects where bucket_id = ${at.bucket}`
    const deleted = at.deleteVersion(one, 'a', first)
    await at.waits(one, two)
    await at.insert(two, 'a')
    await two`commit`
    expect(await deleted).toEqual(['deleted'])
    expect(await at.disorder()).toEqual([])
  })
})

describe('two versions that are moved to the names of each other', () => {
  it('do not wait for each other', async () => {
    await at.makeBucket()
    for (const name of ['slow-a', 'slow-b']) {
      await at.insert(one, name)
      await at.overwrite(one, name)
      await one`delete from storage.objects where bucket_id = ${at.bucket} and name = ${name}`
    }
    const move = async (tx: Session, from: string, to: string) => {
      const [row] = await at.admin<{ version: string }[]>`
        select version from storage.object_versions where bucket_id = ${at.bucket} and name = ${from} order by sequence limit 1`
      return tx`
        select * from storage.move_version(${at.bucket}, ${from}, ${String(row?.version)}, ${at.bucket}, ${to}, null, null, ${SERVICE})`.execute()
    }
    await three`begin`
    await three`select pg_advisory_xact_lock(4711)`
    const moved = move(one, 'slow-a', 'slow-b')
    await at.waits(one, three)
    const crossing = move(two, 'slow-b', 'slow-a')
    await at.waits(two)
    await three`rollback`
    expect(await moved).toMatchObject([{ outcome: 'moved' }])
    await crossing
    expect(await at.disorder()).toEqual([])
  })
})
