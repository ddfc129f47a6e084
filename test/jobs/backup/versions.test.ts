import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../../src/backend/backend.ts'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import type { Database } from '../../../src/database/connection/client.ts'
import { type BytesEntry, bytesPath } from '../../../src/jobs/backup/entries.ts'
import { restoreWhole } from '../../../src/jobs/backup/restore-whole.ts'
import { verifyBackup } from '../../../src/jobs/backup/verify.ts'
import { InlineBackend } from '../../../src/storage/inline/inline-backend.ts'
import { backUp, linesIn, putBack } from '../../support/backups.ts'
import { createTestDatabase } from '../../support/database.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { MemoryTarget } from './memory-target.ts'

/** More than goes into the database. */
const LARGE = 40_000
const { signal } = new AbortController()

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

interface VersionLine {
  kind: string
  name: string
  version: string
  bucket_id: string
}

describe('a backup of a store that keeps what was there before', () => {
  let server: TestServer
  let target: MemoryTarget
  let count = 0
  let kept = ''
  let withTrash = ''
  const large = randomBytes(LARGE)
  beforeAll(async () => {
    server = await startTestServer()
  })
  afterAll(() => server?.close())
  beforeEach(async () => {
    target = new MemoryTarget()
    await server.admin`delete from storage.objects`
    await server.admin`delete from storage.object_versions`
    kept = `kept${++count}`
    withTrash = `trash${count}`
    await server.createBucket(kept)
    await server.createBucket(withTrash)
    await server.admin`
      update storage.buckets set versioning_status = 'ENABLED', max_versions = 5 where id = ${kept}`
    await server.admin`update storage.buckets set trash_days = 7 where id = ${withTrash}`
    await put(kept, 'overwritten', large)
    await put(kept, 'overwritten', 'as it is now')
    await put(kept, 'deleted', 'deleted')
    await put(withTrash, 'thrown away', 'thrown away')
    await remove(kept, 'deleted')
    await remove(withTrash, 'thrown away')
  })

  const put = async (bucket: string, name: string, body: string | Buffer) => {
    const response = await server.request('PUT', `/object/${bucket}/${name}`, { body: body as string })
    expect(response.status).toBeLessThan(300)
  }
  const remove = async (bucket: string, name: string) => {
    expect((await server.request('DELETE', `/object/${bucket}/${name}`)).status).toBe(204)
  }
  const versionsOf = (id: string) => linesIn<VersionLine>(target, `${id}/rows/object_versions.ndjson`)
  const entriesOf = (id: string) => linesIn<BytesEntry>(target, `${id}/bytes.ndjson`)

  it('has their rows, and their bytes', async () => {
    const { manifest, failures } = await backUp(server, target)
    expect([manifest.totals.objects, failures.count]).toEqual([1, 0])
    const rows = await versionsOf(manifest.id)
    expect(rows.map(({ kind, name }) => [kind, name]).sort()).toEqual([
      ['delete_marker', 'deleted'],
      ['trash', 'thrown away'],
      ['version', 'deleted'],
      ['version', 'overwritten'],
    ])
    const entries = new Map((await entriesOf(manifest.id)).map((entry) => [entry.version, entry]))
    expect(entries.size).toBe(4)
    const found = rows.flatMap(({ kind, name, version }) =>
      kind === 'delete_marker' ? [] : [[name, entries.get(version)?.sha256]],
    )
    expect(new Map(found as [string, string][])).toEqual(
      new Map([
        ['overwritten', sha256(large)],
        ['deleted', sha256(Buffer.from('deleted'))],
        ['thrown away', sha256(Buffer.from('thrown away'))],
      ]),
    )
    expect(target.files.get(`${manifest.id}/${bytesPath(sha256(large))}`)).toEqual(large)
  })

  it('is found wanting when the bytes of one are not there', async () => {
    const { manifest } = await backUp(server, target)
    target.files.delete(`${manifest.id}/${bytesPath(sha256(large))}`)
    const { findings } = await verifyBackup(target, manifest.id, { signal })
    expect(findings).toMatchObject([{ kind: 'missing', objects: [`${kept}/overwritten`] }])
  })

  it('has them once, when they were copied by the backup before as objects that were there', async () => {
    const body = randomBytes(LARGE)
    await put(kept, 'replaced', body)
    const first = (await backUp(server, target)).manifest
    await put(kept, 'replaced', 'a few bytes')
    const second = (await backUp(server, target, { parent: first })).manifest
    expect(second.totals.new_bytes).toBe('a few bytes'.length)
    const [row] = (await versionsOf(second.id)).filter(({ name }) => name === 'replaced')
    const entry = (await entriesOf(second.id)).find(({ version }) => version === row?.version)
    expect(entry).toMatchObject({ in: first.id, sha256: sha256(body) })
  })

  it('of some buckets has those of these alone', async () => {
    const { manifest } = await backUp(server, target, { buckets: [withTrash] })
    expect((await versionsOf(manifest.id)).map((row) => row.bucket_id)).toEqual([withTrash])
    expect(await entriesOf(manifest.id)).toHaveLength(1)
  })

  it('names one that has no bytes any more', async () => {
    const [row] = await server.admin`
      select version from storage.object_versions where name = 'deleted' and kind = 'version'`
    await server.admin`delete from storage.inline_bytes where version = ${String(row?.version)}`
    const { failures } = await backUp(server, target)
    expect(failures).toMatchObject({ count: 1, named: [{ bucketId: kept, name: 'deleted' }] })
  })

  it('is restored to an empty database with all of them', async () => {
    await server.admin`update storage.buckets set object_lock = true, retention_days = 1 where id = ${kept}`
    await server.admin`
      insert into storage.object_locks (version, legal_hold)
      select version::uuid, true from storage.object_versions where kind = 'version' and name = 'deleted'`
    await server.request('PUT', `/bucket/${kept}/lifecycle`, { body: LIFECYCLE })
    const before = await rowsIn(server.admin)
    expect([before.policies.length, before.rules.length]).toEqual([1, 2])
    const { manifest } = await backUp(server, target)
    const made = await createTestDatabase()
    const dataDir = await mkdtemp(join(tmpdir(), 'strongroom-restored-'))
    let backend: Backend | undefined
    try {
      const report = await restoreWhole({
        target,
        id: manifest.id,
        dataDir,
        isOwnDatabase: true,
        openForRows: async () => ({ sql: made.admin, close: async () => {} }),
        openDatabase: async () => made.connect(),
        openBackend: async (database) => placeIn(dataDir, database),
        logger: pino({ level: 'silent' }),
        signal,
      })
      expect(report).toMatchObject({ versions: 4, failures: { count: 0 } })
      expect(await rowsIn(made.admin)).toEqual(before)
      backend = placeIn(dataDir, made.database)
      for (const { version, bytes_bucket: bucket, checksum } of before.versions) {
        if (bucket === null) continue
        const at = { version, bucket }
        expect(sha256(await backend.readWhole(at, (await backend.size(at)) ?? -1))).toBe(checksum)
      }
      // What comes next counts on, and is kept as ever.
      await made.admin`update storage.objects set version = gen_random_uuid()::text where name = 'overwritten'`
      const [next] = await made.admin`
        select kind, sequence > (select max(sequence) from storage.object_versions where name <> 'overwritten') as "isLast"
        from storage.object_versions where name = 'overwritten' order by sequence desc limit 1`
      expect(next).toEqual({ kind: 'version', isLast: true })
    } finally {
      await backend?.close()
      await made.drop()
      await rm(dataDir, { recursive: true })
      await unlock(server.admin)
    }
  })

  it('puts an object back over another one, which stays as a version without a marker', async () => {
    const { manifest } = await backUp(server, target)
    await put(kept, 'overwritten', 'by mistake')
    expect(await putBack(server, target, manifest, { mode: 'replace' })).toMatchObject({ replaced: 1 })
    const answer = await server.request('GET', `/object/${kept}/overwritten`)
    expect(await answer.text()).toBe('as it is now')
    const rows = await server.admin`
      select kind, size from storage.object_versions where name = 'overwritten' order by sequence`
    expect(rows.map(({ kind, size }) => [kind, Number(size)])).toEqual([
      ['version', LARGE],
      ['version', 'as it is now'.length],
      ['version', 'by mistake'.length],
    ])
  })

  it.each([
    [{ versions: true, trash: false }, ['delete_marker', 'version', 'version']],
    [{ versions: false, trash: true }, ['trash']],
    [{ versions: false, trash: false }, []],
  ])('has of the past what is asked for: %j', async (former, kinds) => {
    const { manifest } = await backUp(server, target, { former })
    expect(manifest.former).toEqual(former)
    expect((await versionsOf(manifest.id)).map(({ kind }) => kind).sort()).toEqual(kinds)
    const entries = new Set((await entriesOf(manifest.id)).map(({ version }) => version))
    const rows = await server.admin<{ kind: string; version: string }[]>`
      select kind, version from storage.object_versions where not is_delete_marker`
    const found = rows.filter(({ version }) => entries.has(version)).map(({ kind }) => kind)
    expect(found.sort()).toEqual(kinds.filter((kind) => kind !== 'delete_marker'))
  })

  it('has the versions of a bucket that can be locked in any case', async () => {
    await server.admin`update storage.buckets set object_lock = true where id = ${kept}`
    const { manifest } = await backUp(server, target, { former: { versions: false, trash: false } })
    expect(await versionsOf(manifest.id)).toHaveLength(3)
    await unlock(server.admin)
  })

  it('gives what was there before its bytes back, where they are lost or damaged', async () => {
    const { manifest } = await backUp(server, target)
    const lost = await server.admin<
      { name: string; version: string; bytes_bucket: string; checksum: string }[]
    >`
      select name, version, bytes_bucket, checksum from storage.object_versions where not is_delete_marker`
    const backend = placeIn(server.dataDir, server.database)
    for (const { name, version, bytes_bucket: bucket } of lost) {
      await backend.remove({ bucket, version })
      // One is found to be another than it was, and all others to be gone.
      if (name === 'overwritten')
        await backend.write({ bucket, version }, randomBytes(LARGE), { maxBytes: LARGE })
      await server.admin`
        update storage.object_versions set quarantine_reason = ${name === 'overwritten' ? 'corrupted' : 'missing'},
          quarantined_at = now() where version = ${version}`
    }
    const nothing = await putBack(server, target, manifest, { prefix: 'nothing begins so' })
    expect(nothing).toMatchObject({ created: 0, replaced: 0 })
    expect(await putBack(server, target, manifest, { dryRun: true })).toMatchObject({ replaced: 3 })
    expect(await putBack(server, target, manifest)).toMatchObject({ created: 0, replaced: 3, kept: 1 })
    expect(await putBack(server, target, manifest)).toMatchObject({ created: 0, replaced: 0, kept: 1 })
    for (const { version, bytes_bucket: bucket, checksum } of lost) {
      const at = { bucket, version }
      expect(sha256(await backend.readWhole(at, (await backend.size(at)) ?? -1))).toBe(checksum)
    }
    const marked = await server.admin`
      select from storage.object_versions where quarantine_reason is not null or quarantined_at is not null`
    expect(marked).toHaveLength(0)
    await backend.close()
  })

  it('makes a bucket again with what it keeps', async () => {
    const { manifest } = await backUp(server, target)
    await putBack(server, target, manifest, { buckets: [kept], intoBucket: `${kept}-again` })
    const [row] = await server.admin`
      select versioning_status, max_versions, trash_days, object_lock from storage.buckets where id = ${`${kept}-again`}`
    expect(row).toEqual({
      ...{ versioning_status: 'ENABLED', max_versions: 5, trash_days: 0, object_lock: false },
    })
  })
})

const LIFECYCLE = {
  rules: [30, 90].map((noncurrentDays) => ({
    status: 'Enabled',
    filter: {},
    noncurrentVersionExpiration: { noncurrentDays },
  })),
}

const placeIn = (dataDir: string, database: Database) =>
  new InlineBackend(new LocalBackend({ root: dataDir, fsync: false }), database)

async function rowsIn(sql: TestServer['admin']) {
  return {
    objects: await sql`select * from storage.objects order by id`,
    versions: [...(await sql`select * from storage.object_versions order by sequence`)] as unknown as {
      version: string
      bytes_bucket: string | null
      checksum: string
    }[],
    locks: await sql`select * from storage.object_locks`,
    buckets: await sql`select * from storage.buckets order by id`,
    policies: await sql`select * from storage.lifecycle_policies`,
    rules: await sql`select * from storage.policy_rules order by position`,
  }
}

/** As nobody can but a superuser. */
async function unlock(sql: TestServer['admin']): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`set local session_replication_role = 'replica'`
    await tx`update storage.buckets set object_lock = false, retention_days = null`
  })
}
