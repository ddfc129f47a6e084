import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { deleteDueVersions } from '../../src/database/queries/version-retention.ts'
import { VersionRetention } from '../../src/jobs/version-retention.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { isThere, pathOf } from '../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
afterAll(() => server.close())
beforeEach(async () => {
  // What is locked stays behind a test.
  await server.admin`update storage.object_versions set purge_at = null`
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await server.admin`update storage.buckets set versioning_status = 'ENABLED' where id = ${bucket}`
})

const NEVER = new AbortController().signal

function newRetention(batch?: number): VersionRetention {
  const backend = new InlineBackend(new LocalBackend({ root: server.dataDir, fsync: false }), server.database)
  const logger = pino({ level: 'silent' })
  return new VersionRetention({ database: server.database, backend, logger, ...(batch && { batch }) })
}

async function put(name: string, times: number): Promise<void> {
  for (let time = 1; time <= times; time++) {
    const answer = await server.request('PUT', `/object/${bucket}/${name}`, { body: `${name} ${time}` })
    expect(answer.ok).toBe(true)
  }
}

/** As if so many days had passed for what was kept of a name. */
async function age(name: string, days: number): Promise<void> {
  await server.admin`
    update storage.object_versions set purge_at = purge_at - ${days} * interval '1 day'
    where bucket_id = ${bucket} and name = ${name}`
}

async function kept(): Promise<{ kind: string; name: string; path: string }[]> {
  const rows = await server.admin`
    select kind, name, version, bytes_bucket as uid from storage.object_versions
    where bucket_id = ${bucket} order by sequence`
  return rows.map(({ kind, name, version, uid }) => ({ kind, name, path: pathOf(server, uid, version) }))
}

describe('what was kept for long enough', () => {
  it('goes with its bytes, and nothing else does', async () => {
    await put('old', 3)
    await put('new', 2)
    await age('old', 91)
    await age('new', 89)
    const files = (await kept()).map(({ path }) => path)
    const retention = newRetention()
    await retention.round(NEVER)
    expect(retention.purged).toBe(2)
    expect((await kept()).map(({ name }) => name)).toEqual(['new'])
    expect(await Promise.all(files.map(isThere))).toEqual([false, false, true])
    expect(await server.admin`select from storage.removals`).toHaveLength(0)
    const answer = await server.request('GET', `/object/${bucket}/old`)
    expect(await answer.text()).toBe('old 3')
  })

  it('goes with its markers, which hide nothing then; those of a locked version stay', async () => {
    await put('old', 2)
    await put('locked', 1)
    for (const name of ['old', 'locked', 'never']) {
      expect((await server.request('DELETE', `/object/${bucket}/${name}`)).ok).toBe(true)
    }
    await server.admin`update storage.buckets set object_lock = true where id = ${bucket}`
    await server.admin`
      insert into storage.object_locks (version, legal_hold)
      select version::uuid, true from storage.object_versions
      where bucket_id = ${bucket} and name = 'locked' and kind = 'version'`
    for (const name of ['old', 'locked', 'never']) await age(name, 91)
    await newRetention().round(NEVER)
    const left = await server.admin`
      select name, kind from storage.object_versions where bucket_id = ${bucket} order by sequence`
    expect(left).toEqual([
      { name: 'locked', kind: 'version' },
      { name: 'locked', kind: 'delete_marker' },
    ])
  })

  it('goes from the trash, by the days of the trash', async () => {
    const other = `trash-${randomUUID()}`
    await server.createBucket(other)
    await server.admin`update storage.buckets set trash_days = 7 where id = ${other}`
    bucket = other
    for (const name of ['a', 'b']) {
      await put(name, 1)
      expect((await server.request('DELETE', `/object/${bucket}/${name}`)).ok).toBe(true)
    }
    await age('a', 8)
    await age('b', 6)
    const retention = newRetention()
    await retention.round(NEVER)
    expect((await kept()).map(({ kind, name }) => [kind, name])).toEqual([['trash', 'b']])
    expect([retention.purged, retention.purgedTrash]).toEqual([1, 1])
  })

  it('goes in batches, all in one round', async () => {
    await put('many', 6)
    await age('many', 91)
    const retention = newRetention(2)
    await retention.round(NEVER)
    expect([retention.purged, await kept()]).toEqual([5, []])
  })

  it('stays while it is locked, and others go all the same', async () => {
    await server.admin`update storage.buckets set object_lock = true where id = ${bucket}`
    await put('held', 3)
    await put('free', 2)
    await age('held', 91)
    await age('free', 90.5)
    await server.admin`
      insert into storage.object_locks (version, legal_hold)
      select version::uuid, true from storage.object_versions where bucket_id = ${bucket} and name = 'held'`
    await newRetention(1).round(NEVER)
    expect((await kept()).map(({ name }) => name)).toEqual(['held', 'held'])
    await server.admin`delete from storage.object_locks`
    await newRetention(1).round(NEVER)
    expect(await kept()).toEqual([])
  })

  it('is looked at once in a round, whether it stays or goes', async () => {
    await server.admin`update storage.buckets set object_lock = true where id = ${bucket}`
    await put('held', 3)
    await put('free', 4)
    await age('held', 91)
    await server.admin`
      insert into storage.object_locks (version, legal_hold)
      select version::uuid, true from storage.object_versions where bucket_id = ${bucket} and name = 'held'`
    // All at the same moment, as one transaction of SQL archives them.
    await server.admin`
      update storage.object_versions v set purge_at = w.purge_at from storage.object_versions w
      where v.bucket_id = ${bucket} and w.bucket_id = ${bucket} and w.name = 'held'`
    const first = await deleteDueVersions(server.database, null, 2)
    expect(first).toMatchObject({ count: 0, locked: 2 })
    const second = await deleteDueVersions(server.database, first.end, 2)
    expect(second).toMatchObject({ count: 2, locked: 0 })
    expect(await deleteDueVersions(server.database, second.end, 2)).toMatchObject({
      count: 1,
      locked: 0,
      end: null,
    })
    expect((await kept()).map(({ name }) => name)).toEqual(['held', 'held'])
  })

  it('keeps its bytes as long as another row has them', async () => {
    await put('copied', 2)
    await server.admin`
      insert into storage.objects (bucket_id, name, version, bytes_bucket, metadata)
      select bucket_id, 'copy', version, bytes_bucket, object_row -> 'metadata' from storage.object_versions
      where bucket_id = ${bucket}`
    await age('copied', 91)
    await newRetention().round(NEVER)
    expect(await kept()).toEqual([])
    expect(await (await server.request('GET', `/object/${bucket}/copy`)).text()).toBe('copied 1')
  })
})
