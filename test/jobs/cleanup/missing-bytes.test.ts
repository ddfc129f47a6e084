import { randomUUID } from 'node:crypto'
import { renameSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cleanUp, fileOf, repairsOf, uidOf } from '../../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})

const upload = async (name: string, body = name) =>
  expect((await server.request('PUT', `/object/${bucket}/${name}`, { body })).ok).toBe(true)
const lose = async (name: string) => rm(await fileOf(server, bucket, name))
const names = async () =>
  (await server.admin`select name from storage.objects where bucket_id = ${bucket} order by name`).map(
    (row) => row.name,
  )
const marks = async () =>
  (
    await server.admin`
      select name, quarantine_reason as reason from storage.objects
      where bucket_id = ${bucket} and quarantine_reason is not null order by name`
  ).map((row) => [row.name, row.reason])

async function uploadMany(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await upload(`${String(i).padStart(2, '0')}.txt`)
}

describe('an object whose bytes are gone', () => {
  it('is marked first, and deleted by a later pass', async () => {
    await uploadMany(3)
    await lose('01.txt')
    const settings = { maxShare: 0.5 }
    expect(repairsOf(await cleanUp(server, { bucket, settings }))).toEqual({ missing: 1 })
    expect([await marks(), await names()]).toEqual([[['01.txt', 'missing']], ['00.txt', '01.txt', '02.txt']])
    expect((await server.request('GET', `/object/${bucket}/01.txt`)).status).toBe(404)

    expect(repairsOf(await cleanUp(server, { bucket, settings }))).toEqual({ deleted: 1 })
    expect(await names()).toEqual(['00.txt', '02.txt'])
    expect(await server.admin`select version from storage.removals`).toEqual([])
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({})
  })

  it('is not deleted before the grace period has passed', async () => {
    await uploadMany(2)
    await lose('01.txt')
    const settings = { graceMs: 60_000 }
    expect(repairsOf(await cleanUp(server, { bucket, settings }))).toEqual({ missing: 1 })
    expect(repairsOf(await cleanUp(server, { bucket, settings }))).toEqual({})
    expect(await names()).toEqual(['00.txt', '01.txt'])
  })

  it('loses its mark when the bytes are back', async () => {
    await uploadMany(2)
    const file = await fileOf(server, bucket, '01.txt')
    await rename(file, `${file}.away`)
    await cleanUp(server, { bucket })
    expect(await marks()).toEqual([['01.txt', 'missing']])
    await rename(`${file}.away`, file)
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ released: 1 })
    expect(await marks()).toEqual([])
    expect(await (await server.request('GET', `/object/${bucket}/01.txt`)).text()).toBe('01.txt')
  })

  it('loses its mark when it is uploaded again, and keeps its times when it is marked', async () => {
    await upload('a.txt')
    const [before] = await server.admin`select updated_at from storage.objects where bucket_id = ${bucket}`
    await lose('a.txt')
    await cleanUp(server, { bucket })
    const [marked] = await server.admin`select updated_at from storage.objects where bucket_id = ${bucket}`
    expect(marked).toEqual(before)
    await upload('a.txt', 'anew')
    expect(await marks()).toEqual([])
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({})
    expect(await (await server.request('GET', `/object/${bucket}/a.txt`)).text()).toBe('anew')
  })

  it('is only told of in a dry run', async () => {
    await uploadMany(2)
    await lose('00.txt')
    expect(repairsOf(await cleanUp(server, { bucket, dryRun: true }))).toEqual({ missing: 1 })
    expect(await marks()).toEqual([])
    await cleanUp(server, { bucket })
    expect(repairsOf(await cleanUp(server, { bucket, dryRun: true }))).toEqual({ deleted: 1 })
    expect(await names()).toEqual(['00.txt', '01.txt'])
  })
})

describe('a bucket that has lost a large part of its bytes', () => {
  it('keeps its rows, however often the cleanup runs, until the operator says otherwise', async () => {
    await uploadMany(10)
    for (const name of ['03.txt', '07.txt']) await lose(name)
    for (let pass = 0; pass < 3; pass++) {
      const report = await cleanUp(server, { bucket, settings: { maxShare: 0.1 } })
      expect(report.held).toEqual([{ bucket, reason: expect.stringContaining('2 of 10 objects') }])
      expect(report.repairs.deleted).toBe(0)
    }
    expect(await names()).toHaveLength(10)
    expect((await cleanUp(server, { bucket })).repairs.deleted).toBe(2)
    expect(await names()).toHaveLength(8)
  })

  it('keeps them also when one pass cannot mark all that is missing', async () => {
    await uploadMany(10)
    for (const name of ['01.txt', '02.txt', '03.txt']) await lose(name)
    for (let pass = 0; pass < 4; pass++) {
      const report = await cleanUp(server, { bucket, settings: { maxShare: 0.2, batch: 1 } })
      expect(report.repairs.deleted).toBe(0)
    }
    expect(await names()).toHaveLength(10)
  })

  it('keeps them when its whole folder is away, and is whole again when that is back', async () => {
    await uploadMany(3)
    const folder = join(server.dataDir, 'objects', await uidOf(server, bucket))
    await rename(folder, `${folder}-away`)
    for (let pass = 0; pass < 2; pass++) await cleanUp(server, { bucket, settings: { maxShare: 0.9 } })
    expect(await marks()).toHaveLength(3)
    await rename(`${folder}-away`, folder)
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ released: 3 })
    expect(await names()).toHaveLength(3)
  })

  it('is not even looked at when the disk goes away in the middle', async () => {
    await uploadMany(2)
    const folder = join(server.dataDir, 'objects')
    const pass = cleanUp(server, { onProgress: () => renameSync(folder, `${folder}-away`) })
    await expect(pass).rejects.toMatchObject({ code: 'BackendUnavailable' })
    await rename(`${folder}-away`, folder)
    expect(await marks()).toEqual([])
  })
})

describe('a row that plain SQL made', () => {
  it('with no version of ours never had bytes, and is left as it is', async () => {
    await server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'plain.txt')`
    await server.admin`
      insert into storage.objects (bucket_id, name, version) values (${bucket}, 'odd.txt', 'not a version')`
    for (let pass = 0; pass < 2; pass++) expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({})
    expect(await names()).toEqual(['odd.txt', 'plain.txt'])
  })
})
