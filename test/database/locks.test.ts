import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** Locks where several are at work at the same moment, and when they are over (docs/versions.md, "Locks"). */

let made: TestDatabase
let sql: TestDatabase['admin']
let bucket: string
let version: string
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  sql = made.admin
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  version = randomUUID()
  await sql`
    insert into storage.buckets (id, name, versioning_status, object_lock) values (${bucket}, ${bucket}, 'ENABLED', true)`
  await sql`insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', ${version})`
})
afterAll(() => made.drop())

const isThere = async () =>
  (
    await sql`
    select from storage.objects where version = ${version} union all
    select from storage.object_versions where version = ${version}`
  ).length > 0

describe('who removes a version that is just being locked', () => {
  it.each([
    ['that is there', 'objects'],
    ['that was there', 'object_versions'],
  ])('%s, waits, and does not', async (_, table) => {
    if (table === 'object_versions')
      await sql`update storage.objects set version = ${randomUUID()} where bucket_id = ${bucket}`
    const [locking, removing] = await Promise.all([sql.reserve(), sql.reserve()])
    try {
      await locking`begin`
      await locking`select storage.write_lock(${version}, null, true)`
      const [{ pid } = { pid: 0 }] = await removing<{ pid: number }[]>`select pg_backend_pid() as pid`
      await removing`set storage.deletion = 'purge'`
      const removal = removing.unsafe(`delete from storage.${table} where bucket_id = '${bucket}'`).execute()
      const outcome = removal.then(
        () => 'removed',
        (error: { code: string }) => error.code,
      )
      for (;;) {
        const [row] = await locking`select cardinality(pg_blocking_pids(${pid})) as blockers`
        if (row?.blockers === 1) break
      }
      await locking`commit`
      expect(await outcome).toBe('SR006')
    } finally {
      await removing`reset storage.deletion`
      locking.release()
      removing.release()
    }
    expect(await isThere()).toBe(true)
  })

  it('does not by what the database was before, either', async () => {
    const removing = await sql.reserve()
    try {
      await removing`begin isolation level repeatable read`
      await removing`select from storage.object_locks` // from here on it sees nothing new
      await sql`select storage.write_lock(${version}, now() + interval '1 day', null)`
      await removing`set local storage.deletion = 'purge'`
      const removal = removing`delete from storage.objects where bucket_id = ${bucket}`.execute()
      await expect(removal).rejects.toMatchObject({ code: 'SR006' })
    } finally {
      await removing`rollback`
      removing.release()
    }
    expect(await isThere()).toBe(true)
  })
})

describe('a lock that was lifted', () => {
  it('is the bucket’s, too, until the version is locked anew', async () => {
    await sql`update storage.buckets set retention_days = 3 where id = ${bucket}`
    const lockOf = async () => {
      const [row] = await sql`
        select storage.lock_of(bucket_id, version, current_since) as lock from storage.objects where bucket_id = ${bucket}`
      return row?.lock
    }
    expect(await lockOf()).toBe('retention')
    await expect(
      sql`select storage.lift_lock(${bucket}, 'a', ${version}, '')`.execute(),
    ).rejects.toMatchObject({
      code: '22023',
    })
    await sql`select storage.lift_lock(${bucket}, 'a', ${version}, 'because')`
    expect(await lockOf()).toBeNull()
    await sql`select storage.write_lock(${version}, now() + interval '1 hour', null)`
    expect(await lockOf()).toBe('retention')
    await sql`update storage.object_locks set retain_until = now() where version = ${version}`
    expect(await lockOf()).toBe('retention')
  })
})

describe('a lock that is over', () => {
  it('is forgotten once its version is gone, and one that holds never is', async () => {
    await sql`select storage.write_lock(${version}, now() + interval '1 hour', null)`
    const [gone, held] = [randomUUID(), randomUUID()]
    await sql`
      insert into storage.object_locks (version, retain_until, legal_hold)
      values (${gone}, now() - interval '1 hour', false), (${held}, null, true)`
    await sql`update storage.object_locks set retain_until = now() - interval '1 hour' where version = ${version}`
    await sql`select storage.drop_spent_locks(100)`
    const left =
      await sql`select version from storage.object_locks where version in (${version}, ${gone}, ${held})`
    expect(left.map((row) => row.version).sort()).toEqual([version, held].sort())
  })
})
