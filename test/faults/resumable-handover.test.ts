import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Line, openLine } from '../support/line.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { type Served, startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'
import {
  bytesFor,
  chunks,
  expectStored,
  MiB,
  notedOffset,
  type ObjectPlace,
  startUpload,
  tusOptions,
} from '../support/tus.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'

/** More than the server gathers before it writes, and some that it has not written yet. */
const [WRITTEN, GATHERED] = [600_000, 50_000]

/** How often the line is cut in the middle of one upload. */
const CUTS = isFull ? 30 : 6

describe('a resumable upload', () => {
  let proxy: PostgresProxy
  let first: TestServer
  let second: Served
  let line: Line
  beforeAll(async () => {
    proxy = await openPostgresProxy()
    first = await startTestServer({}, { databaseUrl: (name) => proxy.url(name) })
    second = await first.beside()
    line = await openLine(first.url)
    await first.createBucket('box')
  })
  afterAll(async () => {
    await line?.close()
    await second?.close()
    await first?.close()
    await proxy?.close()
  })

  it.each([
    ['the same server', () => first],
    ['another server', () => second],
  ])(
    'whose request stands still is taken over by a new one through %s, with every byte',
    async (where, to) => {
      const at = { bucket: 'box', name: `over to ${where}.bin` }
      const bytes = bytesFor(at, 2 * MiB)
      const raw = new TusRequests(first)
      const url = await raw.begin(at, bytes.length)
      const stale = await raw.stall(url, 0, bytes.length, bytes.subarray(0, WRITTEN))
      await until(async () => (await written(at)) >= 512 * 1024, 'the server is writing')
      await stale.send(bytes.subarray(WRITTEN, WRITTEN + GATHERED))
      expect((await first.request('GET', '/status')).status).toBe(200) // it has looked at its connections again

      const uploadUrl = url.replace(first.url, to().url)
      const upload = startUpload(bytes, { ...tusOptions(to(), at), uploadUrl })
      await upload.done

      expect(upload.sent).toEqual(['HEAD', `PATCH ${WRITTEN + GATHERED}`])
      expect((await stale.response()).status).toBe(423)
      // What the old request still says is too late.
      await stale.send(Buffer.alloc(100_000))
      stale.abort()
      await expectStored(to(), at, bytes)
      await expectNoDrift(first)
    },
  )

  it('over a line that is cut again and again, to one server or the other, arrives whole', async () => {
    const random = new Random(newSeed())
    const at = { bucket: 'box', name: 'cut.bin' }
    const bytes = bytesFor(at, 16 * MiB)
    line.bytesPerSecond = 32 * MiB
    const options = { chunkSize: 5 * MiB, retryDelays: Array.from({ length: 20 }, () => 10) }
    const upload = startUpload(bytes, tusOptions({ url: line.url, keys: first.keys }, at, options))
    for (let cut = 0; cut < CUTS; cut++) {
      const next = line.passed + 1000 + random.below(3 * MiB)
      await until(() => line.passed > next || line.passed >= bytes.length, 'some more has passed')
      line.cut()
      line.target = random.below(2) === 0 ? first.url : second.url
    }
    await upload.done

    const offsets = chunks(upload)
    const seed = `seed ${random.seed}: ${offsets.join(' ')}`
    expect([seed, offsets]).toEqual([seed, offsets.toSorted((a, b) => a - b)])
    await expectStored(second, at, bytes)
    await expectNoDrift(first)
  })

  it('goes on from what was noted when the database has been away', async () => {
    const at = { bucket: 'box', name: 'outage.bin' }
    const bytes = bytesFor(at, 16 * MiB)
    Object.assign(line, { target: first.url, bytesPerSecond: 8 * MiB })
    const retryDelays = Array.from({ length: 100 }, () => 50)
    const options = tusOptions({ url: line.url, keys: first.keys }, at, { retryDelays })
    let errors = 0
    const onShouldRetry = () => ++errors > 0
    const upload = startUpload(bytes, { ...options, onShouldRetry })
    await until(async () => (await notedOffset(first, at.name)) > 0, 'the server has noted some progress')

    const before = errors
    proxy.mode = 'refuse'
    proxy.cutAll()
    const noted = await notedOffset(first, at.name)
    await until(() => errors >= before + 3, 'the client has noticed, and tried again')
    proxy.mode = 'pass'
    line.bytesPerSecond = Number.POSITIVE_INFINITY
    await upload.done

    expect(noted).toBeGreaterThan(0)
    const [, next] = chunks(upload)
    expect(next).toBeGreaterThanOrEqual(noted)
    // It has asked in vain, and not begun anew.
    const later = upload.sent.slice(upload.sent.indexOf('PATCH 0') + 1)
    expect(later.filter((line) => line !== 'HEAD')).toEqual([`PATCH ${next}`])
    await expectStored(first, at, bytes)
    await expectNoDrift(first)
  })

  /** How much of an upload is in its file, in bytes. */
  async function written({ name }: ObjectPlace): Promise<number> {
    const [row] = await first.admin`select id, bucket_uid from storage.resumable_uploads where name = ${name}`
    const version = String(row?.id)
    const path = join(first.dataDir, 'objects', String(row?.bucket_uid), version.slice(0, 2), version)
    return stat(path).then(
      ({ size }) => size,
      () => 0,
    )
  }
})
