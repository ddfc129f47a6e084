import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import type { Unfinished } from '../../../src/backend/backend.ts'
import { S3Backend } from '../../../src/backend/s3/s3-backend.ts'
import { readConfig } from '../../../src/config/config.ts'
import type { S3Settings } from '../../../src/config/s3.ts'
import type { Location } from '../../../src/model/location.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import { type Fault, openS3Proxy, type ProxiedRequest } from '../../support/s3-proxy.ts'
import { until } from '../../support/wait.ts'
import { newLocation, stream } from '../contract.ts'

const MiB = 1024 * 1024
const ATTEMPTS = 3
const CONNECTIONS = 8
const SETTINGS = {
  STORAGE_S3_ATTEMPTS: String(ATTEMPTS),
  STORAGE_S3_PART_SIZE: String(5 * MiB),
  STORAGE_S3_CONNECTIONS: String(CONNECTIONS),
}

/**
 * Where the store falls silent: short, so that the silence is over soon, and tried often, since an answer may take as long
 * as that when the machine is busy. Elsewhere lateness is no fault.
 */
const HASTY = { timeoutMs: 400, attempts: 10 }

const SMALL = randomBytes(100_000)
/** Three parts. */
const LARGE = randomBytes(11 * MiB)

type Kind = (request: ProxiedRequest) => boolean
const isPut: Kind = ({ method, query }) => method === 'PUT' && !query.has('partNumber')
const isCreate: Kind = ({ method, query }) => method === 'POST' && query.has('uploads')
const isPart: Kind = ({ method, query }) => method === 'PUT' && query.has('partNumber')
const isComplete: Kind = ({ method, query }) => method === 'POST' && query.has('uploadId')
const isHead: Kind = ({ method }) => method === 'HEAD'
/** Asked where an object is not, since the answer does not say whether it is the bucket that is missing. */
const isBucketLook: Kind = ({ method, path }) => method === 'HEAD' && /^\/[^/]+\/?$/.test(path)
const isGet: Kind = ({ method }) => method === 'GET'
const isDelete: Kind = ({ method }) => method === 'DELETE'

/** What may happen once to any request. */
const MISHAPS: [what: string, fault: Fault][] = [
  ['is cut off before the store sees it', { at: 'before', what: 'cut' }],
  ['is done, and its answer is lost', { at: 'after', what: 'cut' }],
  ['is answered with 503', { at: 'before', what: { status: 503, code: 'SlowDown' } }],
  ['is answered with 500', { at: 'before', what: { status: 500, code: 'InternalError' } }],
  ['is not answered at all', { at: 'before', what: 'stall' }],
  ['is done, and not answered', { at: 'after', what: 'stall' }],
]

// They wait most of the time, so several do so at once, each with a bucket and a proxy of its own.
describeWithS3.concurrent('a store that fails', (s3) => {
  let spoolDir: string
  beforeAll(async () => {
    spoolDir = await mkdtemp(join(tmpdir(), 'strongroom-spool-'))
  })
  afterAll(() => rm(spoolDir, { recursive: true }))

  /** An empty store for one test, and what that does with it. */
  async function openStore({ onTestFinished }: TestContext, other: Partial<S3Settings> = {}) {
    const env = await s3Env(s3)
    const proxy = await openS3Proxy(s3)
    const read = readConfig({ ...env, STORAGE_S3_ENDPOINT: proxy.endpoint, ...SETTINGS }).s3
    if (!read) throw new Error('there are no settings for S3')
    const settings = { ...read, ...other }
    const backend = new S3Backend({ ...settings, spoolDir, copyAtOnce: 5 * MiB })
    onTestFinished(async () => {
      await backend.close()
      await proxy.close()
    })

    const write = (bytes: Buffer, at = newLocation()) =>
      backend.write(at, stream(bytes, 60_000), { maxBytes: bytes.length }).then(() => at)
    const isIntact = async (at: Location, bytes: Buffer) =>
      bytes.equals(await buffer(await backend.read(at, { size: bytes.length })))
    const unfinished = async () => {
      const found: Unfinished[] = []
      for await (const one of backend.unfinished()) found.push(one)
      return found
    }
    /** How many may have been begun whose ids nobody uses, since the answers were lost: these are for the cleanup. */
    const mayBeLost = () => {
      const begun = proxy.requests.filter((request) => isCreate(request) && request.isPassedOn)
      const known = new Set(proxy.requests.flatMap(({ query }) => query.get('uploadId') ?? []))
      return begun.length - known.size
    }
    return { proxy, settings, backend, write, isIntact, unfinished, mayBeLost }
  }

  // What takes longest begins first.
  it('keeps nobody waiting for ever when it falls silent in the middle of an error or a list', async (test) => {
    const few = { attempts: 2, timeoutMs: 400, connectTimeoutMs: 400 }
    const { proxy, backend } = await openStore(test, few)
    const silence = proxy.fail({ at: { responseBytes: 10 }, what: 'stall' })
    const list = async () => {
      for await (const stored of backend.list()) expect(stored).toBeUndefined()
    }
    const [read, listed] = await Promise.allSettled([backend.read(newLocation()), list()])
    silence.stop()
    expect([read, listed]).toMatchObject([
      { status: 'rejected', reason: { code: 'BackendUnavailable' } },
      { status: 'rejected', reason: { code: 'BackendUnavailable' } },
    ])
    expect(silence.count).toBeGreaterThanOrEqual(2)
  })

  it('takes an upload over a line that needs longer than its timeout, but is never silent for so long', async (test) => {
    const { proxy, settings, isIntact } = await openStore(test)
    const line = await slowLine(proxy.endpoint, 2 * MiB)
    const [timeoutMs, partSize] = [8000, 32 * MiB]
    const slow = new S3Backend({ ...settings, timeoutMs, partSize, endpoint: line.endpoint, spoolDir })
    try {
      const at = newLocation()
      const bytes = Buffer.alloc(24 * MiB, SMALL) // twelve seconds, and more than the sockets on the way hold
      await slow.write(at, stream(bytes, 60_000), { maxBytes: bytes.length })
      expect(proxy.requests.filter(isPut)).toHaveLength(1)
      expect(await isIntact(at, bytes)).toBe(true)
    } finally {
      await slow.close()
      await line.close()
    }
  })

  it('has a connection free for others when clients stop reading, who get the rest later', async (test) => {
    // Those who have stopped give way after that.
    const { backend, write, isIntact } = await openStore(test, { timeoutMs: 8000 })
    const at = await write(LARGE)
    const stopped = await Promise.all(Array.from({ length: CONNECTIONS }, () => backend.read(at)))
    await Promise.all(stopped.map((body) => once(body, 'readable')))
    await until(
      async () => isIntact(at, LARGE).catch(() => false),
      'another client has read all that those have left',
    )
    for (const body of stopped) expect(LARGE.equals(await buffer(body))).toBe(true)
  })

  describe.each(MISHAPS)('once: a request %s', (_what, fault) => {
    const settings = fault.what === 'stall' ? HASTY : {}

    it('lets a small upload through', async (test) => {
      const { proxy, write, isIntact } = await openStore(test, settings)
      const injected = proxy.fail(fault, { times: 1, when: isPut })
      expect([await isIntact(await write(SMALL), SMALL), injected.count]).toEqual([true, 1])
    })

    it.for<[what: string, when: Kind]>([
      ['the first look', isHead],
      ['the look at the bucket behind it', isBucketLook],
      ['the beginning', isCreate],
      ['a part', isPart],
      ['the completion', isComplete],
    ])('lets a large upload through, when that is %s', async ([_, when], test) => {
      const { proxy, write, isIntact, unfinished, mayBeLost } = await openStore(test, settings)
      const injected = proxy.fail(fault, { times: 1, when })
      expect([await isIntact(await write(LARGE), LARGE), injected.count]).toEqual([true, 1])
      const { length } = await unfinished()
      expect(length).toBeLessThanOrEqual(mayBeLost())
      if (when === isCreate && fault.at === 'after') expect(length).toBeGreaterThan(0)
    })

    it('lets a download, a look, a list and a removal through', async (test) => {
      const { proxy, backend, write, isIntact } = await openStore(test, settings)
      const at = await write(SMALL)
      const injected = [isGet, isHead, isDelete].map((when) => proxy.fail(fault, { times: 1, when }))
      expect(await isIntact(at, SMALL)).toBe(true)
      expect(await backend.size(at)).toBe(SMALL.length)
      proxy.fail(fault, { times: 1, when: isGet })
      for await (const { location } of backend.list()) expect(location).toEqual(at)
      await backend.remove(at)
      expect(await backend.exists(at)).toBe(false)
      expect(injected.map(({ count }) => count)).toEqual([1, 1, 1])
    })

    it.for<[how: string, bytes: Buffer, when: Kind]>([
      ['at once', SMALL, isPut],
      ['in parts', LARGE, isPart],
    ])('lets a copy through that is made %s', async ([_, bytes, when], test) => {
      const { proxy, backend, write, isIntact, unfinished, mayBeLost } = await openStore(test, settings)
      const [from, to] = [await write(bytes), newLocation()]
      const injected = proxy.fail(fault, { times: 1, when })
      await backend.copy(from, to)
      expect([await isIntact(to, bytes), injected.count]).toEqual([true, 1])
      expect((await unfinished()).length).toBeLessThanOrEqual(mayBeLost())
    })
  })

  it('cannot break a download by cutting it off again and again', async (test) => {
    const { proxy, write, isIntact } = await openStore(test)
    const at = await write(LARGE)
    const cuts = proxy.fail({ at: { responseBytes: 2 * MiB }, what: 'cut' }, { times: 5, when: isGet })
    expect([await isIntact(at, LARGE), cuts.count]).toEqual([true, 5])
  })

  it('cannot break a download by falling silent in its middle', async (test) => {
    const { proxy, write, isIntact } = await openStore(test, HASTY)
    const at = await write(LARGE)
    const stalls = proxy.fail({ at: { responseBytes: 3 * MiB }, what: 'stall' }, { times: 2, when: isGet })
    expect([await isIntact(at, LARGE), stalls.count]).toEqual([true, 2])
  })

  it('goes on with the right bytes of a range', async (test) => {
    const { proxy, backend, write } = await openStore(test)
    const at = await write(LARGE)
    proxy.fail({ at: { responseBytes: MiB }, what: 'cut' }, { times: 3, when: isGet })
    const range = { start: 12_345, end: 12_345 + 6 * MiB }
    const read = await buffer(await backend.read(at, { range, size: LARGE.length }))
    expect(LARGE.subarray(range.start, range.end + 1).equals(read)).toBe(true)
  })

  it('is asked once by a client that reads slowly', async (test) => {
    const { proxy, backend, write } = await openStore(test)
    const at = await write(LARGE)
    proxy.requests.length = 0
    const pieces: Buffer[] = []
    for await (const piece of await backend.read(at)) {
      pieces.push(piece)
      const since = Date.now()
      await until(() => Date.now() > since + 10, 'the client has looked at the piece')
    }
    expect([LARGE.equals(Buffer.concat(pieces)), proxy.requests.length]).toEqual([true, 1])
  })

  it('has one for small objects and for its check all the time', async (test) => {
    const { backend, write } = await openStore(test)
    const [large, small] = [await write(LARGE), await write(SMALL)]
    const stopped = await Promise.all(Array.from({ length: CONNECTIONS }, () => backend.read(large)))
    await Promise.all(stopped.map((body) => once(body, 'readable')))
    expect(SMALL.equals(await backend.readWhole(small, SMALL.length))).toBe(true)
    await backend.check()
    for (const body of stopped) body.destroy()
  })

  it('breaks a download, and never ends it early, when nothing more comes', async (test) => {
    const { proxy, backend, write } = await openStore(test)
    const at = await write(LARGE)
    const body = await backend.read(at)
    await once(body, 'data')
    proxy.fail({ at: 'before', what: { status: 503, code: 'SlowDown' } })
    proxy.cut()
    await expect(buffer(body)).rejects.toMatchObject({ code: 'BackendUnavailable' })
  })

  it.for<[what: string, bytes: Buffer, when: Kind]>([
    ['a small upload', SMALL, isPut],
    ['a part', LARGE, isPart],
    ['a completion', LARGE, isComplete],
  ])(
    'answers BackendUnavailable when %s fails every time, and has nothing of it',
    async ([_, bytes, when], test) => {
      const { proxy, backend, write, unfinished } = await openStore(test)
      const at = newLocation()
      const injected = proxy.fail({ at: 'before', what: 'cut' }, { when })
      await expect(write(bytes, at)).rejects.toMatchObject({ code: 'BackendUnavailable' })
      expect(injected.count).toBeGreaterThanOrEqual(ATTEMPTS)
      injected.stop()
      expect(await backend.exists(at)).toBe(false)
      expect(await unfinished()).toEqual([])
    },
  )

  it('is told apart from a refusal, which is not tried again', async (test) => {
    const { proxy, write } = await openStore(test)
    const injected = proxy.fail(
      { at: 'before', what: { status: 403, code: 'AccessDenied' } },
      { when: isPut },
    )
    await expect(write(SMALL)).rejects.toMatchObject({ code: 'BackendRefused' })
    expect(injected.count).toBe(1)
  })

  it.for<[status: number, code: string]>([
    [400, 'RequestTimeout'],
    [408, 'RequestTimeout'],
    [409, 'ConditionalRequestConflict'],
    [429, 'TooManyRequests'],
  ])('is unavailable, and refuses nobody, when it answers %i %s', async ([status, code], test) => {
    const { proxy, write } = await openStore(test)
    proxy.fail({ at: 'before', what: { status, code } }, { when: isPut })
    await expect(write(SMALL)).rejects.toMatchObject({ code: 'BackendUnavailable' })
  })

  it('may be asked again for an upload that a cleanup has abandoned meanwhile', async (test) => {
    const { proxy, write } = await openStore(test)
    proxy.fail({ at: 'before', what: { status: 404, code: 'NoSuchUpload' } }, { when: isPart })
    await expect(write(LARGE)).rejects.toMatchObject({ code: 'BackendUnavailable' })
  })

  it('says that it is full', async (test) => {
    const { proxy, write } = await openStore(test)
    proxy.fail({ at: 'before', what: { status: 403, code: 'QuotaExceeded' } }, { when: isPut })
    await expect(write(SMALL)).rejects.toMatchObject({ code: 'StorageFull' })
  })

  it('may be one that cannot refuse to replace an object', async (test) => {
    const { proxy, write, isIntact } = await openStore(test)
    const injected = proxy.fail(
      { at: 'before', what: { status: 501, code: 'NotImplemented' } },
      { times: 1, when: isPut },
    )
    expect([await isIntact(await write(SMALL), SMALL), injected.count]).toEqual([true, 1])
    expect(await isIntact(await write(SMALL), SMALL)).toBe(true)
  })
})

/** A line to the store that takes only so many bytes per second, over all its connections. */
async function slowLine(endpoint: string, bytesPerSecond: number) {
  const { hostname, port } = new URL(endpoint)
  const sockets = new Set<Socket>()
  const line = createServer((client) => {
    const store = connect(Number(port), hostname)
    for (const socket of [client, store]) sockets.add(socket.on('error', () => {}))
    client.on('data', (chunk) => {
      client.pause()
      store.write(chunk)
      const share = [...sockets].filter((socket) => !socket.destroyed).length / 2
      setTimeout(() => client.resume(), (1000 * chunk.length * share) / bytesPerSecond)
    })
    client.on('close', () => store.destroy())
    store.pipe(client)
  })
  await once(line.listen(0, '127.0.0.1'), 'listening')
  return {
    endpoint: `http://127.0.0.1:${(line.address() as AddressInfo).port}`,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((closed) => line.close(closed))
    },
  }
}
