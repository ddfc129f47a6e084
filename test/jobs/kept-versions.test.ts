import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { readUsage } from '../../src/database/queries/metrics.ts'
import { BackendMove } from '../../src/jobs/backend-move.ts'
import { InlineMove, type Way } from '../../src/jobs/inline-move.ts'
import { Scrub } from '../../src/jobs/scrub.ts'
import { INLINE_BUCKET, type Location } from '../../src/model/location.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { cleanUp, isThere, pathOf, repairsOf } from '../support/cleanup.ts'
import { IN_FILES, type Served, startTestServer, type TestServer } from '../support/server.ts'

/** What was there before is bytes that stay, wherever somebody looks for what is not needed (decision 0070). */

let server: TestServer
/** Keeps small objects in the database. */
let inside: Served
let local: LocalBackend
let backend: InlineBackend
/** Keeps versions. */
let bucket: string
/** Keeps none, and has a trash. */
let withTrash: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
  inside = await server.beside({ STORAGE_INLINE_SIZE: '16384' })
  local = new LocalBackend({ root: server.dataDir, fsync: false })
  backend = new InlineBackend(local, server.database)
})
afterAll(async () => {
  await inside.close()
  await server.close()
})
beforeEach(async () => {
  await server.admin`delete from storage.objects`
  await server.admin`delete from storage.object_versions`
  await cleanUp(server)
  bucket = `versions-${randomUUID()}`
  withTrash = `trash-${randomUUID()}`
  await server.createBucket(bucket)
  await server.createBucket(withTrash)
  await server.admin`update storage.buckets set versioning_status = 'ENABLED' where id = ${bucket}`
  await server.admin`update storage.buckets set trash_days = 7 where id = ${withTrash}`
})

const logger = pino({ level: 'silent' })
const NEVER = new AbortController().signal

/** One that was overwritten, one that was deleted, and one in the trash: five rows, three of them of what was there before. */
async function makeHistory(by: Served = server): Promise<void> {
  const put = async (path: string, body: string) =>
    expect((await by.request('PUT', `/object/${path}`, { body })).ok).toBe(true)
  await put(`${bucket}/overwritten.txt`, 'as it was')
  await put(`${bucket}/overwritten.txt`, 'as it is now')
  await put(`${bucket}/deleted.txt`, 'deleted')
  await put(`${withTrash}/thrown-away.txt`, 'thrown away')
  await put(`${withTrash}/there.txt`, 'there')
  expect((await by.request('DELETE', `/object/${bucket}/deleted.txt`)).ok).toBe(true)
  expect((await by.request('DELETE', `/object/${withTrash}/thrown-away.txt`)).ok).toBe(true)
}

interface Kept {
  name: string
  at: Location
  checksum: string | null
  reason: string | null
}

/** What the rows of what was there before say, by name. */
async function kept(): Promise<Kept[]> {
  const rows = await server.admin`
    select name, version, bytes_bucket as bucket, checksum, quarantine_reason as reason from storage.object_versions
    where not is_delete_marker order by name`
  return rows.map(({ name, version, bucket, checksum, reason }) => ({
    name,
    at: { bucket, version },
    checksum,
    reason,
  }))
}

async function version(name: string): Promise<Kept> {
  const found = (await kept()).find((one) => one.name === name)
  if (!found) throw new Error(`nothing is kept of ${name}`)
  return found
}

const fileOf = ({ at }: Kept) => pathOf(server, at.bucket, at.version)
const marks = async () =>
  (await kept()).flatMap(({ name, reason }) => (reason === null ? [] : [[name, reason]]))

/** That all three have their bytes, there where their rows say. */
async function expectAllKept(from: LocalBackend | InlineBackend = backend): Promise<void> {
  const found = await kept()
  expect(found.map(({ name }) => name)).toEqual(['deleted.txt', 'overwritten.txt', 'thrown-away.txt'])
  for (const { at, checksum } of found) {
    const bytes = await from.readWhole(at, (await from.size(at)) ?? -1)
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(checksum)
  }
}

describe('the cleanup', () => {
  it.each(['files', 'the database'])(
    'takes nothing for unnamed that was there before, in %s',
    async (place) => {
      await makeHistory(place === 'files' ? server : inside)
      expect(repairsOf(await cleanUp(server))).toEqual({})
      await expectAllKept()
    },
  )

  it('strikes off a removal of what was there before', async () => {
    await makeHistory()
    for (const { at } of await kept()) {
      await server.admin`insert into storage.removals (version, bucket_uid) values (${at.version}, ${at.bucket})`
    }
    await cleanUp(server)
    await expectAllKept()
    expect(await server.admin`select from storage.removals`).toHaveLength(0)
  })

  it('removes the bytes of what is there before no more', async () => {
    await makeHistory()
    const files = (await kept()).map(fileOf)
    await server.admin`delete from storage.object_versions`
    expect(await Promise.all(files.map(isThere))).toEqual([true, true, true])
    expect(repairsOf(await cleanUp(server))).toEqual({ removal: 3 })
    expect(await Promise.all(files.map(isThere))).toEqual([false, false, false])
  })

  it('marks what was there before and has lost its bytes, and forgets it later', async () => {
    await makeHistory()
    for (const name of ['overwritten.txt', 'thrown-away.txt']) await rm(fileOf(await version(name)))
    expect(repairsOf(await cleanUp(server))).toEqual({ missing: 2 })
    expect(await marks()).toEqual([
      ['overwritten.txt', 'missing'],
      ['thrown-away.txt', 'missing'],
    ])
    expect(repairsOf(await cleanUp(server))).toEqual({ deleted: 2 })
    expect((await kept()).map(({ name }) => name)).toEqual(['deleted.txt'])
    expect(await server.admin`select from storage.removals`).toHaveLength(0)
  })

  it('keeps the versions before an object that has lost its bytes, under a marker', async () => {
    await makeHistory()
    const [row] = await server.admin`
      select bytes_bucket as uid, version from storage.objects where name = 'overwritten.txt'`
    await rm(pathOf(server, String(row?.uid), String(row?.version)))
    expect(repairsOf(await cleanUp(server))).toEqual({ missing: 1 })
    expect(repairsOf(await cleanUp(server))).toEqual({ deleted: 1 })
    await expectAllKept()
    const rows = await server.admin`
      select kind from storage.object_versions where name = 'overwritten.txt' order by sequence`
    expect(rows.map(({ kind }) => kind)).toEqual(['version', 'delete_marker'])
  })

  it('forgets nothing that is locked', async () => {
    await server.admin`update storage.buckets set object_lock = true, retention_days = 1 where id = ${bucket}`
    await makeHistory()
    for (const name of ['overwritten.txt', 'thrown-away.txt']) await rm(fileOf(await version(name)))
    await cleanUp(server)
    expect(repairsOf(await cleanUp(server))).toEqual({ deleted: 1 })
    expect(await marks()).toEqual([['overwritten.txt', 'missing']])
    await server.admin`update storage.object_versions set quarantine_reason = null`
    await server.admin`alter table storage.buckets disable trigger user`
    await server.admin`update storage.buckets set object_lock = false`
    await server.admin`alter table storage.buckets enable trigger user`
  })
})

describe('the scrub', () => {
  const scrub = async () => {
    const job = new Scrub({ database: server.database, backend, logger })
    const state = await job.run({ rate: Number.POSITIVE_INFINITY, signal: NEVER })
    if (state === null) throw new Error('somebody else is scrubbing')
    return state
  }

  it('reads what was there before, too', async () => {
    await makeHistory()
    expect(await scrub()).toMatchObject({ checked: 5, total: 5, corrupted: 0, missing: 0, isFinished: true })
  })

  it('marks what is damaged of it, and takes the mark away when it is whole again', async () => {
    await makeHistory()
    const file = fileOf(await version('overwritten.txt'))
    const whole = await readFile(file)
    await writeFile(file, 'as it wos')
    expect(await scrub()).toMatchObject({ checked: 5, corrupted: 1 })
    expect(await marks()).toEqual([['overwritten.txt', 'corrupted']])
    expect((await server.request('GET', `/object/${bucket}/overwritten.txt`)).status).toBe(200)
    await writeFile(file, whole)
    expect(await scrub()).toMatchObject({ corrupted: 0 })
    expect(await marks()).toEqual([])
  })

  it('finds the whole hash of what came in parts', async () => {
    await makeHistory()
    const { at, checksum } = await version('deleted.txt')
    const parts = [{ size: 7, sha256: checksum }]
    await server.admin`insert into storage.version_parts (version, parts) values (${at.version}, ${JSON.stringify(parts)}::text::jsonb)`
    await server.admin`update storage.object_versions set checksum = null where version = ${at.version}`
    expect(await scrub()).toMatchObject({ corrupted: 0 })
    expect((await version('deleted.txt')).checksum).toBe(checksum)
    expect(await server.admin`select from storage.version_parts`).toHaveLength(0)
  })

  it('goes on behind the version at which it was interrupted', async () => {
    await makeHistory()
    const interrupting = new AbortController()
    const job = new Scrub({ database: server.database, backend, logger })
    const stop = ({ checked }: { checked: number }) => checked === 4 && interrupting.abort()
    await job.run({ rate: Number.POSITIVE_INFINITY, signal: interrupting.signal, onProgress: stop })
    expect(await scrub()).toMatchObject({ checked: 5, total: 5, isFinished: true })
  })
})

describe('the move to another backend', () => {
  it('brings the bytes of what was there before along', async () => {
    const elsewhere = await mkdtemp(join(tmpdir(), 'strongroom-move-'))
    const target = new LocalBackend({ root: elsewhere, fsync: false })
    await makeHistory()
    const { database } = server
    const job = new BackendMove({
      database,
      source: local,
      target,
      direction: { source: 'here', target: 'there' },
      logger,
    })
    const report = await job.run({ parallel: 2, signal: NEVER })
    expect(report).toMatchObject({
      ending: 'complete',
      failures: { count: 0 },
      state: { copied: 5, total: 5 },
    })
    await expectAllKept(target)
    await rm(elsewhere, { recursive: true })
  })
})

describe('the move into the database, and out of it', () => {
  const move = async (way: Way) => {
    const job = new InlineMove({ database: server.database, backend: local, inlineSize: 16_384, logger })
    return job.run(way, { rate: Number.POSITIVE_INFINITY, signal: NEVER, waitMs: 20_000 })
  }

  it('brings the bytes of what was there before along', async () => {
    await makeHistory()
    const places = async () => new Set((await kept()).map(({ at }) => at.bucket === INLINE_BUCKET))
    expect(await move('in')).toMatchObject({ moved: 5, left: 0, failures: { count: 0 } })
    expect(await places()).toEqual(new Set([true]))
    await expectAllKept()
    expect(await move('out')).toMatchObject({ moved: 5, left: 0, failures: { count: 0 } })
    expect(await places()).toEqual(new Set([false]))
    await expectAllKept(local)
    expect(await server.admin`select from storage.inline_bytes`).toHaveLength(0)
    expect(repairsOf(await cleanUp(server))).toEqual({})
  })

  it('leaves bytes in the database that somebody has archived while they were brought out', async () => {
    await makeHistory(inside)
    const { at } = await version('overwritten.txt')
    // Of the same bytes there are two rows, one of which a trigger keeps as it was.
    await server.admin.unsafe(`
      create function public.keeps() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger keeps before update on storage.object_versions for each row
        when (old.name = 'overwritten.txt') execute function public.keeps()`)
    try {
      expect(await move('out')).toMatchObject({ moved: 4, left: 1 })
    } finally {
      await server.admin.unsafe('drop function public.keeps() cascade')
    }
    expect((await version('overwritten.txt')).at).toEqual(at)
    await expectAllKept()
  })
})

describe('a row that plain SQL copies from what was there before', () => {
  it('has its bytes in the database, too', async () => {
    await makeHistory(inside)
    const { at } = await version('deleted.txt')
    await server.admin`
      insert into storage.objects (bucket_id, name, version, metadata)
      select bucket_id, 'copy.txt', version, object_row -> 'metadata' from storage.object_versions
      where version = ${at.version}`
    const answer = await server.request('GET', `/object/${bucket}/copy.txt`)
    expect([answer.status, await answer.text()]).toEqual([200, 'deleted'])
  })
})

describe('the usage of a bucket', () => {
  it('tells of what was there before apart', async () => {
    await makeHistory()
    const usage = await readUsage(server.database, 1000)
    expect(usage.find((one) => one.bucket === bucket)).toEqual({
      bucket,
      ...{ objects: 1, size: 12, versions: 2, versionSize: 16, trashSize: 0 },
    })
    expect(usage.find((one) => one.bucket === withTrash)).toEqual({
      bucket: withTrash,
      ...{ objects: 1, size: 5, versions: 1, versionSize: 11, trashSize: 11 },
    })
  })
})
