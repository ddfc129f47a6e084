import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cleanUp, isThere, plantFile, repairsOf, uidOf } from '../../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer({ ...IN_FILES, STORAGE_CLEANUP_GRACE: '500ms' })
})
afterAll(() => server.close())

const uploads = async () => Number((await server.admin`select count(*) from storage.uploads`)[0]?.count)
const removals = async () => Number((await server.admin`select count(*) from storage.removals`)[0]?.count)

/** An upload that sends half of its body and waits. */
async function startUpload(path: string) {
  let send: (bytes: Uint8Array | null) => void = () => {}
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(randomBytes(400_000))
      send = (bytes) => (bytes ? controller.enqueue(bytes) : controller.close())
    },
  })
  const response = server.request('POST', `/object/${path}`, { body })
  await until(async () => (await uploads()) === 1, 'the upload is on the list')
  return { send, response }
}

describe('an upload that nobody finishes', () => {
  it('is given up after the grace period, with its bytes', async () => {
    await server.createBucket('stale')
    const uid = await uidOf(server, 'stale')
    const version = '00000000-0000-4000-8000-000000000001'
    const file = await plantFile(server, uid, { version })
    await server.admin`
      insert into storage.uploads (version, bucket_uid, bucket_id, name, heartbeat_at)
      values (${version}, ${uid}, 'stale', 'a.txt', now() - interval '1 minute')`

    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 120_000 } }))).toEqual({})
    expect(await isThere(file)).toBe(true)

    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 30_000 } }))).toEqual({ staleUpload: 1 })
    expect(await isThere(file)).toBe(false)
    expect([await uploads(), await removals()]).toEqual([0, 0])
  })

  it('is not the one that is still running: its server speaks for it', async () => {
    await server.createBucket('slow')
    const { send, response } = await startUpload('slow/a.bin')
    // Far longer ago than the grace period, had the server not spoken since.
    await server.admin`update storage.uploads set heartbeat_at = now() - interval '1 day'`
    const isFresh = async () => {
      const [row] =
        await server.admin`select now() - heartbeat_at < interval '10 seconds' as fresh from storage.uploads`
      return row?.fresh === true
    }
    await until(isFresh, 'the server has spoken for its upload')
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 10_000 } }))).toEqual({})
    send(randomBytes(1000))
    send(null)
    expect((await response).status).toBe(201)
    expect((await server.request('GET', '/object/slow/a.bin')).status).toBe(200)
    expect(await uploads()).toBe(0)
  })

  it('that comes back after it was given up is told so, and leaves nothing', async () => {
    await server.createBucket('late')
    const before = await server.storedFiles()
    const { send, response } = await startUpload('late/a.bin')
    // A pass at the very moment of a heartbeat finds the entry locked, and leaves it.
    await until(async () => (await cleanUp(server)).repairs.staleUpload === 1, 'it is given up')
    send(null)
    const answer = await response
    expect([answer.status, answer.headers.has('retry-after')]).toEqual([503, true])
    expect(await answer.json()).toMatchObject({ message: expect.stringContaining('send it again') })
    expect((await server.request('GET', '/object/late/a.bin')).status).toBe(404)
    await until(async () => (await server.storedFiles()).length === before.length, 'its bytes are gone')
    expect([await uploads(), await removals()]).toEqual([0, 0])
  })

  it('is left alone in other buckets than the one that is cleaned', async () => {
    await server.createBucket('one')
    await server.createBucket('other')
    for (const [bucket, version] of [
      ['one', '00000000-0000-4000-8000-000000000002'],
      ['other', '00000000-0000-4000-8000-000000000003'],
    ] as const) {
      await server.admin`
        insert into storage.uploads (version, bucket_uid, bucket_id, name)
        values (${version}, ${await uidOf(server, bucket)}, ${bucket}, 'a.txt')`
    }
    expect(repairsOf(await cleanUp(server, { bucket: 'one' }))).toEqual({ staleUpload: 1 })
    expect(await server.admin`select bucket_id from storage.uploads`).toEqual([{ bucket_id: 'other' }])
    await cleanUp(server)
  })
})

describe('a removal', () => {
  it('that could not be done is tried again until the bytes are gone', async () => {
    await server.createBucket('kept')
    const uid = await uidOf(server, 'kept')
    const version = '00000000-0000-4000-8000-000000000004'
    // A version may be a folder of files; a folder in the place of one of those cannot be unlinked, not even by root.
    const path = await plantFile(server, uid, { version })
    await rm(path)
    await mkdir(join(path, 'folder'), { recursive: true })
    await server.admin`insert into storage.removals (version, bucket_uid) values (${version}, ${uid})`

    const failed = await cleanUp(server)
    expect([repairsOf(failed), failed.failures, await removals()]).toEqual([{}, 1, 1])

    await rm(path, { recursive: true })
    await writeFile(path, 'x')
    await chmod(dirname(path), 0o700)
    expect(repairsOf(await cleanUp(server))).toEqual({ removal: 1 })
    expect([await isThere(path), await removals()]).toEqual([false, 0])
  })

  it('leaves bytes alone that a row names, such as one copied with SQL', async () => {
    await server.createBucket('copied')
    await server.request('POST', '/object/copied/a.txt', { body: 'shared' })
    await server.admin`
      insert into storage.removals (version, bucket_uid)
      select o.version::uuid, b.uid from storage.objects o join storage.buckets b on b.id = o.bucket_id
      where o.bucket_id = 'copied'`
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect(await (await server.request('GET', '/object/copied/a.txt')).text()).toBe('shared')
    expect(await removals()).toBe(0)
  })

  it.each([
    ['delete from storage.objects where bucket_id = $1', 'rows deleted with SQL'],
    [
      'update storage.objects set version = gen_random_uuid()::text where bucket_id = $1',
      'versions replaced with SQL',
    ],
    ['truncate storage.objects', 'a truncated table'],
  ])('comes of %s', async (statement) => {
    const bucket = `sql-${randomBytes(4).toString('hex')}`
    await server.createBucket(bucket)
    for (const name of ['a', 'b']) await server.request('POST', `/object/${bucket}/${name}`, { body: name })
    const uid = await uidOf(server, bucket)
    const files = async () => (await server.storedFiles()).filter((file) => file.startsWith(uid))
    expect(await files()).toHaveLength(2)
    await server.admin.unsafe(statement, statement.includes('$1') ? [bucket] : [])
    expect(await removals()).toBeGreaterThanOrEqual(2)
    expect((await cleanUp(server)).repairs.removal).toBeGreaterThanOrEqual(2)
    expect([await files(), await removals()]).toEqual([[], 0])
    await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    await cleanUp(server)
  })
})
