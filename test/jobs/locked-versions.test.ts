import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { AutoDelete } from '../../src/jobs/auto-delete.ts'
import { BackendMove } from '../../src/jobs/backend-move.ts'
import { InlineMove, type Way } from '../../src/jobs/inline-move.ts'
import { Lifecycle } from '../../src/jobs/lifecycle.ts'
import { Scrub } from '../../src/jobs/scrub.ts'
import { VersionRetention } from '../../src/jobs/version-retention.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { backUp, putBack } from '../support/backups.ts'
import { cleanUp } from '../support/cleanup.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { MemoryTarget } from './backup/memory-target.ts'

/*
 * What the server does by itself, and what an operator does to all of the store, as it is with versions that are locked (docs/versions.md,
 * "Locks"): each stays, with its bytes, until somebody has lifted it.
 */

const INLINE_SIZE = 1000

let server: TestServer
let local: LocalBackend
let backend: InlineBackend
let bucket: string
beforeAll(async () => {
  server = await startTestServer({ STORAGE_INLINE_SIZE: String(INLINE_SIZE) })
  local = new LocalBackend({ root: server.dataDir, fsync: false })
  backend = new InlineBackend(local, server.database)
})
afterAll(() => server.close())

type Init = Parameters<TestServer['request']>[2]

async function done(method: string, path: string, init?: Init): Promise<void> {
  const answer = await server.request(method, `/storage/v1${path}`, init)
  expect(answer.ok, `${method} ${path}: ${await answer.text()}`).toBe(true)
}

const put = (name: string, body: string, headers = {}) =>
  done('PUT', `/object/${bucket}/${name}`, { body, headers })

interface Locked {
  name: string
  version: string
  checksum: string
}

/** Of each way to be locked one that was overwritten, one that is there, and one that was deleted: small, in the database, and large. */
let locked: Locked[]
beforeEach(async () => {
  await server.admin`delete from storage.lifecycle_policies`
  bucket = `vault-${randomUUID()}`
  await server.createBucket(bucket, { object_lock: true, retention_days: 20 })
  await put('days', 'small')
  await put('days', 'large '.repeat(INLINE_SIZE))
  await put('deleted', 'small')
  await done('DELETE', `/object/${bucket}/deleted`)
  // Locked by themselves alone: the days of their bucket are over.
  const until = new Date(Date.now() + 86_400_000).toISOString()
  for (const body of ['small', 'large '.repeat(INLINE_SIZE)]) {
    await put('until', body)
    await done('PUT', `/lock/${bucket}/until`, { body: { retain_until: until } })
    await put('held', body)
    await done('PUT', `/lock/${bucket}/held`, { body: { legal_hold: true } })
  }
  await server.admin.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    const before = tx`now() - interval '21 days'`
    const which = tx`bucket_id = ${bucket} and name in ('until', 'held')`
    await tx`update storage.objects set current_since = ${before}, created_at = ${before}, updated_at = ${before} where ${which}`
    await tx`update storage.object_versions set valid_from = ${before}, archived_at = ${before} where ${which}`
  })
  locked = [
    ...(await server.admin<Locked[]>`
      select name, version, checksum from storage.objects where bucket_id = ${bucket}
      union all select name, version, checksum from storage.object_versions where bucket_id = ${bucket} and kind = 'version'`),
  ]
  expect(locked).toHaveLength(7)
})

const NEVER = new AbortController().signal
const logger = pino({ level: 'silent' })
const parts = () => ({ database: server.database, backend, logger })

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** By the API, after whatever the cleanup makes of it. */
async function expectAllThere(): Promise<void> {
  await cleanUp(server)
  for (const { name, version, checksum } of locked) {
    const answer = await server.request('GET', `/storage/v1/object/${bucket}/${name}?versionId=${version}`)
    expect([answer.status, sha256(new Uint8Array(await answer.arrayBuffer()))], name).toEqual([200, checksum])
  }
}

const old = (column: string) => server.admin`
  update storage.object_versions set ${server.admin({ [column]: new Date(0).toISOString() })} where bucket_id = ${bucket}`

async function inline(way: Way): Promise<void> {
  const job = new InlineMove({ database: server.database, backend: local, inlineSize: INLINE_SIZE, logger })
  await job.run(way, { rate: Number.POSITIVE_INFINITY, signal: NEVER, waitMs: 20_000 })
}

const WAYS: Record<string, () => Promise<void>> = {
  'their age': async () => {
    await old('purge_at')
    const retention = new VersionRetention(parts())
    await retention.round(NEVER)
    expect(retention.locked).toBeGreaterThanOrEqual(4)
  },
  'their number': async () => {
    await done('PUT', `/bucket/${bucket}`, { body: { max_versions: 1 } })
    for (const name of ['days', 'deleted', 'until', 'held']) {
      await put(name, 'another')
      await put(name, 'yet another')
    }
  },
  'lifecycle policies': async () => {
    const actions = ['delete', 'delete_old_versions', 'delete_markers', 'purge_trash']
    const rules = actions.map((action) => ({ action, after_days: 0 }))
    await done('POST', '/lifecycle', { body: { name: 'all', bucket, rules } })
    const now = () => new Date(Date.now() + 19 * 86_400_000)
    const lifecycle = new Lifecycle({ ...parts(), now })
    // The first pass deletes what is there, and another one comes to what is left of that.
    for (let passes = 0; passes < 2; passes++) await lifecycle.pass(NEVER)
    expect(lifecycle.locked).toBeGreaterThanOrEqual(7)
  },
  'auto-delete': async () => {
    await put('until', 'another', { 'x-strongroom-auto-delete-after-days': '1' })
    await server.admin`update storage.objects set auto_delete_after_days = 1 where bucket_id = ${bucket}`
    await server.admin.begin(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx`update storage.objects set auto_delete_at = now() where bucket_id = ${bucket}`
    })
    const job = new AutoDelete(parts())
    await job.round(NEVER)
    expect(job.deleted).toBe(3)
  },
  'a restore to a time when there was nothing': async () => {
    const body = { bucket, prefix: '', at: new Date(Date.now() - 30 * 86_400_000).toISOString() }
    await server.admin`update storage.buckets set history_since = '-infinity' where id = ${bucket}`
    await done('POST', '/versions/restore', { body })
  },
  'a restore of a backup that replaces': async () => {
    const target = new MemoryTarget()
    const { manifest } = await backUp(server, target, { buckets: [bucket] })
    await put('days', 'another')
    await put('until', 'another')
    expect(await putBack(server, target, manifest, { mode: 'replace' })).toMatchObject({ replaced: 2 })
  },
  'a scrub that takes all for damaged, and the cleanup': async () => {
    const wrong = { quarantine_reason: 'missing', quarantined_at: new Date(0).toISOString() }
    await server.admin`update storage.objects set ${server.admin(wrong)} where bucket_id = ${bucket}`
    await server.admin`update storage.object_versions set ${server.admin(wrong)} where bucket_id = ${bucket}`
    await cleanUp(server)
    await new Scrub(parts()).run({ rate: Number.POSITIVE_INFINITY, signal: NEVER })
  },
  'a move into the database and out of it': async () => {
    await inline('out')
    await expectAllThere()
    await inline('in')
  },
}

describe('versions that are locked stay, whatever comes of', () => {
  it.each(Object.entries(WAYS))('%s', async (_, way) => {
    await way()
    await expectAllThere()
  })

  it('a move to another backend, which has them, too', async () => {
    await inline('out')
    const elsewhere = await mkdtemp(join(tmpdir(), 'strongroom-move-'))
    const target = new LocalBackend({ root: elsewhere, fsync: false })
    const direction = { source: 'here', target: 'there' }
    const job = new BackendMove({ database: server.database, source: local, target, direction, logger })
    expect(await job.run({ parallel: 2, signal: NEVER })).toMatchObject({ ending: 'complete' })
    const rows = await server.admin<{ version: string; bucket: string; checksum: string }[]>`
      select version, bytes_bucket as bucket, checksum from storage.object_versions where bucket_id = ${bucket} and kind = 'version'
      union all select version, bytes_bucket, checksum from storage.objects where bucket_id = ${bucket}`
    expect(rows).toHaveLength(7)
    for (const { version, bucket, checksum } of rows) {
      const bytes = await target.readWhole(
        { version, bucket },
        (await target.size({ version, bucket })) ?? -1,
      )
      expect(sha256(bytes)).toBe(checksum)
    }
    await rm(elsewhere, { recursive: true })
    await expectAllThere()
  })
})

describe('a version that an operator has let go', () => {
  it('goes with the next round, and no other one does', async () => {
    const [former] = await server.admin`
      select version from storage.object_versions where bucket_id = ${bucket} and name = 'held' and kind = 'version'`
    const version = String(former?.version)
    await server.admin`select storage.lift_lock(${bucket}, 'held', ${version}, 'the court has let it go')`
    await old('purge_at')
    await new VersionRetention(parts()).round(NEVER)
    locked = locked.filter((one) => one.version !== version)
    await expectAllThere()
    const answer = await server.request('GET', `/storage/v1/object/${bucket}/held?versionId=${version}`)
    expect(answer.status).toBe(404)
    const entries =
      await server.admin`select action, path, target from storage.audit_log where resource_id = ${version}`
    expect(entries).toEqual([{ action: 'unlock', path: 'held', target: 'the court has let it go' }])
  })
})
