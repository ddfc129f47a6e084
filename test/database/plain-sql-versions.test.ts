import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** What the database keeps of what is overwritten and deleted (docs/versions.md), when nothing but SQL changes it. */

type Sql = TestDatabase['admin']

let made: TestDatabase
let sql: Sql
let bucket: string
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  sql = made.admin
})
beforeEach(() => {
  bucket = `b-${randomUUID()}`
})
afterAll(() => made.drop())

/** What a bucket is before the deed: with an object that was written while versions were off, or on, or none. */
interface Setting {
  status: 'DISABLED' | 'ENABLED' | 'SUSPENDED'
  trashDays?: number
  /** Whether the object is a null version. */
  isNull?: boolean
}

describe('an object that is overwritten', () => {
  it.each<[Setting, string[]]>([
    [{ status: 'DISABLED' }, []],
    [{ status: 'DISABLED', trashDays: 7 }, []],
    [{ status: 'ENABLED' }, ['version']],
    [{ status: 'ENABLED', isNull: true }, ['version null']],
    [{ status: 'SUSPENDED' }, ['version']],
    [{ status: 'SUSPENDED', isNull: true }, []],
    [{ status: 'SUSPENDED', isNull: true, trashDays: 7 }, []],
  ])('in %j leaves %j', async (setting, left) => {
    const version = await prepare(setting)
    const next = randomUUID()
    await sql`update storage.objects set version = ${next} where bucket_id = ${bucket}`
    expect(await history('a')).toEqual(left)
    expect(await isListed(version)).toBe(left.length === 0)
    expect(await live('a')).toBe(next)
  })
})

describe('an object that is deleted', () => {
  it.each<[Setting, string[]]>([
    [{ status: 'DISABLED' }, []],
    [{ status: 'DISABLED', trashDays: 7 }, ['trash null']],
    [{ status: 'ENABLED' }, ['version', 'delete_marker']],
    [{ status: 'ENABLED', trashDays: 7 }, ['version', 'delete_marker']],
    [{ status: 'ENABLED', isNull: true }, ['version null', 'delete_marker']],
    [{ status: 'SUSPENDED' }, ['version', 'delete_marker null']],
    [{ status: 'SUSPENDED', isNull: true }, ['delete_marker null']],
    [{ status: 'SUSPENDED', isNull: true, trashDays: 7 }, ['trash null', 'delete_marker null']],
  ])('in %j leaves %j', async (setting, left) => {
    const version = await prepare(setting)
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    expect(await history('a')).toEqual(left)
    expect(await isListed(version)).toBe(!left.some((kind) => !kind.startsWith('delete_marker')))
  })

  const SETTINGS: Setting[] = [
    { status: 'DISABLED' },
    { status: 'DISABLED', trashDays: 7 },
    { status: 'ENABLED' },
    { status: 'ENABLED', isNull: true, trashDays: 7 },
    { status: 'SUSPENDED' },
    { status: 'SUSPENDED', isNull: true },
    { status: 'SUSPENDED', isNull: true, trashDays: 7 },
  ]

  it.each(SETTINGS)('for good, in %j, leaves nothing', async (setting) => {
    const version = await prepare(setting)
    await remove('purge')
    expect(await history('a')).toEqual([])
    expect(await isListed(version)).toBe(true)
  })

  it.each(SETTINGS)(
    'with all that its name had, in %j, leaves nothing of that, and another name alone',
    async (setting) => {
      const versions = [await prepare(setting), await overwrite('a'), await overwrite('a')]
      await insert('b')
      await overwrite('b')
      const others = await history('b')
      await sql.begin(async (tx) => {
        await tx`set local storage.deletion = 'erase'`
        await tx`delete from storage.objects where bucket_id = ${bucket} and name = 'a'`
      })
      expect([await history('a'), await history('b')]).toEqual([[], others])
      expect(await Promise.all(versions.map(isListed))).toEqual([true, true, true])
    },
  )

  it.each<[Setting, string[]]>([
    [{ status: 'DISABLED' }, []],
    [{ status: 'DISABLED', trashDays: 7 }, []],
    [{ status: 'ENABLED' }, ['version']],
    [{ status: 'SUSPENDED' }, ['version']],
    [{ status: 'SUSPENDED', isNull: true, trashDays: 7 }, []],
  ])('to be replaced, in %j, leaves %j and no marker', async (setting, left) => {
    await prepare(setting)
    await remove('replace')
    expect(await history('a')).toEqual(left)
  })

  it.each<[Setting, string[], number]>([
    [{ status: 'DISABLED' }, ['trash null'], 3],
    [{ status: 'DISABLED', trashDays: 7 }, ['trash null'], 7],
    [{ status: 'ENABLED' }, ['version', 'delete_marker'], 90],
    [{ status: 'SUSPENDED' }, ['version', 'delete_marker null'], 90],
    [{ status: 'SUSPENDED', isNull: true }, ['trash null', 'delete_marker null'], 3],
  ])('and is not to go for good, in %j leaves %j for %i days', async (setting, left, days) => {
    await prepare(setting)
    await remove('trash 3')
    expect(await history('a')).toEqual(left)
    const [row] = await sql`
      select extract(days from purge_at - archived_at)::int as days from storage.object_versions
      where bucket_id = ${bucket} and kind <> 'delete_marker'`
    expect(row).toEqual({ days })
  })

  it.each<[Setting, string[]]>([
    [{ status: 'DISABLED' }, []],
    [{ status: 'DISABLED', trashDays: 7 }, ['trash null']],
    [{ status: 'ENABLED' }, ['version', 'delete_marker']],
    [{ status: 'SUSPENDED' }, ['version', 'delete_marker null']],
    [{ status: 'SUSPENDED', isNull: true, trashDays: 7 }, ['trash null', 'delete_marker null']],
  ])('with all others, by truncation, in %j leaves %j', async (setting, left) => {
    const version = await prepare(setting)
    await sql`truncate storage.objects`
    expect(await history('a')).toEqual(left)
    expect(await isListed(version)).toBe(left.length === 0)
  })

  it.each<[Setting, boolean]>([
    [{ status: 'DISABLED' }, true],
    [{ status: 'DISABLED', trashDays: 7 }, false],
    [{ status: 'ENABLED' }, false],
    [{ status: 'SUSPENDED' }, false],
    [{ status: 'SUSPENDED', isNull: true }, true],
  ])('in %j is told of as permanent: %s', async (setting, permanent) => {
    await prepare(setting)
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    const rows = await sql`
      select data from storage.events where bucket_id = ${bucket} and type = 'storage.object.deleted'`
    expect(rows).toEqual([{ data: { permanent } }])
  })

  /** Deletes all of the bucket, and says what is to become of it. */
  const remove = (deletion: string) =>
    sql.begin(async (tx) => {
      await tx`select set_config('storage.deletion', ${deletion}, true)`
      await tx`delete from storage.objects where bucket_id = ${bucket}`
    })

  it('does not go for good because somebody says so who could not be the service', async () => {
    await prepare({ status: 'ENABLED' })
    const taken = sql.begin(async (tx) => {
      await tx`create role somebody`
      await tx`grant authenticated to somebody`
      await tx`create policy anybody on storage.objects to authenticated using (true)`
      await tx`set local session authorization somebody`
      await tx`set local role authenticated`
      await tx`set local storage.deletion = 'purge'`
      expect(await tx`delete from storage.objects where bucket_id = ${bucket} returning 1`).toHaveLength(1)
      await tx`set local session authorization default`
      const rows =
        await tx`select kind from storage.object_versions where bucket_id = ${bucket} order by sequence`
      throw Object.assign(new Error('taken back'), { kinds: rows.map(({ kind }) => kind) })
    })
    await expect(taken).rejects.toMatchObject({ kinds: ['version', 'delete_marker'] })
  })
})

describe('an object that gets another name', () => {
  it.each<[Setting, string[]]>([
    [{ status: 'DISABLED' }, []],
    [{ status: 'DISABLED', trashDays: 7 }, []],
    [{ status: 'ENABLED' }, ['version', 'delete_marker']],
    [{ status: 'SUSPENDED' }, ['version', 'delete_marker null']],
    [{ status: 'SUSPENDED', isNull: true }, ['delete_marker null']],
  ])('in %j leaves %j at the old one', async (setting, left) => {
    const version = await prepare(setting)
    await sql`update storage.objects set name = 'b' where bucket_id = ${bucket}`
    expect(await history('a')).toEqual(left)
    expect([await live('a'), await live('b')]).toEqual([undefined, version])
    expect(await isListed(version)).toBe(false)
  })

  it('keeps bytes that both names have until neither has them', async () => {
    const version = await prepare({ status: 'ENABLED' })
    await sql`update storage.objects set name = 'b' where bucket_id = ${bucket}`
    await sql`delete from storage.object_versions where bucket_id = ${bucket} and name = 'a'`
    expect(await isListed(version)).toBe(false)
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    expect(await isListed(version)).toBe(false)
    await sql`delete from storage.object_versions where bucket_id = ${bucket}`
    expect(await isListed(version)).toBe(true)
  })

  it('begins behind the history of that name', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    await insert('b')
    await sql`update storage.objects set name = 'a' where bucket_id = ${bucket} and name = 'b'`
    const [row] =
      await sql`select version_number from storage.objects where bucket_id = ${bucket} and name = 'a'`
    expect(row).toEqual({ version_number: 3 })
  })
})

describe('a name', () => {
  it('keeps its id and counts on when it comes back', async () => {
    await prepare({ status: 'ENABLED' })
    const [before] = await sql`select id from storage.objects where bucket_id = ${bucket}`
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    await insert('a')
    const [after] =
      await sql`select id, version_number, is_versioned from storage.objects where bucket_id = ${bucket}`
    expect(after).toEqual({ id: before?.id, version_number: 3, is_versioned: true })
    expect(await numbers('a')).toEqual([1, 2])
  })

  it('gets another id when its own has gone to another name', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.objects set name = 'b' where bucket_id = ${bucket}`
    await insert('a')
    const rows = await sql`select distinct id from storage.objects where bucket_id = ${bucket}`
    expect(rows).toHaveLength(2)
  })

  it('has one null version at most, whatever becomes of it', async () => {
    const first = await prepare({ status: 'ENABLED', isNull: true })
    await overwrite('a')
    await sql`update storage.buckets set versioning_status = 'SUSPENDED' where id = ${bucket}`
    expect(await history('a')).toEqual(['version null'])
    await overwrite('a') // takes the place of the null version; what was the current one stays
    expect(await history('a')).toEqual(['version'])
    expect(await isListed(first)).toBe(true)
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    expect(await history('a')).toEqual(['version', 'delete_marker null'])
    await insert('a')
    expect(await history('a')).toEqual(['version'])
  })

  it('keeps its null version where an insert does nothing', async () => {
    await prepare({ status: 'ENABLED', isNull: true })
    await overwrite('a')
    await sql`update storage.buckets set versioning_status = 'SUSPENDED' where id = ${bucket}`
    await sql`
      insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', ${randomUUID()})
      on conflict do nothing`
    expect(await history('a')).toEqual(['version null'])
  })

  it('has as many versions as its bucket says, the newest ones', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set max_versions = 3 where id = ${bucket}`
    for (let i = 0; i < 4; i++) await overwrite('a')
    expect(await numbers('a')).toEqual([3, 4])
    // A deletion takes none away; what comes next counts.
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    expect(await history('a')).toEqual(['version', 'version', 'version', 'delete_marker'])
    await insert('a')
    expect(await history('a')).toEqual(['version', 'version', 'delete_marker'])
  })

  it('is found by its bucket when one goes, however many versions another bucket has of that name', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set max_versions = 1000 where id = ${bucket}`
    for (let i = 0; i < 100; i++) await overwrite('a')
    bucket = `b-${randomUUID()}`
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set max_versions = 3 where id = ${bucket}`
    for (let i = 0; i < 3; i++) await overwrite('a')
    const read = await sql.begin(async (tx) => {
      // What the session has not reported yet of the transactions before counts, too.
      const readUntilNow = async () => {
        const [row] = await tx<{ rows: number }[]>`
          select (seq_tup_read + idx_tup_fetch)::integer as rows from pg_stat_xact_all_tables
          where relid = 'storage.object_versions'::regclass`
        return row?.rows ?? 0
      }
      const before = await readUntilNow()
      await tx`update storage.objects set version = ${randomUUID()} where bucket_id = ${bucket}`
      return (await readUntilNow()) - before
    })
    expect(read).toBeGreaterThan(0)
    expect(read).toBeLessThan(20)
    expect(await numbers('a')).toEqual([3, 4])
  })

  it('has no more markers than versions, however often it is put and deleted', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set max_versions = 3 where id = ${bucket}`
    for (let i = 0; i < 8; i++) {
      await sql`delete from storage.objects where bucket_id = ${bucket}`
      await insert('a')
    }
    expect(await history('a')).toEqual(['version', 'delete_marker', 'version', 'delete_marker'])
    await overwrite('a')
    expect(await history('a')).toEqual(['version', 'delete_marker', 'version'])
  })

  it('has no more markers than its bucket says where somebody deletes the versions behind them', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set max_versions = 3 where id = ${bucket}`
    for (let i = 0; i < 8; i++) {
      await sql`delete from storage.objects where bucket_id = ${bucket}`
      await sql`delete from storage.object_versions where bucket_id = ${bucket} and kind = 'version'`
      await insert('a')
      expect((await history('a')).length).toBeLessThan(3)
    }
    // What hides a version stays.
    await overwrite('a')
    for (let i = 0; i < 8; i++) {
      await sql`delete from storage.objects where bucket_id = ${bucket}`
      await insert('a')
    }
    expect((await history('a')).filter((kind) => kind === 'version')).toHaveLength(2)
    expect((await history('a')).length).toBeLessThan(5)
  })

  it('has ten versions where nothing is said, which go after ninety days', async () => {
    await prepare({ status: 'ENABLED' })
    for (let i = 0; i < 11; i++) await overwrite('a')
    expect(await numbers('a')).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11])
    const rows = await sql`
      select distinct purge_at - archived_at = interval '90 days' as right from storage.object_versions
      where bucket_id = ${bucket}`
    expect(rows).toEqual([{ right: true }])
  })

  it('was something else at each moment', async () => {
    const versions = [await prepare({ status: 'ENABLED' })]
    for (let i = 0; i < 3; i++) versions.push(await overwrite('a'))
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    versions.push(await insert('a'))
    const ranges = await sql<{ version: string; since: string; until: string | null }[]>`
      select version, valid_from::text as since, archived_at::text as until from storage.object_versions
      where bucket_id = ${bucket} and kind = 'version'
      union all select version, current_since::text, null from storage.objects where bucket_id = ${bucket}
      order by since`
    expect(ranges.map(({ version }) => version)).toEqual(versions)
    const [a, b, c, d, e] = ranges
    expect([a?.until, b?.until, c?.until]).toEqual([b?.since, c?.since, d?.since])
    expect((d?.until ?? '') < (e?.since ?? '')).toBe(true)
  })

  it('is told as it was', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`
      update storage.objects set user_metadata = '{"a": 1}', tags = '{x}', metadata = '{"size": 3}', owner_id = 'me', checksum = 'c'
      where bucket_id = ${bucket}`
    const [before] = await sql`
      select o.*, b.uid as bytes_bucket from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where o.bucket_id = ${bucket}`
    await overwrite('a')
    const [after] = await sql`
      select (storage.as_object(v)).* from storage.object_versions v where bucket_id = ${bucket}`
    expect(after).toEqual({ ...before, path_tokens: null, folded_name: null })
  })
})

describe('writers at the same moment', () => {
  it('each leave a version, and no number twice', async () => {
    await prepare({ status: 'ENABLED' })
    const others = await Promise.all(Array.from({ length: 2 }, () => sql.reserve()))
    const deed = (tx: Awaited<ReturnType<Sql['reserve']>>, i: number) =>
      i % 3 === 2
        ? tx`delete from storage.objects where bucket_id = ${bucket}`
        : tx`insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', ${randomUUID()})
            on conflict (bucket_id, name) do update set version = excluded.version`
    try {
      await Promise.all(
        others.map(async (tx, j) => {
          for (let i = 0; i < 12; i++) await deed(tx, i + j)
        }),
      )
    } finally {
      for (const tx of others) tx.release()
    }
    const [row] = await sql<{ numbers: number[] }[]>`
      select array_agg(n order by n) as numbers from (
        select version_number as n from storage.object_versions where bucket_id = ${bucket}
        union all select version_number from storage.objects where bucket_id = ${bucket}
      ) all_of_them`
    const found = row?.numbers ?? []
    expect(new Set(found).size).toBe(found.length)
    const [order] = await sql`
      select array_agg(version_number order by sequence) = array_agg(version_number order by version_number) as right
      from storage.object_versions where bucket_id = ${bucket}`
    expect(order).toEqual({ right: true })
  })

  it('wait for a deletion, and come behind it', async () => {
    await prepare({ status: 'ENABLED' })
    const [deleting, inserting] = await Promise.all([sql.reserve(), sql.reserve()])
    try {
      await deleting`begin`
      await deleting`delete from storage.objects where bucket_id = ${bucket}`
      const [{ pid } = { pid: 0 }] = await inserting<{ pid: number }[]>`select pg_backend_pid() as pid`
      const inserted = inserting`
        insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', ${randomUUID()})
        returning version_number`.execute()
      for (;;) {
        const [row] = await deleting`select cardinality(pg_blocking_pids(${pid})) as blockers`
        if (row?.blockers === 1) break
      }
      await deleting`commit`
      expect(await inserted).toMatchObject([{ version_number: 3 }])
    } finally {
      deleting.release()
      inserting.release()
    }
  })
})

describe('two names that have had one id, since an object was moved', () => {
  it('both come back at the same moment', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.objects set name = 'b' where bucket_id = ${bucket}`
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    const [one, other] = await Promise.all([sql.reserve(), sql.reserve()])
    const bring = (tx: typeof one, name: string) =>
      tx`insert into storage.objects (bucket_id, name, version) values (${bucket}, ${name}, ${randomUUID()})`
    try {
      await one`begin`
      await bring(one, 'a')
      await other`set lock_timeout = '20s'` // it waits for nobody
      await bring(other, 'b')
      await one`commit`
    } finally {
      one.release()
      other.release()
    }
    const [row] =
      await sql`select count(distinct id)::int as ids from storage.objects where bucket_id = ${bucket}`
    expect(row).toEqual({ ids: 2 })
  })
})

describe('bytes in the database', () => {
  it('stay as long as a version has them', async () => {
    const version = await prepare({ status: 'ENABLED' }, 'inline')
    await overwrite('a')
    expect(await inlineBytes(version)).toBe(1)
    await sql`delete from storage.object_versions where bucket_id = ${bucket}`
    expect(await inlineBytes(version)).toBe(0)
    expect(await isListed(version)).toBe(false)
  })

  it('stay, with the hashes of parts, when all objects are truncated', async () => {
    const kept = await prepare({ status: 'ENABLED' }, 'inline')
    await sql`insert into storage.version_parts (version, parts) values (${kept}, '[]')`
    const keeping = bucket
    bucket = `b-${randomUUID()}`
    const gone = await prepare({ status: 'DISABLED' }, 'inline')
    const file = await insert('file')
    await sql`truncate storage.objects`
    expect([await inlineBytes(kept), await inlineBytes(gone), await isListed(file)]).toEqual([1, 0, true])
    expect(await sql`select from storage.version_parts where version = ${kept}`).toHaveLength(1)
    bucket = keeping
    expect(await history('a')).toEqual(['version', 'delete_marker'])
    await sql`truncate storage.object_versions`
    expect(await inlineBytes(kept)).toBe(0)
    expect(await sql`select from storage.version_parts where version = ${kept}`).toEqual([])
  })
})

describe('a bucket', () => {
  it('with nothing but a marker is not empty', async () => {
    await prepare({ status: 'SUSPENDED', isNull: true })
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    await expect(sql`delete from storage.buckets where id = ${bucket}`).rejects.toMatchObject({
      code: '23503',
    })
    await sql`delete from storage.object_versions where bucket_id = ${bucket}`
    await sql`delete from storage.buckets where id = ${bucket}`
  })

  it.each([
    ['DISABLED', 'ENABLED', true],
    ['DISABLED', 'SUSPENDED', false],
    ['ENABLED', 'SUSPENDED', true],
    ['ENABLED', 'DISABLED', false],
    ['SUSPENDED', 'ENABLED', true],
    ['SUSPENDED', 'DISABLED', false],
  ])('goes from %s to %s: %s', async (before, after, goes) => {
    await sql`insert into storage.buckets (id, name, versioning_status) values (${bucket}, ${bucket}, ${before})`
    const change = sql`update storage.buckets set versioning_status = ${after} where id = ${bucket}`.execute()
    if (goes) await change
    else
      await expect(change).rejects.toMatchObject({
        code: 'SR005',
        message: `Cannot transition bucket versioning status from ${before} to ${after}`,
      })
  })

  it('has no other status', async () => {
    const change = sql`insert into storage.buckets (id, name, versioning_status) values (${bucket}, ${bucket}, 'enabled')`
    await expect(change).rejects.toMatchObject({ code: 'SR005' })
  })
})

describe('a version that is locked', () => {
  it.each([
    ['by its bucket', (_: string) => sql`update storage.buckets set retention_days = 1 where id = ${bucket}`],
    [
      'until a day',
      (v: string) => sql`insert into storage.object_locks values (${v}, now() + interval '1 day')`,
    ],
    ['by a hold', (v: string) => sql`insert into storage.object_locks values (${v}, null, true)`],
  ])('%s is removed by nobody', async (_, lock) => {
    const version = await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set object_lock = true, max_versions = 1 where id = ${bucket}`
    await lock(version)
    const purge = (table: string) =>
      sql.begin(async (tx) => {
        await tx`set local storage.deletion = 'purge'`
        await tx.unsafe(`delete from storage.${table} where bucket_id = '${bucket}'`)
      })
    await expect(purge('objects')).rejects.toMatchObject({ code: 'SR006' })
    await overwrite('a') // beyond the number of versions, too
    await expect(purge('object_versions')).rejects.toMatchObject({ code: 'SR006' })
    await expect(sql`truncate storage.object_versions`.execute()).rejects.toMatchObject({ code: 'SR006' })
    await expect(
      sql.begin(async (tx) => {
        await tx`set local role service_role`
        await tx`delete from storage.object_versions where bucket_id = ${bucket}`
      }),
    ).rejects.toMatchObject({ code: 'SR006' })
    await expect(
      sql`update storage.object_versions set version = ${randomUUID()} where bucket_id = ${bucket}`.execute(),
    ).rejects.toMatchObject({ code: '42501' })
    expect(await history('a')).toEqual(['version'])
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    expect(await history('a')).toEqual(['version', 'version', 'delete_marker'])
  })

  it('is locked for as long, whatever times its row is given', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set object_lock = true, retention_days = 1 where id = ${bucket}`
    await sql`update storage.objects set current_since = '2000-01-01' where bucket_id = ${bucket}`
    await sql`
      update storage.objects set version = ${randomUUID()}, version_number = 7, current_since = '2000-01-01'
      where bucket_id = ${bucket}`
    const remove = sql`delete from storage.object_versions where bucket_id = ${bucket}`.execute()
    await expect(remove).rejects.toMatchObject({ code: 'SR006' })
  })

  it('is not let go by its bucket', async () => {
    await prepare({ status: 'ENABLED' })
    await sql`update storage.buckets set object_lock = true, retention_days = 5 where id = ${bucket}`
    for (const change of [
      "versioning_status = 'SUSPENDED'",
      'object_lock = false',
      'retention_days = 4',
      'retention_days = null',
    ])
      await expect(
        sql.unsafe(`update storage.buckets set ${change} where id = '${bucket}'`).execute(),
      ).rejects.toMatchObject({
        code: expect.stringMatching(/^SR00[56]$/),
      })
    await sql`update storage.buckets set retention_days = 6 where id = ${bucket}`
  })
})

/** A bucket with an object `a`, and returns its version. */
async function prepare(
  { status, trashDays = 0, isNull = false }: Setting,
  where?: 'inline',
): Promise<string> {
  const first = isNull || status === 'DISABLED' ? 'DISABLED' : 'ENABLED'
  await sql`
    insert into storage.buckets (id, name, versioning_status, trash_days) values (${bucket}, ${bucket}, ${first}, ${trashDays})`
  const version = await insert('a', where)
  for (const next of ['ENABLED', 'SUSPENDED'].slice(0, status === 'SUSPENDED' ? 2 : 1))
    if (status !== 'DISABLED')
      await sql`update storage.buckets set versioning_status = ${next} where id = ${bucket}`
  return version
}

async function insert(name: string, where?: 'inline'): Promise<string> {
  const version = randomUUID()
  if (where) await sql`insert into storage.inline_bytes (version, bytes) values (${version}, 'x')`
  await sql`
    insert into storage.objects (bucket_id, name, version, bytes_bucket)
    values (${bucket}, ${name}, ${version}, ${where ? '00000000-0000-0000-0000-000000000000' : null})`
  return version
}

async function overwrite(name: string): Promise<string> {
  const version = randomUUID()
  await sql`
    update storage.objects set version = ${version}, bytes_bucket = null where bucket_id = ${bucket} and name = ${name}`
  return version
}

/** What is kept of a name, the oldest first. */
async function history(name: string): Promise<string[]> {
  const rows = await sql<{ kind: string; is_versioned: boolean }[]>`
    select kind, is_versioned from storage.object_versions where bucket_id = ${bucket} and name = ${name} order by sequence`
  return rows.map((row) => `${row.kind}${row.is_versioned ? '' : ' null'}`)
}

async function numbers(name: string): Promise<number[]> {
  const rows = await sql<{ version_number: number }[]>`
    select version_number from storage.object_versions where bucket_id = ${bucket} and name = ${name} order by sequence`
  return rows.map((row) => row.version_number)
}

async function live(name: string): Promise<string | undefined> {
  const [row] = await sql`select version from storage.objects where bucket_id = ${bucket} and name = ${name}`
  return row?.version
}

async function isListed(version: string): Promise<boolean> {
  return (await sql`select from storage.removals where version = ${version}`).length > 0
}

async function inlineBytes(version: string): Promise<number> {
  return (await sql`select from storage.inline_bytes where version = ${version}`).length
}
