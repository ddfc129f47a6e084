import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openSnapshot, type Snapshot, type SnapshotOptions } from '../../../src/database/dump/snapshot.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

const INLINE = '00000000-0000-0000-0000-000000000000'

let made: TestDatabase
beforeAll(async () => {
  made = await createTestDatabase()
})
afterAll(() => made.drop())

async function snapshot(purpose: SnapshotOptions['for'] = 'backup'): Promise<Snapshot> {
  const opened = await openSnapshot(made.database, { for: purpose })
  onTestFinished(() => opened.close())
  return opened
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = []
  for await (const value of values) result.push(value)
  return result
}

const parsed = async (lines: AsyncIterable<string>) =>
  (await all(lines)).map((line) => JSON.parse(line) as Record<string, unknown>)

async function newBucket(id = `b-${randomUUID()}`): Promise<{ id: string; uid: string }> {
  const [row] = await made.admin`insert into storage.buckets (id, name) values (${id}, ${id}) returning uid`
  return { id, uid: String(row?.uid) }
}

describe('the rows of a snapshot', () => {
  it('are those of its moment, whatever is committed while they are read', async () => {
    const bucket = await newBucket()
    const opened = await snapshot()
    await made.admin`insert into storage.objects (bucket_id, name) values (${bucket.id}, 'later')`
    await made.admin`update storage.buckets set name = 'renamed' where id = ${bucket.id}`
    const buckets = await parsed(opened.rows('buckets'))
    expect(buckets.find(({ id }) => id === bucket.id)).toMatchObject({ name: bucket.id, uid: bucket.uid })
    expect((await parsed(opened.rows('objects'))).filter((row) => row.bucket_id === bucket.id)).toEqual([])
    const [row] = await made.admin`
      select ${opened.moment}::timestamptz < clock_timestamp() and ${opened.moment}::timestamptz > now() - interval '1 hour' as recent`
    expect(opened.moment).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    expect(row?.recent).toBe(true)
  })

  it('are exact: microseconds, numbers of any length, and each character', async () => {
    const { id: bucket } = await newBucket()
    const name = 'a "b"\\ \t\u0001 – 图\u{1f600}\n'
    const numbers = '{"n": 12345678901234567890.123456789, "e": 1e-7}'
    await made.admin`
      insert into storage.objects (bucket_id, name, created_at, metadata, tags) values (
        ${bucket}, ${name}, '2026-01-02 03:04:05.678901+02', ${numbers}, ${['x,y', '"', '{}']})`
    await made.admin`update storage.buckets set file_size_limit = 9223372036854775807 where id = ${bucket}`
    const opened = await snapshot()
    const lines = await all(opened.rows('objects'))
    const line = lines.find((candidate) => candidate.includes(bucket)) ?? ''
    expect(line).not.toMatch(/[\n\t]/)
    expect(line).toContain('12345678901234567890.123456789')
    expect(JSON.parse(line)).toMatchObject({
      name,
      created_at: '2026-01-02T01:04:05.678901+00:00',
      tags: ['x,y', '"', '{}'],
    })
    const buckets = await all(opened.rows('buckets'))
    expect(buckets.find((candidate) => candidate.includes(bucket))).toContain('9223372036854775807')
  })

  it('are sorted by primary key, byte by byte, and have no column that another database makes itself', async () => {
    for (const id of ['B-1', 'a-1', 'a_1', 'a-']) await newBucket(id)
    const opened = await snapshot()
    const ids = (await parsed(opened.rows('buckets'))).map(({ id }) => String(id))
    expect(ids).toEqual([...ids].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
    const [object] = await parsed(opened.rows('objects'))
    expect(object).toHaveProperty('checksum')
    expect(object).not.toHaveProperty('path_tokens')
    expect(object).not.toHaveProperty('folded_name')
  })

  it('have secrets only with keys, and what has been handed out only in a move', async () => {
    await made.admin`
      insert into storage.webhooks (id, url, secret, events, format, allow_private, source, revision) values
        (gen_random_uuid(), 'https://example.com/', 'whsec_hush', '{}', 'standard', false, 'api', gen_random_uuid())`
    const backup = await snapshot()
    expect(backup.tables).toContain('webhooks')
    expect(backup.tables).not.toContain('credentials')
    expect(backup.tables).not.toContain('events')
    expect((await all(backup.rows('webhooks'))).join()).not.toContain('hush')
    expect(() => backup.rows('credentials')).toThrow()

    const withKeys = await snapshot('backup with keys')
    expect(withKeys.tables).toContain('credentials')
    expect((await all(withKeys.rows('webhooks'))).join()).toContain('whsec_hush')

    const move = await snapshot('move')
    expect(move.tables).toEqual(expect.arrayContaining(['events', 'event_sinks', 'uploads', 'removals']))
    expect(move.tables).not.toContain('strongroom_migrations')
  })

  it('may be left before their end, and read by turns', async () => {
    const { id: bucket } = await newBucket()
    await made.admin`
      insert into storage.objects (bucket_id, name) select ${bucket}, i::text from generate_series(1, 5000) i`
    const opened = await snapshot()
    for await (const line of opened.rows('objects')) {
      expect(line).toContain('"id"')
      break
    }
    const objects = opened.rows('objects')[Symbol.asyncIterator]()
    const buckets = opened.rows('buckets')[Symbol.asyncIterator]()
    let count = 0
    for (let next = await objects.next(); !next.done; next = await objects.next()) {
      if (count++ % 1000 === 0) await buckets.next()
    }
    expect(count).toBe(await opened.count('objects'))
  })

  it('are not read in another session once the snapshot is lost', async () => {
    const opened = await snapshot()
    const rows = opened.rows('objects')[Symbol.asyncIterator]()
    await rows.next()
    // It may be at work on the next rows yet.
    await until(async () => {
      const ended = await made.admin`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and backend_xmin is not null and pid <> pg_backend_pid()
          and state = 'idle in transaction'`
      return ended.length > 0
    }, 'the session of the snapshot is ended')
    await expect(opened.count('buckets')).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
    await expect(all(opened.versions())).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
  })
})

describe('the versions of a snapshot', () => {
  it('are those of objects and those to be removed, each once, sorted, with where their bytes are', async () => {
    const bucket = await newBucket()
    const [one = '', two = '', inline = '', removed = ''] = Array.from({ length: 4 }, () => randomUUID())
    const checksum = 'ab'.repeat(32)
    const insert = (name: string, version: string | null, size: unknown, bytesBucket: string | null = null) =>
      made.admin`
        insert into storage.objects (bucket_id, name, version, metadata, checksum, bytes_bucket)
        values (${bucket.id}, ${name}, ${version}, ${JSON.stringify({ size })}, ${checksum}, ${bytesBucket})`
    await made.admin`insert into storage.inline_bytes (version, bytes) values (${inline}, ${Buffer.from('hi')})`
    await insert('one', one, 11)
    await insert('two', two, 22, randomUUID())
    await insert('copied row', two, 22, randomUUID())
    await insert('inline', inline, 2, INLINE)
    await insert('by plain SQL', 'v1', 'large')
    await insert('without', null, 1)
    await made.admin`insert into storage.removals (version, bucket_uid) values (${removed}, ${bucket.uid}), (${one}, ${bucket.uid})`

    const opened = await snapshot()
    const found = await all(opened.versions())
    const versions = found.map(({ version }) => version)
    expect(versions).toEqual([...new Set(versions)].sort())
    const of = (version: string) => found.find((row) => row.version === version)
    expect(of(one)).toEqual({
      version: one,
      bucket: bucket.uid,
      checksum,
      size: 11,
      isInline: false,
      object: `${bucket.id}/one`,
    })
    expect(of(two)).toMatchObject({ size: 22, isInline: false })
    expect(of(inline)).toMatchObject({ bucket: INLINE, isInline: true, size: 2 })
    expect(of(removed)).toEqual({
      version: removed,
      bucket: bucket.uid,
      checksum: null,
      size: null,
      isInline: false,
      object: null,
    })

    // Those of the moment, though they are gone by now.
    await made.admin`delete from storage.inline_bytes where version = ${inline}`
    const bytes = await all(opened.inlineBytes([one, inline, removed]))
    expect(bytes).toEqual([{ version: inline, bytes: expect.anything() }])
    expect(Buffer.from(bytes[0]?.bytes ?? []).toString()).toBe('hi')
  })
})

describe('a database whose policies bind the service', () => {
  it('is not read in part', async () => {
    const bound = await createTestDatabase()
    onTestFinished(() => bound.drop())
    // The role is the cluster's: it has to have its right again for all others.
    const [role] =
      await bound.admin`select rolbypassrls as bypasses from pg_roles where rolname = 'service_role'`
    if (role?.bypasses) {
      await bound.admin`
        create policy hides on storage.objects as restrictive to public using (false)`
      const opened = await openSnapshot(bound.database, { for: 'backup' })
      onTestFinished(() => opened.close())
      expect(await opened.count('objects')).toBe(0)
    } else {
      await bound.admin`create policy hides on storage.objects as restrictive to public using (false)`
      await expect(openSnapshot(bound.database, { for: 'backup' })).rejects.toThrow(
        /hides on storage\.objects/,
      )
    }
  })
})
