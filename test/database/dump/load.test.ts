import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest'
import postgres from '#postgres'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { load, type OnConflict, refuseNewer } from '../../../src/database/dump/load.ts'
import { openSnapshot } from '../../../src/database/dump/snapshot.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

const INLINE = '00000000-0000-0000-0000-000000000000'

let source: TestDatabase
beforeAll(async () => {
  source = await createTestDatabase()
})
afterAll(() => source.drop())

async function newTarget(): Promise<TestDatabase> {
  const target = await createTestDatabase()
  onTestFinished(() => target.drop())
  return target
}

/** As who owns the tables, superuser or not. */
function asOwner({ name }: TestDatabase): Database {
  const { host, port, superuser, owner = superuser } = inject('postgres')
  const opened = openDatabase({ host, port, database: name, username: owner }, { connections: 1 })
  onTestFinished(() => opened.close())
  return opened
}

/** The same as a command has it: a session of the driver's alone. */
function asOwnerAlone({ name }: TestDatabase): postgres.Sql {
  const { host, port, superuser, owner = superuser } = inject('postgres')
  const sql = postgres({ host, port, database: name, username: owner, pass: '', ssl: false, max: 1 })
  onTestFinished(() => sql.end({ timeout: 1 }))
  return sql
}

/** All that a move takes along, table by table. */
async function dump(database: Database): Promise<Record<string, string[]>> {
  const snapshot = await openSnapshot(database, { for: 'move' })
  const rows: Record<string, string[]> = {}
  for (const table of snapshot.tables) {
    rows[table] = []
    for await (const line of snapshot.rows(table)) rows[table].push(line)
  }
  await snapshot.close()
  return rows
}

interface Put {
  bucket: string
  name: string
  version?: string
  id?: string
  updatedAt?: string
  bytes?: string
}

async function put({ admin }: TestDatabase, object: Put): Promise<string> {
  const { bucket, name, version = randomUUID(), id = randomUUID(), bytes } = object
  const { updatedAt = '2020-05-06 07:08:09.123456+00' } = object
  if (bytes !== undefined) {
    await admin`insert into storage.inline_bytes (version, bytes) values (${version}, ${Buffer.from(bytes)})`
  }
  await admin`
    insert into storage.objects (id, bucket_id, name, version, bytes_bucket, updated_at, metadata, tags, quarantine_reason)
    values (${id}, ${bucket}, ${name}, ${version}, ${bytes === undefined ? randomUUID() : INLINE}, ${updatedAt},
      '{"size": 3, "n": 1.50}', ${['a', 'b,"c']}, null)`
  return version
}

const bucketIn = ({ admin }: TestDatabase, id: string) =>
  admin`insert into storage.buckets (id, name, policy) values (${id}, ${id}, 'public')`

const write = (
  target: Pick<Database, 'sql'>,
  table: string,
  lines: object[],
  { onConflict = 'refuse' as OnConflict, isServed = false } = {},
) =>
  load(target.sql, { isServed }, (into) =>
    into.rows(
      table,
      lines.map((line) => JSON.stringify(line)),
      onConflict,
    ),
  )

describe('rows that go into an empty database', () => {
  it('are the same there, in each table, and nothing has happened', async () => {
    await bucketIn(source, 'full')
    for (let i = 0; i < 30; i++) await put(source, { bucket: 'full', name: `ä ${i}`, bytes: `inline ${i}` })
    await source.admin`
      insert into storage.objects (bucket_id, name, user_metadata)
      select 'full', 'many/' || i, jsonb_build_object('long', repeat('x', 2000)) from generate_series(1, 2500) i`
    await source.admin`delete from storage.objects where name = 'many/7'`
    await source.admin`select storage.order_events()`
    await source.admin`insert into storage.event_sinks (name, position) values ('nats', 7)`
    await source.admin`insert into storage.removals (version, bucket_uid) values (gen_random_uuid(), gen_random_uuid())`
    const before = await dump(source.database)

    const target = await newTarget()
    const [triggers] = await source.admin`select count(*) from pg_trigger where tgenabled = 'O'`
    await load(asOwner(target).sql, { isServed: false }, async (into) => {
      await into.sql`delete from storage.event_order` // what a migration begins with
      for (const [table, lines] of Object.entries(before)) {
        expect(await into.rows(table, lines, 'refuse')).toBe(lines.length)
      }
    })
    expect(await dump(target.database)).toEqual(before)
    expect(before.events?.length).toBeGreaterThan(2500)
    expect((await target.admin`select count(*) from pg_trigger where tgenabled = 'O'`)[0]).toEqual(triggers)

    // What happens from then on goes on behind that.
    await bucketIn(target, 'later')
    const [last] = await source.admin`select max(id) as id from storage.events`
    const [event] = await target.admin`select id from storage.events where bucket_id = 'later'`
    expect(BigInt(event?.id)).toBeGreaterThan(BigInt(last?.id))
  })

  it('come through a session of the driver alone, as a command has it, as through a pool', async () => {
    const target = await newTarget()
    const row = { id: 'alone', name: 'alone', policy: 'private' }
    expect(await write({ sql: asOwnerAlone(target) }, 'buckets', [row])).toBe(1)
    expect(await target.admin`select id, name, policy from storage.buckets`).toEqual([row])
  })

  it('are all there or none, and triggers fire again', async () => {
    const target = await newTarget()
    const row = { id: 'twice', name: 'twice', policy: 'private' }
    await expect(write(asOwner(target), 'buckets', [row, row])).rejects.toMatchObject({
      code: 'ResourceAlreadyExists',
    })
    expect(await target.admin`select from storage.buckets`).toEqual([])
    expect(await target.admin`select from pg_trigger where tgenabled <> 'O' and not tgisinternal`).toEqual([])
  })

  it('may be older, and get defaults; newer ones are refused', async () => {
    const target = await newTarget()
    await write(asOwner(target), 'buckets', [{ id: 'old', name: 'old', public: true, policy: 'public' }])
    expect((await target.admin`select type, uid is not null as uid from storage.buckets`)[0]).toEqual({
      type: 'STANDARD',
      uid: true,
    })
    await expect(write(asOwner(target), 'buckets', [{ id: 'new', hue: 'red' }])).rejects.toThrow(
      /a column hue of storage\.buckets.*newer/,
    )
    await expect(write(asOwner(target), 'shelves', [{ id: 'new' }])).rejects.toThrow(
      /a table storage\.shelves/,
    )
    expect(() => refuseNewer('0036_sweeps')).not.toThrow()
    expect(() => refuseNewer('9999_future')).toThrow(/newer/)
  })

  it('are refused to a login that does not own the tables, which says who does', async () => {
    const target = await newTarget()
    const { superuser, owner = superuser, login = 'strongroom_server' } = inject('postgres')
    const writing = write(target.database, 'buckets', [{ id: 'b', name: 'b', policy: 'private' }])
    if (login === owner) await expect(writing).resolves.toBe(1)
    else await expect(writing).rejects.toThrow(new RegExp(`log in as ${owner}`))
  })
})

describe('rows that go into a served database', () => {
  const served = { isServed: true }

  /** What comes about by `work`. */
  async function during({ admin }: TestDatabase, work: () => Promise<unknown>) {
    const [last] = await admin`select coalesce(max(id), 0) as id from storage.events`
    await work()
    const events = await admin`select type, name from storage.events where id > ${last?.id} order by id`
    return events.map(({ type, name }) => `${type} ${name}`)
  }

  it('keep what is there, or take its place with their own times; either is heard of', async () => {
    const target = await newTarget()
    await bucketIn(target, 'b')
    const mine = await put(target, { bucket: 'b', name: 'a' })
    const row = (name: string, version: string) => ({
      id: randomUUID(),
      bucket_id: 'b',
      name,
      version,
      bytes_bucket: randomUUID(),
      updated_at: '2001-02-03T04:05:06.789012+00:00',
      quarantine_reason: null,
    })
    const [old, other] = [row('a', randomUUID()), row('new', randomUUID())]
    const kept = await during(target, async () => {
      expect(await write(target.database, 'objects', [old, other], { ...served, onConflict: 'keep' })).toBe(1)
    })
    expect(kept).toEqual(['storage.object.created new'])
    const replaced = await during(target, async () => {
      const options = { ...served, onConflict: 'replace' as const }
      expect(await write(target.database, 'objects', [old, other], options)).toBe(1)
      expect(await write(target.database, 'objects', [old, other], options)).toBe(0)
    })
    expect(replaced).toEqual(['storage.object.updated a'])
    expect(
      await target.admin`select id, updated_at = ${old.updated_at} as kept from storage.objects where name = 'a'`,
    ).toEqual([{ id: old.id, kept: true }])
    expect(await target.admin`select version from storage.removals`).toEqual([{ version: mine }])
  })

  it('bring an object back that was moved, with its bytes', async () => {
    const target = await newTarget()
    await bucketIn(target, 'b')
    const id = randomUUID()
    const version = await put(target, { bucket: 'b', name: 'before', id, bytes: 'small' })
    const { objects = [] } = await dump(target.database)
    await target.admin`update storage.objects set name = 'after' where id = ${id}`
    const heard = await during(target, () =>
      load(target.database.sql, served, (into) => into.rows('objects', objects, 'replace')),
    )
    expect(heard.sort()).toEqual(['storage.object.created before', 'storage.object.deleted after'])
    expect((await dump(target.database)).objects).toEqual(objects)
    expect(await target.admin`select version from storage.inline_bytes`).toEqual([{ version }])
    expect(await target.admin`select from storage.removals`).toEqual([])
  })

  it('leave a bucket its place of bytes', async () => {
    const target = await newTarget()
    await bucketIn(target, 'b')
    const [before] = await target.admin`select uid from storage.buckets`
    const row = { id: 'b', name: 'b', uid: randomUUID(), policy: 'private', public: false }
    await write(target.database, 'buckets', [row], { ...served, onConflict: 'replace' })
    expect(await target.admin`select uid, policy from storage.buckets`).toEqual([
      { uid: before?.uid, policy: 'private' },
    ])
  })
})

describe('the time of a change', () => {
  it('is not a caller’s to say', async () => {
    const target = await newTarget()
    await bucketIn(target, 'b')
    const version = await put(target, { bucket: 'b', name: 'a' })
    await target.admin.begin(async (tx) => {
      await tx`set local storage.restoring = 'true'`
      await tx`update storage.objects set user_metadata = '{}', updated_at = '1999-01-01' where version = ${version}`
    })
    expect(
      (await target.admin`select updated_at > now() - interval '1 day' as now from storage.objects`)[0],
    ).toEqual({
      now: true,
    })
  })
})
