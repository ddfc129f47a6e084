import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
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
  let open: (endpoint?: string) => S3Backend
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
    open = (endpoint = proxy.endpoint) => new S3Backend({ ...settings, endpoint, spoolDir })
    backend = open()
    at = newLocation()
  })
  afterEach(async () => {
    await backend.close()
    await proxy.close()
    expect(await readdir(spoolDir)).toEqual([])
  })

  const write = (number: number, bytes: Buffer) =>
    backend.writePart(at, number, bytes, { maxBytes: bytes.length })
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

  describe('that was begun here', () => {
    const isCopy: Kind = (request) => isPart(request) && request.requestBytes === 0
    const bytes = [randomBytes(PART), randomBytes(PART), randomBytes(PART)]
    const whole = Buffer.concat(bytes)
    const writeAll = () => Promise.all(bytes.map((part, index) => write(index + 1, part)))
    const expectWhole = async (expected = whole) => {
      expect(expected.equals(await backend.readWhole(at, expected.length))).toBe(true)
      expect(await unfinished()).toEqual([])
    }
    /** As another process has it, that knows nothing of this one. */
    const startAnew = async (endpoint?: string) => {
      await backend.close()
      backend = open(endpoint)
    }
    beforeEach(() => backend.beginParts(at))

    it('has the store make it of its own parts, and no byte moves again', async () => {
      const parts = await writeAll()
      expect(proxy.requests.filter(isPart).map(({ requestBytes }) => requestBytes)).toEqual([
        PART,
        PART,
        PART,
      ])
      expect(await unfinished()).toMatchObject([{ location: at }])
      proxy.requests.length = 0
      await backend.assemble(at, parts)
      expect([proxy.requests.filter(isPart), proxy.requests.filter(isComplete).length]).toEqual([[], 1])
      await expectWhole()
    })

    it('copies only what cannot be a part of the store: small ones, long ones, those that replace others', async () => {
      const [first, last, long] = [randomBytes(PART), randomBytes(10), randomBytes(PART + 1)]
      const replaced = await write(1, randomBytes(PART))
      const parts = [
        await write(1, first),
        await write(2, long),
        ...(await writeAll()).slice(2),
        await write(4, last),
      ]
      await backend.removePart(at, replaced)
      proxy.requests.length = 0
      await backend.assemble(at, parts)
      expect(proxy.requests.filter(isCopy)).toHaveLength(3)
      expect(
        proxy.requests.reduce((sum, request) => sum + (isPart(request) ? request.requestBytes : 0), 0),
      ).toBe(0)
      await expectWhole(Buffer.concat([first, long, ...bytes.slice(2), last]))
    })

    it('is gone on with by a process that knows nothing of the one before', async () => {
      const [first, second] = await writeAll()
      await startAnew()
      const third = await write(3, randomBytes(PART))
      await backend.removePart(at, third)
      const last = randomBytes(PART)
      const parts = [first, second, await write(3, last)].flatMap((part) => part ?? [])
      await startAnew()
      await backend.assemble(at, parts)
      await startAnew()
      await backend.assemble(at, parts)
      await expectWhole(Buffer.concat([...bytes.slice(0, 2), last]))
    })

    it.each<[moment: string, when: Kind]>([
      ['a copy', isPart],
      ['the completion', isComplete],
    ])('keeps its parts when %s fails, for another process as well', async (_, when) => {
      const last = randomBytes(10)
      const parts = [...(await writeAll()), await write(4, last)]
      const outage = proxy.fail({ at: 'before', what: { status: 503, code: 'SlowDown' } }, { when })
      await expect(backend.assemble(at, parts)).rejects.toMatchObject({ code: 'BackendUnavailable' })
      outage.stop()
      expect([outage.count > 0, await backend.exists(at)]).toEqual([true, false])
      await startAnew()
      await backend.assemble(at, parts)
      await expectWhole(Buffer.concat([whole, last]))
    })

    it('is made though the answers to its completion are lost', async () => {
      const parts = await writeAll()
      const loss = proxy.fail({ at: 'after', what: 'cut' }, { when: isComplete, times: 1 })
      await backend.assemble(at, parts)
      expect(loss.count).toBe(1)
      await expectWhole()
    })

    it('takes a part again whose sending has failed, whatever the store has of it', async () => {
      const failure = proxy.fail({ at: 'after', what: 'cut' }, { when: isPart, times: 2 })
      await expect(write(1, randomBytes(PART))).rejects.toMatchObject({ code: 'BackendUnavailable' })
      expect(failure.count).toBe(2)
      await backend.assemble(at, await writeAll())
      await expectWhole()
    })

    it('takes parts though the store has given its upload up, and says which are gone', async () => {
      await startAnew(s3.endpoint) // answers before it has read all, on which the proxy waits
      backend.beginParts(at)
      const [first] = await writeAll()
      for (const one of await unfinished()) await backend.abandon(one)
      const parts = await Promise.all([
        write(5, whole.subarray(0, PART)),
        write(6, whole.subarray(PART, 2 * PART)),
      ])
      const missing = { code: 'MissingBytes' }
      await expect(
        backend.assemble(
          at,
          [first, ...parts].flatMap((part) => part ?? []),
        ),
      ).rejects.toMatchObject(missing)
      await backend.assemble(at, parts)
      await expectWhole(whole.subarray(0, 2 * PART))
    })

    it('leaves parts out, or says that its store does not, and keeps all', async () => {
      const parts = await writeAll()
      const [first, , third] = parts
      const chosen = [first, third].flatMap((part) => part ?? [])
      // Ceph does not, others do.
      await expect(backend.assemble(at, chosen)).rejects.toMatchObject({ code: 'InvalidPart' })
      expect([await backend.exists(at), (await unfinished()).length]).toEqual([false, 1])
      await backend.assemble(at, parts)
      await expectWhole()
    })

    it('begins another upload when the first one cannot be begun', async () => {
      const isCreate: Kind = ({ method, query }) => method === 'POST' && query.has('uploads')
      const lost = proxy.fail({ at: 'after', what: 'cut' }, { when: isCreate, times: 2 })
      await expect(write(1, randomBytes(PART))).rejects.toMatchObject({ code: 'BackendUnavailable' })
      expect(lost.count).toBe(2)
      await backend.assemble(at, await writeAll())
      await expectWhole()
    })
  })
})
