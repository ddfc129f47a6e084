import { createHash, randomBytes } from 'node:crypto'
import { appendFile, open, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type BytesEntry, bytesPath } from '../../../src/jobs/backup/entries.ts'
import { readManifest } from '../../../src/jobs/backup/manifest.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { backUp, linesIn } from '../../support/backups.ts'
import { fileOf, isThere } from '../../support/cleanup.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { MemoryTarget } from './memory-target.ts'

/** More than goes into the database. */
const LARGE = 40_000

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe('a backup', () => {
  let server: TestServer
  let target: MemoryTarget
  let count = 0
  let bucket = ''
  beforeAll(async () => {
    server = await startTestServer()
  })
  afterAll(() => server?.close())
  beforeEach(async () => {
    target = new MemoryTarget()
    for (let number = 0; number < count; number++)
      await server.request('POST', `/storage/v1/bucket/b${number}/empty`)
    bucket = `b${count++}`
    await server.createBucket(bucket)
  })

  const put = async (name: string, body: string | Buffer) => {
    const response = await server.request('PUT', `/object/${bucket}/${name}`, { body: body as string })
    expect(response.status).toBeLessThan(300)
  }
  const remove = async (name: string) => {
    expect((await server.request('DELETE', `/object/${bucket}/${name}`)).status).toBe(204)
  }
  const holds = () => server.admin`select name from storage.backup_holds`
  const bytesOf = (id: string) => linesIn<BytesEntry>(target, `${id}/bytes.ndjson`)

  it('has the rows, and the bytes that they name, in files by their hash or in lines', async () => {
    const large = randomBytes(LARGE)
    await put('small', 'few bytes')
    await put('large', large)
    const { manifest, failures } = await backUp(server, target)
    const { id } = manifest
    expect(await readManifest(target, id)).toEqual(manifest)
    expect([manifest.totals.objects, manifest.totals.bytes, failures.count]).toEqual([2, LARGE + 9, 0])
    const rows = await linesIn<{ name: string; version: string }>(target, `${id}/rows/objects.ndjson`)
    expect(rows.map(({ name }) => name).sort()).toEqual(['large', 'small'])
    const entries = await bytesOf(id)
    expect(entries.map(({ version }) => version)).toEqual(rows.map(({ version }) => version).sort())
    const file = entries.find(({ inline }) => !inline)
    expect(target.files.get(`${id}/${bytesPath(file?.sha256 ?? '')}`)).toEqual(large)
    const lines = await linesIn<{ bytes: string }>(target, `${id}/rows/inline_bytes.ndjson`)
    expect(lines.map(({ bytes }) => Buffer.from(bytes, 'base64').toString())).toEqual(['few bytes'])
    expect(await holds()).toEqual([])
  })

  it('has only what its parent has not, and refers to that for the rest', async () => {
    await put('large', randomBytes(LARGE))
    await put('small', 'few bytes')
    const first = (await backUp(server, target)).manifest
    await put('new', randomBytes(LARGE))
    const second = (await backUp(server, target, { parent: first })).manifest
    const third = (await backUp(server, target, { parent: second })).manifest
    expect([second.type, second.parent, second.totals.new_bytes, third.totals.new_bytes]).toEqual([
      'incremental',
      first.id,
      LARGE,
      0,
    ])
    const owners = (await bytesOf(third.id)).map((entry) => entry.in)
    expect(owners.sort()).toEqual([first.id, first.id, second.id].sort())
    expect([...target.files.keys()].filter((path) => path.startsWith(`${third.id}/bytes/`))).toEqual([])
    expect(await linesIn(target, `${third.id}/rows/inline_bytes.ndjson`)).toEqual([])
  })

  it('is of one moment: what goes meanwhile is in it, and what comes is not', async () => {
    const bytes = randomBytes(LARGE)
    await put('goes', bytes)
    await put('is replaced', bytes)
    await put('goes, too', 'few bytes')
    const old = await Promise.all(['goes', 'is replaced'].map((name) => fileOf(server, bucket, name)))
    const id = uuidV7()
    // The rows are there, and their bytes are still to be copied.
    target.write = async (path, body) => {
      if (path === `${id}/bytes.ndjson`) {
        await remove('goes')
        await remove('goes, too')
        await put('is replaced', randomBytes(LARGE))
        await put('comes', 'x')
        expect(await Promise.all(old.map(isThere))).toEqual([true, true])
      }
      return MemoryTarget.prototype.write.call(target, path, body)
    }
    const { manifest, failures } = await backUp(server, target, { id })
    const rows = await linesIn<{ name: string }>(target, `${id}/rows/objects.ndjson`)
    expect(rows.map(({ name }) => name).sort()).toEqual(['goes', 'goes, too', 'is replaced'])
    expect([manifest.totals.bytes, failures.count]).toEqual([2 * LARGE + 9, 0])
    // Now they may go, and have gone.
    expect(await Promise.all(old.map(isThere))).toEqual([false, false])
    expect(await server.admin`select from storage.removals`).toEqual([])
  })

  it('names objects whose bytes are missing or damaged, and has all others', async () => {
    for (const name of ['whole', 'missing', 'longer', 'flipped']) await put(name, randomBytes(LARGE))
    await rm(await fileOf(server, bucket, 'missing'))
    await appendFile(await fileOf(server, bucket, 'longer'), 'x')
    await flip(await fileOf(server, bucket, 'flipped'))
    const { manifest, failures } = await backUp(server, target)
    const named = failures.named.map(({ name, why }) => `${name}: ${why}`)
    expect(named.sort()).toEqual([
      'flipped: its bytes are damaged',
      'longer: its bytes are missing',
      'missing: its bytes are missing',
    ])
    expect([manifest.damaged, (await bytesOf(manifest.id)).length]).toEqual([3, 1])
  })

  it('compares what has no hash of its own with the parts of which it was made', async () => {
    const bytes = randomBytes(LARGE)
    for (const name of ['whole', 'other']) {
      await put(name, bytes)
      const part = { size: LARGE, sha256: sha256(name === 'whole' ? bytes : randomBytes(LARGE)) }
      await server.admin`
        insert into storage.version_parts (version, parts)
        select version::uuid, ${JSON.stringify([part])}::text::jsonb from storage.objects where bucket_id = ${bucket} and name = ${name}`
    }
    await server.admin`update storage.objects set checksum = null where bucket_id = ${bucket}`
    const { manifest, failures } = await backUp(server, target)
    expect(failures.named.map(({ name, why }) => `${name}: ${why}`)).toEqual(['other: its bytes are damaged'])
    expect((await bytesOf(manifest.id)).map((entry) => entry.sha256)).toEqual([sha256(bytes)])
  })

  it('is of some buckets when that is asked for', async () => {
    await put('mine', 'x')
    await server.createBucket(`${bucket}-other`)
    await server.request('PUT', `/object/${bucket}-other/theirs`, {
      body: randomBytes(LARGE) as unknown as string,
    })
    const { manifest } = await backUp(server, target, { buckets: [bucket] })
    expect([manifest.buckets, manifest.totals.objects, (await bytesOf(manifest.id)).length]).toEqual([
      [bucket],
      1,
      1,
    ])
    const buckets = await linesIn<{ id: string }>(target, `${manifest.id}/rows/buckets.ndjson`)
    expect(buckets.map(({ id }) => id)).toEqual([bucket])
    await server.request('POST', `/storage/v1/bucket/${bucket}-other/empty`)
  })

  it('has no secrets unless they are asked for', async () => {
    const webhook = {
      url: 'http://127.0.0.1:1/',
      secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      allow_private: true,
    }
    expect((await server.request('POST', '/storage/v1/webhook', { body: webhook })).status).toBe(201)
    const { manifest } = await backUp(server, target)
    const all = [...target.files]
      .filter(([path]) => path.startsWith(manifest.id))
      .map(([, bytes]) => String(bytes))
    expect(all.filter((text) => text.includes('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'))).toEqual([])
    expect([...target.files.keys()].some((path) => path.endsWith('keys.json'))).toBe(false)
  })

  it.each([['rows/objects.ndjson'], ['bytes.ndjson'], ['files.ndjson'], ['manifest.json']])(
    'leaves nothing when its target takes no %s, and holds nothing back any more',
    async (which) => {
      await put('large', randomBytes(LARGE))
      const id = uuidV7()
      target.write = (path: string, body: Readable | Uint8Array) => {
        if (path === `${id}/${which}`) return Promise.reject(new Error('the disk is full'))
        return MemoryTarget.prototype.write.call(target, path, body)
      }
      await expect(backUp(server, target, { id })).rejects.toThrow('the disk is full')
      expect([...target.files.keys()]).toEqual([])
      expect(await holds()).toEqual([])
    },
  )

  it('ends when it is told to, and leaves nothing', async () => {
    for (let number = 0; number < 20; number++) await put(`large ${number}`, randomBytes(LARGE))
    const stop = new AbortController()
    const running = backUp(server, target, {
      signal: stop.signal,
      onProgress: () => stop.abort(new Error('enough')),
    })
    await expect(running).rejects.toThrow('enough')
    expect([[...target.files.keys()], await holds()]).toEqual([[], []])
  })

  it('is no backup when it was taken for dead meanwhile', async () => {
    await put('large', randomBytes(LARGE))
    const id = uuidV7()
    target.write = async (path, body) => {
      if (path === `${id}/bytes.ndjson`) await server.admin`delete from storage.backup_holds`
      return MemoryTarget.prototype.write.call(target, path, body)
    }
    await expect(backUp(server, target, { id })).rejects.toMatchObject({ fault: 'Interrupted' })
    expect([...target.files.keys()]).toEqual([])
  })
})

/** Changes one byte of a file, as a disk does. */
async function flip(path: string): Promise<void> {
  const file = await open(path, 'r+')
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 1000)
  await file.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, 1000)
  await file.close()
}
