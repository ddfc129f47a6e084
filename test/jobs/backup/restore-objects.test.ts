import { createHash, randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bytesPath } from '../../../src/jobs/backup/entries.ts'
import type { Manifest } from '../../../src/jobs/backup/manifest.ts'
import { backUp, putBack } from '../../support/backups.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { MemoryTarget } from './memory-target.ts'

const LARGE = randomBytes(40_000)

describe('objects that are put back', () => {
  let server: TestServer
  const target = new MemoryTarget()
  let manifest: Manifest
  let count = 0
  let bucket = ''
  beforeAll(async () => {
    server = await startTestServer()
  })
  afterAll(() => server?.close())
  beforeEach(async () => {
    bucket = `b${count++}`
    await server.createBucket(bucket, { public: true, file_size_limit: 1_000_000 })
    const token = await server.token('11111111-1111-4111-8111-111111111111', 'service_role')
    for (const [name, body] of [
      ['dir/small', 'few bytes'],
      ['dir/large', LARGE],
      ['other', 'more'],
    ] as const) {
      const headers = { 'content-type': 'image/png', 'cache-control': 'max-age=17' }
      await put(name, body, { token, headers })
    }
    manifest = (await backUp(server, target, { buckets: [bucket] })).manifest
  })

  const put = async (name: string, body: string | Buffer, more = {}) => {
    const response = await server.request('PUT', `/object/${bucket}/${name}`, {
      body: body as string,
      ...more,
    })
    expect(response.status).toBeLessThan(300)
  }
  const remove = async (name: string) => {
    expect((await server.request('DELETE', `/object/${bucket}/${name}`)).status).toBe(204)
  }
  const content = async (name: string, from = bucket) => {
    const response = await server.request('GET', `/object/${from}/${name}`)
    return response.status === 200 ? Buffer.from(await response.arrayBuffer()) : response.status
  }
  const row = async (name: string) => {
    const [found] = await server.admin`
      select id, owner, owner_id, created_at, updated_at, last_accessed_at, metadata, user_metadata, checksum
      from storage.objects where bucket_id = ${bucket} and name = ${name}`
    return found
  }

  it('are those that are missing, with their ids, owners, times and metadata; others stay', async () => {
    const before = await Promise.all([row('dir/small'), row('dir/large')])
    await remove('dir/small')
    await remove('dir/large')
    await put('other', 'newer')
    const report = await putBack(server, target, manifest)
    expect(report).toMatchObject({ created: 2, replaced: 0, kept: 1, failures: { count: 0 } })
    expect(await Promise.all([row('dir/small'), row('dir/large')])).toEqual(before)
    expect(await content('dir/small')).toEqual(Buffer.from('few bytes'))
    expect(await content('dir/large')).toEqual(LARGE)
    expect(await content('other')).toEqual(Buffer.from('newer'))
  })

  it('replace what was written since then when they are to, and leave nothing of that behind', async () => {
    const before = await row('dir/large')
    await put('dir/large', randomBytes(50_000))
    await put('dir/small', 'newer')
    const report = await putBack(server, target, manifest, { mode: 'replace' })
    expect(report).toMatchObject({ created: 0, replaced: 2, kept: 1 })
    expect([await row('dir/large'), await content('dir/small')]).toEqual([before, Buffer.from('few bytes')])
    expect(await server.admin`select from storage.removals`).toEqual([])
    expect(await server.admin`select from storage.uploads`).toEqual([])
  })

  it('are left alone by another restore, unless they were written since', async () => {
    await put('dir/large', randomBytes(50_000))
    await put('dir/small', 'newer')
    await remove('other')
    await putBack(server, target, manifest, { mode: 'replace' })
    const versions = () =>
      server.admin`select version from storage.objects where bucket_id = ${bucket} order by name`
    const before = await versions()
    const again = () => putBack(server, target, manifest, { mode: 'replace' })
    expect(await again()).toMatchObject({ created: 0, replaced: 0, kept: 3, bytes: 0 })
    expect(await versions()).toEqual(before)
    await put('dir/small', 'few bytes') // the same bytes, but another upload
    expect(await again()).toMatchObject({ created: 0, replaced: 1, kept: 2 })
  })

  it('are also those whose bytes are lost or damaged, as what they were; not newer ones', async () => {
    const before = await row('dir/large')
    const [at] = await server.admin`
      select bytes_bucket, version from storage.objects where bucket_id = ${bucket} and name = 'dir/large'`
    await rm(join(server.dataDir, 'objects', at?.bytes_bucket, at?.version.slice(0, 2), at?.version))
    expect(await content('dir/large')).toBe(404)
    await put('other', 'newer')
    // As a scrub would say of them.
    await server.admin`
      update storage.objects set quarantine_reason = case name when 'dir/large' then 'missing' else 'corrupted' end
      where bucket_id = ${bucket}`
    expect(await putBack(server, target, manifest)).toMatchObject({ created: 0, replaced: 2, kept: 1 })
    expect([await row('dir/large'), await content('dir/large')]).toEqual([before, LARGE])
    expect(await content('dir/small')).toEqual(Buffer.from('few bytes'))
    expect(await content('other')).toBe(500)
    await putBack(server, target, manifest, { mode: 'replace' })
    expect(await content('other')).toEqual(Buffer.from('more'))

    // What was put back may be damaged, too.
    await server.admin`
      update storage.objects set quarantine_reason = 'corrupted' where bucket_id = ${bucket} and name = 'dir/large'`
    expect(await putBack(server, target, manifest)).toMatchObject({ created: 0, replaced: 1, kept: 2 })
    expect([await row('dir/large'), await content('dir/large')]).toEqual([before, LARGE])
  })

  it('need no hashes of their parts any more where nobody had read the whole of them', async () => {
    const before = await row('dir/large')
    const [at] = await server.admin`
      update storage.objects set checksum = null where bucket_id = ${bucket} and name = 'dir/large' returning version`
    const parts = [LARGE.subarray(0, 30_000), LARGE.subarray(30_000)].map((bytes) => ({
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    }))
    await server.admin`
      insert into storage.version_parts values (${at?.version}, ${JSON.stringify(parts)}::text::jsonb)`
    const second = (await backUp(server, target, { buckets: [bucket] })).manifest
    await remove('dir/large')
    expect(await putBack(server, target, second)).toMatchObject({
      created: 1,
      kept: 2,
      failures: { count: 0 },
    })
    expect(await row('dir/large')).toMatchObject({ metadata: before?.metadata, checksum: before?.checksum })
    expect(await content('dir/large')).toEqual(LARGE)
    expect(await server.admin`select from storage.version_parts`).toEqual([])
  })

  it('are told of: subscribers hear of them, and servers that had them in memory forget', async () => {
    await put('other', 'newer')
    const open = () => fetch(`${server.url}/storage/v1/object/public/${bucket}/other`).then((it) => it.text())
    expect([await open(), await open()]).toEqual(['newer', 'newer'])
    await putBack(server, target, manifest, { mode: 'replace' })
    const told = await server.admin`
      select type from storage.events where bucket_id = ${bucket} and name = 'other' order by id`
    expect(told.map(({ type }) => type).slice(-1)).toEqual(['storage.object.created'])
    await expect.poll(open, { timeout: 60_000 }).toBe('more')
  })

  it('are only those below a prefix, or only counted, when that is asked for', async () => {
    await remove('dir/small')
    await remove('other')
    expect(await putBack(server, target, manifest, { dryRun: true })).toMatchObject({ created: 2, kept: 1 })
    expect(await content('other')).toBe(404)
    expect(await putBack(server, target, manifest, { prefix: 'dir/' })).toMatchObject({ created: 1, kept: 1 })
    expect([await content('dir/small'), await content('other')]).toEqual([Buffer.from('few bytes'), 404])
  })

  it('come back with their bucket, with its settings, or into another one, which is made like it', async () => {
    await server.request('POST', `/storage/v1/bucket/${bucket}/empty`)
    expect((await server.request('DELETE', `/storage/v1/bucket/${bucket}`)).status).toBe(200)
    expect(await putBack(server, target, manifest)).toMatchObject({ created: 3 })
    const settings = async (id: string) => {
      const [found] =
        await server.admin`select public, policy, file_size_limit from storage.buckets where id = ${id}`
      return found
    }
    const intoBucket = `${bucket}-again`
    expect(await putBack(server, target, manifest, { buckets: [bucket], intoBucket })).toMatchObject({
      created: 3,
    })
    expect(await settings(intoBucket)).toEqual(await settings(bucket))
    expect(await settings(bucket)).toMatchObject({
      public: true,
      policy: 'public',
      file_size_limit: '1000000',
    })
    expect(await content('dir/large', intoBucket)).toEqual(LARGE)
    // An id is one object's.
    const ids =
      await server.admin`select id from storage.objects where bucket_id in (${bucket}, ${intoBucket})`
    expect(new Set(ids.map(({ id }) => id)).size).toBe(6)
  })

  it('have the bytes of their parents when their backup is incremental', async () => {
    await put('new', randomBytes(41_000))
    const second = (await backUp(server, target, { buckets: [bucket], parent: manifest })).manifest
    for (const name of ['dir/small', 'dir/large', 'new']) await remove(name)
    expect(await putBack(server, target, second)).toMatchObject({ created: 3, failures: { count: 0 } })
    expect(await content('dir/large')).toEqual(LARGE)
  })

  it('are not there when the backup’s bytes of them are damaged, and nothing is left of them', async () => {
    const [path = ''] = [...target.files.keys()].filter((path) => path.startsWith(`${manifest.id}/bytes/`))
    const bytes = target.files.get(path)
    expect(path).toBe(`${manifest.id}/${bytesPath((await row('dir/large'))?.checksum)}`)
    await remove('dir/large')
    bytes?.writeUInt8(bytes.readUInt8(9) ^ 1, 9)
    await expect(putBack(server, target, manifest)).rejects.toMatchObject({ code: 'CorruptedBytes' })
    bytes?.writeUInt8(bytes.readUInt8(9) ^ 1, 9)
    expect(await content('dir/large')).toBe(404)
    expect(await server.admin`select from storage.uploads`).toEqual([])
  })

  it('are none of a bucket that the backup has not', async () => {
    await expect(putBack(server, target, manifest, { buckets: ['nowhere'] })).rejects.toMatchObject({
      code: 'NoSuchBucket',
    })
  })
})
