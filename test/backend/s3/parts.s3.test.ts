import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Unfinished } from '../../../src/backend/backend.ts'
import { S3Backend } from '../../../src/backend/s3/s3-backend.ts'
import { readConfig } from '../../../src/config/config.ts'
import type { Location } from '../../../src/model/location.ts'
import { describeWithS3, s3Client, s3Env } from '../../support/s3.ts'
import { openS3Proxy, type ProxiedRequest, type S3Proxy } from '../../support/s3-proxy.ts'
import { newLocation } from '../contract.ts'

const MiB = 1024 * 1024
const PART = 5 * MiB

type Kind = (request: ProxiedRequest) => boolean
const isPart: Kind = ({ method, query }) => method === 'PUT' && query.has('partNumber')
const isComplete: Kind = ({ method, query }) => method === 'POST' && query.has('uploadId')

describeWithS3('a version that comes in parts, in a store', (s3) => {
  const client = s3Client(s3)
  let spoolDir: string
  let proxy: S3Proxy
  let backend: S3Backend
  let Bucket: string
  let at: Location

  beforeAll(async () => {
    spoolDir = await mkdtemp(join(tmpdir(), 'strongroom-spool-'))
  })
  afterAll(async () => {
    client.destroy()
    await rm(spoolDir, { recursive: true })
  })
  beforeEach(async () => {
    const env = await s3Env(s3)
    proxy = await openS3Proxy(s3)
    const { s3: settings } = readConfig({
      ...env,
      STORAGE_S3_ENDPOINT: proxy.endpoint,
      STORAGE_S3_PREFIX: 'some/where',
      STORAGE_S3_PART_SIZE: String(PART),
      // One part in memory, one on its way out; all others in files.
      STORAGE_S3_BUFFER: String(2 * PART),
      STORAGE_S3_ATTEMPTS: '2',
    })
    if (!settings) throw new Error('there are no settings for S3')
    Bucket = settings.bucket
    backend = new S3Backend({ ...settings, spoolDir })
    at = newLocation()
  })
  afterEach(async () => {
    await backend.close()
    await proxy.close()
    expect(await readdir(spoolDir)).toEqual([])
  })

  const write = (number: number, bytes: Buffer) =>
    backend.writePart(at, number, bytes, { maxBytes: 64 * MiB })
  const unfinished = async () => {
    const found: Unfinished[] = []
    for await (const one of backend.unfinished()) found.push(one)
    return found
  }

  it('is copied by the store, all but what is too small for that', async () => {
    const bytes = [randomBytes(2 * PART), randomBytes(1000), randomBytes(2 * PART), randomBytes(10)]
    const parts = await Promise.all(bytes.map((part, index) => write(index + 1, part)))
    proxy.requests.length = 0
    await backend.assemble(at, parts)
    // The small one in the middle, with as much of the next as makes 5 MiB of it.
    expect(proxy.requests.filter(isPart).map(({ requestBytes }) => requestBytes)).toEqual(
      expect.arrayContaining([0, PART, 0, 0]),
    )
    const sent = proxy.requests.reduce(
      (sum, request) => sum + (isPart(request) ? request.requestBytes : 0),
      0,
    )
    expect(sent).toBe(PART)
    const whole = Buffer.concat(bytes)
    expect(whole.equals(await backend.readWhole(at, whole.length))).toBe(true)
  })

  it.each<[moment: string, when: Kind]>([
    ['a copy', isPart],
    ['the completion', isComplete],
  ])('leaves its parts and nothing else when %s fails, and can be made then', async (_, when) => {
    const bytes = [randomBytes(PART + 1), randomBytes(1000), randomBytes(PART + 1)]
    const parts = await Promise.all(bytes.map((part, index) => write(index + 1, part)))
    const outage = proxy.fail({ at: 'before', what: { status: 503, code: 'SlowDown' } }, { when })
    await expect(backend.assemble(at, parts)).rejects.toMatchObject({ code: 'BackendUnavailable' })
    outage.stop()
    expect(outage.count).toBeGreaterThan(0)
    expect([(await unfinished()).length, await backend.exists(at)]).toEqual([3, false])
    await backend.assemble(at, parts)
    const whole = Buffer.concat(bytes)
    expect(whole.equals(await backend.readWhole(at, whole.length))).toBe(true)
    expect(await unfinished()).toEqual([])
  })

  it('is made though the answer to its completion is lost', async () => {
    const bytes = [randomBytes(PART), randomBytes(1000)]
    const parts = await Promise.all(bytes.map((part, index) => write(index + 1, part)))
    const loss = proxy.fail({ at: 'after', what: 'cut' }, { when: isComplete, times: 1 })
    await backend.assemble(at, parts)
    expect(loss.count).toBe(1)
    expect(await backend.size(at)).toBe(PART + 1000)
  })

  /** Begins a large part as a server does that is killed then. */
  const leaveBehind = async () => {
    const target = { Bucket, Key: `some/where/tails/${at.bucket}/${at.version}/${randomUUID()}` }
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(target))
    await client.send(new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: 'half of it' }))
  }

  it('has unfinished parts that the cleanup finds and abandons, and leaves the others', async () => {
    const part = await write(1, randomBytes(1000))
    await leaveBehind()
    await leaveBehind()
    const found = await unfinished()
    expect(found.map(({ location }) => location)).toEqual([at, at, at])
    for (const one of found.filter(({ id }) => id.includes('/'))) await backend.abandon(one)
    expect(await unfinished()).toHaveLength(1)
    await backend.assemble(at, [part])
    expect([await unfinished(), await backend.size(at)]).toEqual([[], 1000])
  })

  it('leaves nothing of unfinished parts when it is discarded', async () => {
    await write(1, randomBytes(1000))
    await leaveBehind()
    await backend.discard(at)
    expect(await unfinished()).toEqual([])
  })
})
