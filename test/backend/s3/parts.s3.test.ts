import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { CreateMultipartUploadCommand, ListPartsCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Unfinished } from '../../../src/backend/backend.ts'
import type { Part } from '../../../src/backend/resumable-backend.ts'
import { S3Backend } from '../../../src/backend/s3/s3-backend.ts'
import { readConfig } from '../../../src/config/config.ts'
import type { S3Settings } from '../../../src/config/s3.ts'
import type { Location } from '../../../src/model/location.ts'
import { describeWithS3, s3Client, s3Env } from '../../support/s3.ts'
import { type Fault, openS3Proxy, type ProxiedRequest, type S3Proxy } from '../../support/s3-proxy.ts'
import { until } from '../../support/wait.ts'
import { newLocation, stream } from '../contract.ts'
import { heldBytes, LARGE_GROWTH } from '../large.ts'
import { NumberClaims } from '../number-claims.ts'

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
  let open: (endpoint?: string, other?: Partial<S3Settings>) => S3Backend
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
    open = (endpoint = proxy.endpoint, other = {}) =>
      new S3Backend({ ...settings, ...other, endpoint, spoolDir })
    backend = open()
    at = newLocation()
  })
  afterEach(async () => {
    await backend.close()
    await proxy.close()
    expect(await readdir(spoolDir)).toEqual([])
  })

  /** With a claim of its number, if that is wanted and it has none yet, where a test has claims. */
  let claims: NumberClaims | undefined
  beforeEach(() => {
    claims = undefined
  })
  const claimed = (number: number, size: number) => ({
    size,
    claim: backend.wantsClaim(size) ? claims?.claim(number) : undefined,
  })
  const write = (number: number, bytes: Buffer) =>
    backend.writePart(at, number, bytes, claimed(number, bytes.length))
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

  describe('with claims of their numbers', () => {
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
    beforeEach(() => {
      claims = new NumberClaims()
    })

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

    it('is so through several processes, though each begins an upload, and one of them ends before the others go on', async () => {
      const others = [open(), open()]
      const first = [backend, ...others].map((by, index) => {
        const size = PART + index // not all fit into a buffer
        return by.writePart(at, index + 1, randomBytes(size), claimed(index + 1, size))
      })
      const parts = await Promise.all(first)
      for (const [index, by] of others.entries()) {
        await backend.close()
        backend = by
        parts.push(await write(4 + index, randomBytes(PART)))
      }
      expect(new Set(parts.map(({ notes }) => JSON.parse(notes).uploadId)).size).toBe(1)
      proxy.requests.length = 0
      await backend.assemble(at, parts)
      expect([proxy.requests.filter(isPart), proxy.requests.filter(isComplete).length]).toEqual([[], 1])
      expect([await backend.size(at), await unfinished()]).toEqual([5 * PART + 3, []])
    })

    it('is made of objects where another backend has noted something for all parts', async () => {
      if (claims) claims.notes = '-'
      const parts = await writeAll()
      expect(parts.map(({ notes }) => notes.startsWith('{'))).toEqual([false, false, false])
      await backend.assemble(at, parts)
      await expectWhole()
    })

    it('copies once more what is replaced by a part that was still on its way', async () => {
      await backend.close()
      backend = open(proxy.endpoint, { attempts: 20 })
      const [first, second] = [randomBytes(PART), randomBytes(PART)]
      const abandoned = new PassThrough()
      const late = backend.writePart(at, 1, abandoned, claimed(1, 2 * PART))
      late.catch(() => {})
      abandoned.write(randomBytes(PART))
      await until(() => proxy.requests.filter(isPart).length === 1, 'the first is on its way')
      // Its client has given it up, and brings others of its number.
      const parts = [await write(1, first), await write(2, second)]
      const held = proxy.fail({ at: 'before', what: { status: 503, code: 'SlowDown' } }, { when: isComplete })
      const completing = backend.assemble(at, parts)
      completing.catch(() => {})
      const copies = () => proxy.requests.filter(isCopy).length
      await until(() => held.count > 0, 'the first was copied, and the version is about to be made')
      const before = copies()
      abandoned.end(randomBytes(PART))
      await late
      held.stop()
      await completing
      expect([before, copies()]).toEqual([1, 2])
      await expectWhole(Buffer.concat([first, second]))
    })

    it('copies only what cannot be a part of the store: small ones, those that replace others', async () => {
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
      expect(proxy.requests.filter(isCopy)).toHaveLength(2)
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

    describe('in parts longer than a buffer', () => {
      const length = 2 * PART + 1
      const long = [randomBytes(length), randomBytes(length), randomBytes(length)]
      const pass = (number: number, part: Buffer, digest = md5(part)) =>
        backend.writePart(at, number, stream(part, 60_013), {
          ...claimed(number, part.length),
          md5: async () => digest,
        })
      const passAll = async () => {
        const parts: Part[] = []
        for (const [index, part] of long.entries()) parts.push(await pass(index + 1, part))
        return parts
      }
      const sizes = (kind: Kind) => proxy.requests.filter(kind).map(({ requestBytes }) => requestBytes)
      const unavailable = { code: 'BackendUnavailable' }

      it('sends each on as it comes, and no byte moves again', async () => {
        const parts = await passAll()
        expect(sizes(isPart)).toEqual([length, length, length])
        proxy.requests.length = 0
        await backend.assemble(at, parts)
        expect([sizes(isPart), sizes(isComplete).length]).toEqual([[], 1])
        await expectWhole(Buffer.concat(long))
      })

      it.each<[what: string, fault: Fault]>([
        ['cut off before the store sees it', { at: 'before', what: 'cut' }],
        ['cut off behind its first bytes', { at: { requestBytes: 100_000 }, what: 'cut' }],
        ['answered with 503', { at: 'before', what: { status: 503, code: 'SlowDown' } }],
      ])('tries one again that is %s, while its first bytes are at hand', async (_, fault) => {
        proxy.fail(fault, { when: isPart, times: 1 })
        // A client that goes on once the store has taken what it has sent.
        const rest = new PassThrough()
        rest.write(long[0]?.subarray(0, 200_000))
        const writing = backend.writePart(at, 1, rest, claimed(1, length))
        await until(() => sizes(isPart).length === 2, 'the request has failed, and is tried again')
        rest.end(long[0]?.subarray(200_000))
        const parts = [await writing, await pass(2, long[1] ?? Buffer.alloc(0))]
        proxy.requests.length = 0
        await backend.assemble(at, parts)
        expect(sizes(isPart)).toEqual([])
        await expectWhole(Buffer.concat(long.slice(0, 2)))
      })

      it.each<[what: string, fault: Fault]>([
        ['its middle', { at: { requestBytes: PART }, what: 'cut' }],
        ['its end, whose answer is lost', { at: 'after', what: 'cut' }],
        ['its end, by a 500', { at: 'after', what: { status: 500, code: 'InternalError' } }],
      ])('asks the client for one again that fails in %s, which is an object then', async (_, fault) => {
        const failure = proxy.fail(fault, { when: isPart, times: 1 })
        await expect(pass(1, long[0] ?? Buffer.alloc(0))).rejects.toMatchObject(unavailable)
        expect(failure.count).toBe(1)
        const parts = await passAll()
        proxy.requests.length = 0
        await backend.assemble(at, parts)
        expect(sizes(isPart)).toEqual([0])
        await expectWhole(Buffer.concat(long))
      })

      it('lets the store have no part that breaks at its end, and leaves the body to its giver', async () => {
        const [first] = await passAll()
        const reason = new Error('not what was signed')
        const body = Readable.from(
          (function* () {
            yield* Array.from({ length: 10 }, () => Buffer.alloc(PART / 5, 'x'))
            throw reason
          })(),
        )
        await expect(backend.writePart(at, 4, body, claimed(4, 2 * PART))).rejects.toBe(reason)
        const short = stream(Buffer.alloc(2 * PART - 1), 60_013)
        await expect(backend.writePart(at, 5, short, claimed(5, 2 * PART))).rejects.toMatchObject({
          code: 'Aborted',
        })
        const tooLong = stream(Buffer.alloc(3 * PART), 60_013)
        const refused = backend.writePart(at, 6, tooLong, claimed(6, 2 * PART))
        await expect(refused).rejects.toMatchObject({ code: 'EntityTooLarge' })
        expect(tooLong.destroyed).toBe(false)
        const { uploadId: UploadId } = JSON.parse(first?.notes ?? '')
        const Key = `some/where/${at.bucket}/${at.version}`
        const { Parts = [] } = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }))
        expect(Parts.map(({ PartNumber }) => PartNumber)).toEqual([1, 2, 3])
      })

      it('does not take bytes for those that were sent which have another MD5', async () => {
        const [first, ...others] = long
        const sent = pass(1, first ?? Buffer.alloc(0), md5('damaged on the way'))
        await expect(sent).rejects.toMatchObject(unavailable)
        const parts = [await pass(1, first ?? Buffer.alloc(0))]
        for (const [index, part] of others.entries()) parts.push(await pass(index + 2, part))
        await backend.assemble(at, parts)
        await expectWhole(Buffer.concat(long))
      })

      it('keeps to objects where the store does not take a stream, which it is asked once', async () => {
        const isTrial: Kind = ({ method, path }) => method === 'PUT' && path.includes('.check-')
        const refusal = { status: 501, code: 'NotImplemented' }
        const failure = proxy.fail({ at: 'before', what: refusal }, { when: isTrial })
        const parts = await passAll()
        await backend.assemble(at, parts)
        expect([failure.count, sizes(isCopy).length]).toEqual([1, 3])
        await expectWhole(Buffer.concat(long))
      })

      it('keeps to objects while there is no connection for another one', async () => {
        await backend.close()
        backend = open(proxy.endpoint, { connections: 1 })
        const slow = new PassThrough()
        slow.write(long[0]?.subarray(0, 200_000))
        const writing = backend.writePart(at, 1, slow, claimed(1, length))
        await until(() => sizes(isPart).length === 1, 'the slow one is on its way')
        const second = await pass(2, long[1] ?? Buffer.alloc(0))
        slow.end(long[0]?.subarray(200_000))
        const parts = [await writing, second]
        expect(parts.map(({ notes }) => notes.startsWith('{'))).toEqual([true, false])
        await backend.assemble(at, parts)
        await expectWhole(Buffer.concat(long.slice(0, 2)))
      })

      it('holds no more of a hundred at once than what is just passing', async () => {
        const piece = randomBytes(65_536)
        const body = () =>
          Readable.from(
            (function* () {
              for (let i = 0; i < 128; i++) yield Buffer.from(piece) // memory of its own, as from a socket
            })(),
          )
        await backend.close()
        const sink = await openSink()
        backend = open(sink.endpoint)
        const send = (number: number) =>
          backend.writePart(at, number, body(), claimed(number, 128 * piece.length))
        await send(1) // what is needed once
        const before = heldBytes()
        let peak = 0
        const sampling = setInterval(() => {
          peak = Math.max(peak, heldBytes())
        }, 200)
        const parts = await Promise.all(Array.from({ length: 100 }, (_, index) => send(index + 2)))
        clearInterval(sampling)
        await sink.close()
        expect([parts.every(({ notes }) => notes.startsWith('{')), peak > 0]).toEqual([true, true])
        expect(peak - before).toBeLessThan(LARGE_GROWTH) // of 800 MiB
      })
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

function md5(bytes: Uint8Array | string): string {
  return createHash('md5').update(bytes).digest('hex')
}

/** A store that takes all, and keeps nothing. */
async function openSink() {
  const server = createServer((request, answer) => {
    let last = Buffer.alloc(0) // all of what is short
    request.on('data', (bytes) => {
      last = bytes
    })
    request.on('end', () => {
      answer.setHeader('etag', `"${md5(last)}"`)
      const isCreate = request.method === 'POST'
      answer.end(
        isCreate
          ? '<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>'
          : '',
      )
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP
  return {
    endpoint: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}
