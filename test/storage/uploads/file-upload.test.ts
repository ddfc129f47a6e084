import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cleanUp, repairsOf } from '../../support/cleanup.ts'
import { type FileFaults, injectFileFaults } from '../../support/file-faults.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/** Too much for the database, and read at once. */
const BODY = 'x'.repeat(20_000)

let server: TestServer
let files: FileFaults
let bucket: string
let token: string
beforeAll(async () => {
  server = await startTestServer({ STORAGE_FSYNC: 'true' })
  files = injectFileFaults(join(server.dataDir, 'objects'))
})
afterAll(async () => {
  files?.restore()
  await server?.close()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'authenticated' })
  token = await server.token(randomUUID())
  files.arm(0)
})
afterEach(() => {
  files.before = undefined
})

const upload = async (name: string, init: { token?: string; body?: string } = {}) =>
  (await server.request('POST', `/object/${bucket}/${name}`, { token, body: BODY, ...init })).status

const download = async (name: string) =>
  (await server.request('GET', `/object/${bucket}/${name}`, { token })).text()

/** Whether a file was made since `files.arm`. */
const hasWritten = () => files.calls.includes('open')

const change = async (settings: object) =>
  expect((await server.request('PUT', `/bucket/${bucket}`, { body: settings })).status).toBe(200)

describe('a file whose writer was allowed to write a moment ago', () => {
  it('is there before its row, and is read whole', async () => {
    expect([await upload('first'), await upload('second')]).toEqual([201, 201])
    expect([await download('first'), await download('second')]).toEqual([BODY, BODY])
    expect(repairsOf(await cleanUp(server))).toEqual({})
  })

  it('is none when he may not any more, and from then on he makes nobody write', async () => {
    expect(await upload('allowed')).toBe(201)
    const before = await server.storedFiles()
    await change({ policy: 'private' })
    files.arm(0)
    expect([await upload('denied'), hasWritten()]).toEqual([403, true])
    files.arm(0)
    expect([await upload('denied again'), hasWritten()]).toEqual([403, false])
    expect((await server.storedFiles()).sort()).toEqual(before.sort())
  })

  it('is none of a stranger, who makes nobody write: not with the rights of another, nor in another bucket', async () => {
    expect(await upload('mine')).toBe(201)
    const stranger = await server.token(randomUUID(), 'anon')
    files.arm(0)
    expect([await upload('theirs', { token: stranger }), hasWritten()]).toEqual([403, false])
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    expect([await upload('elsewhere'), hasWritten()]).toEqual([403, false])
  })

  it('is none where an object has the name already', async () => {
    expect([await upload('taken'), await upload('other')]).toEqual([201, 201])
    const before = await server.storedFiles()
    expect(await upload('taken', { body: `${BODY}y` })).toBe(409)
    expect((await server.storedFiles()).sort()).toEqual(before.sort())
    expect(await download('taken')).toBe(BODY)
  })

  it('is judged by the settings of now, not by those that are remembered', async () => {
    expect(await upload('before')).toBe(201)
    const before = await server.storedFiles()
    await server.admin`update storage.buckets set file_size_limit = 100 where id = ${bucket}`
    expect(await upload('too large')).toBe(413)
    expect((await server.storedFiles()).sort()).toEqual(before.sort())
    await server.admin`update storage.buckets set file_size_limit = 30000 where id = ${bucket}`
    expect([await upload('fits'), await upload('fits, too')]).toEqual([201, 201])
  })

  it('is under the bucket that has the name now, when that was deleted and made again', async () => {
    expect(await upload('before')).toBe(201)
    await server.request('POST', `/bucket/${bucket}/empty`)
    await expect
      .poll(async () => (await server.request('DELETE', `/bucket/${bucket}`)).status, { timeout: 60_000 })
      .toBe(200)
    await server.createBucket(bucket, { policy: 'authenticated' })
    expect([await upload('after'), await download('after')]).toEqual([201, BODY])
    expect(repairsOf(await cleanUp(server))).toEqual({ folders: 1 })
  })

  it('is written again when a sweep has begun, and taken it, before there is a row', async () => {
    expect(await upload('before')).toBe(201)
    await cleanUp(server)
    let swept: object | undefined
    files.before = async (call) => {
      if (call !== 'close') return
      files.before = undefined
      swept = repairsOf(await cleanUp(server))
    }
    expect(await upload('swept')).toBe(201)
    expect([swept, await download('swept')]).toEqual([{ unnamedBytes: 1 }, BODY])
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect(await download('swept')).toBe(BODY)
  })
})
