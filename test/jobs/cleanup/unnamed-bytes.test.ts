import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import { cleanUp, fileOf, isThere, plantFile, repairsOf, uidOf } from '../../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let bucket: string
let uid: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  uid = await uidOf(server, bucket)
})

const upload = async (name: string) =>
  expect((await server.request('POST', `/object/${bucket}/${name}`, { body: name })).status).toBe(201)

describe('the sweep', () => {
  it('removes bytes that nothing names, and no others', async () => {
    await upload('a.txt')
    const orphan = await plantFile(server, uid)
    expect(repairsOf(await cleanUp(server))).toEqual({ unnamedBytes: 1 })
    expect(await isThere(orphan)).toBe(false)
    expect(await isThere(await fileOf(server, bucket, 'a.txt'))).toBe(true)
    expect(repairsOf(await cleanUp(server))).toEqual({})
  })

  it('leaves young ones alone: somebody may be about to name them', async () => {
    const young = await plantFile(server, uid, { ageMs: 1000 })
    const old = await plantFile(server, uid, { ageMs: 10 * 60_000 })
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 300_000 } }))).toEqual({ unnamedBytes: 1 })
    expect([await isThere(young), await isThere(old)]).toEqual([true, false])
    await cleanUp(server)
  })

  it('changes nothing in a dry run, and tells what it would do', async () => {
    const orphan = await plantFile(server, uid)
    const report = await cleanUp(server, { dryRun: true })
    expect([report.dryRun, repairsOf(report), await isThere(orphan)]).toEqual([
      true,
      { unnamedBytes: 1 },
      true,
    ])
    await cleanUp(server)
    expect(await isThere(orphan)).toBe(false)
  })

  it('looks into one bucket alone when told so', async () => {
    const other = `b-${randomUUID()}`
    await server.createBucket(other)
    const here = await plantFile(server, uid)
    const there = await plantFile(server, await uidOf(server, other))
    await cleanUp(server, { bucket })
    expect([await isThere(here), await isThere(there)]).toEqual([false, true])
    await cleanUp(server)
  })

  it('says that there is no such bucket', async () => {
    await expect(cleanUp(server, { bucket: 'nowhere' })).rejects.toMatchObject({ code: 'NoSuchBucket' })
  })

  it('makes no more repairs than one pass may, and says that there may be more', async () => {
    for (let i = 0; i < 5; i++) await plantFile(server, uid)
    const first = await cleanUp(server, { settings: { batch: 3 } })
    expect([repairsOf(first), first.isFull]).toEqual([{ unnamedBytes: 3 }, true])
    const second = await cleanUp(server, { settings: { batch: 3 } })
    expect([repairsOf(second), second.isFull]).toEqual([{ unnamedBytes: 2 }, false])
  })

  it('leaves the bytes of a bucket that this database never had', async () => {
    const stranger = randomUUID()
    const file = await plantFile(server, stranger)
    const report = await cleanUp(server)
    expect(report.held).toEqual([{ bucket: stranger, reason: expect.stringContaining('right database') }])
    expect([repairsOf(report), await isThere(file)]).toEqual([{}, true])
  })

  it('stops at a bucket of which nothing names a large part: the database may be an older copy', async () => {
    await upload('a.txt')
    const files: string[] = []
    for (let i = 0; i < 101; i++) files.push(await plantFile(server, uid))
    const report = await cleanUp(server, { settings: { maxShare: 0.1 } })
    expect(report.held).toContainEqual({ bucket: uid, reason: expect.stringContaining('101 of 102 files') })
    expect(report.repairs.unnamedBytes).toBe(0)
    for (const file of files) expect(await isThere(file)).toBe(true)
    expect((await cleanUp(server)).repairs.unnamedBytes).toBe(101)
  })

  it('removes what a deleted bucket has left, and its folders', async () => {
    await upload('a.txt')
    await server.request('DELETE', `/object/${bucket}/a.txt`)
    expect((await server.request('DELETE', `/bucket/${bucket}`)).status).toBe(200)
    const orphan = await plantFile(server, uid)
    const report = await cleanUp(server)
    expect(repairsOf(report)).toMatchObject({ unnamedBytes: 1, folders: 1 })
    expect(await isThere(orphan)).toBe(false)
    expect(await readdir(join(server.dataDir, 'objects'))).not.toContain(uid)
  })

  it('keeps the bytes of an object that was moved out of a bucket that is no more', async () => {
    const target = `b-${randomUUID()}`
    await server.createBucket(target)
    await upload('a.txt')
    const moved = await server.request('POST', '/object/move', {
      body: { bucketId: bucket, sourceKey: 'a.txt', destinationBucket: target, destinationKey: 'b.txt' },
    })
    expect(moved.status).toBe(200)
    expect((await server.request('DELETE', `/bucket/${bucket}`)).status).toBe(200)
    const report = await cleanUp(server)
    expect([report.repairs.unnamedBytes, report.repairs.folders]).toEqual([0, 0])
    expect(await (await server.request('GET', `/object/${target}/b.txt`)).text()).toBe('a.txt')
  })

  it('keeps what a row names: where it says, or wherever it is while it says nothing', async () => {
    await upload('a.txt')
    const file = await fileOf(server, bucket, 'a.txt')
    const version = String(file.split('/').at(-1))
    const other = `b-${randomUUID()}`
    await server.createBucket(other)
    // Somebody has brought the row to another bucket with SQL, and has still to say where its bytes are.
    await server.admin`
      insert into storage.objects (bucket_id, name, version, metadata)
      select ${other}, name, version, metadata from storage.objects where bucket_id = ${bucket}`
    await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    expect(repairsOf(await cleanUp(server))).toEqual({ missing: 1 })
    await server.admin`update storage.objects set bytes_bucket = ${uid} where bucket_id = ${other}`
    const elsewhere = await plantFile(server, await uidOf(server, other), { version })
    expect(repairsOf(await cleanUp(server))).toEqual({ unnamedBytes: 1, released: 1 })
    expect([await isThere(file), await isThere(elsewhere)]).toEqual([true, false])
    expect(await (await server.request('GET', `/object/${other}/a.txt`)).text()).toBe('a.txt')
  })

  it('never takes the bytes of a small upload whose transaction is still open', async () => {
    // Holds the upload's transaction open after its bytes are written: the trigger waits at the commit.
    const lock = 4711
    await server.admin.unsafe(`
      create function public.wait_at_commit() returns trigger language plpgsql as $$
      begin
        perform pg_advisory_xact_lock(${lock});
        return null;
      end $$;
      create constraint trigger wait_at_commit after insert on storage.objects deferrable initially deferred
        for each row when (new.name = 'held.txt') execute function public.wait_at_commit();
      -- The question is there for less than a thousandth of a second, ten times a second.
      create function public.sweep_asks() returns boolean language plpgsql as $$
      begin
        for i in 1..1000 loop
          perform pg_stat_clear_snapshot();
          if exists (select from pg_stat_activity
            where query like '%pg_snapshot_xmin%' and pid <> pg_backend_pid()) then
            return true;
          end if;
        end loop;
        return false;
      end $$`)
    const holder = await server.admin.reserve()
    try {
      await holder`select pg_advisory_lock(${lock})`
      const before = (await server.storedFiles()).length
      const answer = server.request('POST', `/object/${bucket}/held.txt`, { body: 'still mine' })
      await until(async () => (await server.storedFiles()).length > before, 'the bytes are written')
      let isDone = false
      const pass = cleanUp(server).finally(() => {
        isDone = true
      })
      const asks = async () => {
        const [row] = await server.admin`select public.sweep_asks() as asks`
        return row?.asks || isDone
      }
      await until(asks, 'the sweep waits for the open transaction')
      expect(isDone).toBe(false)
      await holder`select pg_advisory_unlock(${lock})`
      expect((await answer).status).toBe(201)
      expect(repairsOf(await pass)).toEqual({})
      expect(await (await server.request('GET', `/object/${bucket}/held.txt`)).text()).toBe('still mine')
    } finally {
      await holder`select pg_advisory_unlock_all()`
      holder.release()
      await server.admin.unsafe(
        `drop trigger wait_at_commit on storage.objects;
        drop function public.wait_at_commit(), public.sweep_asks()`,
      )
    }
  })
})

describe('two cleanups at once', () => {
  it('take turns: one works, the other says that it has done nothing', async () => {
    await plantFile(server, uid)
    const { OrphanCleanup } = await import('../../../src/jobs/orphan-cleanup.ts')
    const logger = { warn() {}, error() {}, info() {} } as never
    const backend = new LocalBackend({ root: server.dataDir, fsync: false })
    const settings = { graceMs: 0, batch: 1000, maxShare: 1, eventsKeptMs: 86_400_000 }
    const cleanup = new OrphanCleanup({ ...settings, database: server.database, backend, logger })
    const reports = await Promise.all([cleanup.pass(), cleanup.pass()])
    const made = reports.filter((report) => report !== null)
    expect(made.length).toBeGreaterThanOrEqual(1)
    expect(made.reduce((sum, report) => sum + report.repairs.unnamedBytes, 0)).toBe(1)
  })
})
