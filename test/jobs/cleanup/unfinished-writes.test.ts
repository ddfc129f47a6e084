import { randomUUID } from 'node:crypto'
import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Unfinished } from '../../../src/backend/backend.ts'
import { newCheckName } from '../../../src/backend/check-name.ts'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import { cleanUp, isThere, repairsOf, uidOf } from '../../support/cleanup.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

describe('the cleanup of a folder', () => {
  let server: TestServer
  let backend: LocalBackend
  let bucket: string
  let uid: string
  beforeAll(async () => {
    server = await startTestServer()
    backend = new LocalBackend({ root: server.dataDir, fsync: false })
  })
  afterAll(async () => {
    await backend?.close()
    await server?.close()
  })
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    uid = await uidOf(server, bucket)
  })

  /** Writes parts as a server does that is killed then. */
  const leaveBehind = async (version: string = randomUUID()) => {
    const at = { bucket: uid, version }
    return [
      await backend.writePart(at, 1, Buffer.from('one'), { size: 3 }),
      await backend.writePart(at, 2, Buffer.from('two'), { size: 3 }),
    ]
  }
  const unfinished = async () => {
    const found: Unfinished[] = []
    for await (const one of backend.unfinished()) if (one.location?.bucket === uid) found.push(one)
    return found
  }

  it('abandons parts of a version that nobody is uploading', async () => {
    await leaveBehind()
    expect(repairsOf(await cleanUp(server, { dryRun: true }))).toEqual({ unfinished: 2 })
    expect(await unfinished()).toHaveLength(2)
    expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 2 })
    expect(await unfinished()).toEqual([])
    expect(repairsOf(await cleanUp(server))).toEqual({})
  })

  it('leaves young ones alone, and those of an upload that is under way', async () => {
    await leaveBehind()
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 600_000 } }))).toEqual({})
    expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 2 })

    const version = randomUUID()
    const parts = await leaveBehind(version)
    await server.admin`
      insert into storage.uploads (version, bucket_uid, bucket_id, name, heartbeat_at)
      values (${version}, ${uid}, ${bucket}, 'a.txt', now() + interval '1 hour')`
    expect(repairsOf(await cleanUp(server))).toEqual({})
    const at = { bucket: uid, version }
    await backend.assemble(at, parts)
    expect(Buffer.from(await backend.readWhole(at, 6)).toString()).toBe('onetwo')
    await server.admin`delete from storage.uploads where version = ${version}`
    await backend.remove(at)
  })

  it('abandons those of what a row names, which a power failure has brought back', async () => {
    await server.request('POST', `/object/${bucket}/here.txt`, { body: 'hello' })
    const [row] = await server.admin`select version from storage.objects where bucket_id = ${bucket}`
    await leaveBehind(row?.version)
    expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 2 })
    expect(await unfinished()).toEqual([])
    expect(await (await server.request('GET', `/object/${bucket}/here.txt`)).text()).toBe('hello')
  })

  describe('with what a check has left that was killed', () => {
    const GRACE_MS = 60_000
    const settings = { graceMs: GRACE_MS }
    const leaveCheck = async (ageMs: number) => {
      const path = join(server.dataDir, 'objects', newCheckName())
      await writeFile(path, 'whether files can be written')
      const time = new Date(Date.now() - ageMs)
      await utimes(path, time, time)
      return path
    }

    it('removes it, unless it may be running', async () => {
      const [old, young] = [await leaveCheck(5 * GRACE_MS), await leaveCheck(3 * GRACE_MS)]
      const both = async () => [await isThere(old), await isThere(young)]
      expect(repairsOf(await cleanUp(server, { settings, dryRun: true }))).toEqual({ unfinished: 1 })
      expect(await both()).toEqual([true, true])
      expect(repairsOf(await cleanUp(server, { settings }))).toEqual({ unfinished: 1 })
      expect(await both()).toEqual([false, true])
      expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 1 })
      expect(await both()).toEqual([false, false])
    })

    it('leaves it alone when told to look into one bucket, as it is in none', async () => {
      const path = await leaveCheck(5 * GRACE_MS)
      expect(repairsOf(await cleanUp(server, { settings, bucket }))).toEqual({})
      expect(await isThere(path)).toBe(true)
      expect(repairsOf(await cleanUp(server, { settings }))).toEqual({ unfinished: 1 })
    })
  })

  it('removes the folders of parts with those of a bucket that is no more', async () => {
    await leaveBehind()
    expect((await server.request('DELETE', `/bucket/${bucket}`)).status).toBe(200)
    expect(repairsOf(await cleanUp(server))).toMatchObject({ unfinished: 2 })
    expect(await backend.removeFolders(uid)).toBe(true)
  })
})
