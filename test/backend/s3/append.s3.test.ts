import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { HeadObjectCommand, ListObjectsV2Command, ListPartsCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Stored, Unfinished } from '../../../src/backend/backend.ts'
import { type AppendOptions, NOTHING_YET, type Progress } from '../../../src/backend/resumable-backend.ts'
import { S3Backend } from '../../../src/backend/s3/s3-backend.ts'
import { readConfig } from '../../../src/config/config.ts'
import type { Location } from '../../../src/model/location.ts'
import { describeWithS3, s3Client, s3Env } from '../../support/s3.ts'
import { openS3Proxy, type ProxiedRequest, type S3Proxy } from '../../support/s3-proxy.ts'
import { until } from '../../support/wait.ts'
import { newLocation, stream } from '../contract.ts'

const MiB = 1024 * 1024
const PART = 5 * MiB

/** Two parts and a bit. */
const BYTES = randomBytes(2 * PART + 700_000)

type Kind = (request: ProxiedRequest) => boolean
const isPart: Kind = ({ method, query }) => method === 'PUT' && query.has('partNumber')
const isPut: Kind = ({ method, query }) => method === 'PUT' && !query.has('partNumber')
const isCreate: Kind = ({ method, query }) => method === 'POST' && query.has('uploads')
const isComplete: Kind = ({ method, query }) => method === 'POST' && query.has('uploadId')
const isDelete: Kind = ({ method }) => method === 'DELETE'
const isTail: Kind = ({ path }) => path.includes('/tails/')

describeWithS3('a version that arrives in chunks, in a store', (s3) => {
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
    backend = new S3Backend({ ...settings, spoolDir, partsPerPage: 2 })
    at = newLocation()
  })
  afterEach(async () => {
    await backend.close()
    await proxy.close()
    expect(await readdir(spoolDir)).toEqual([])
  })

  const append = (from: Progress, body: Readable | Uint8Array, options: Partial<AppendOptions> = {}) =>
    backend.append(at, from, body instanceof Readable ? body : stream(body, 65_536), {
      maxBytes: 1024 * MiB,
      size: null,
      signal: new AbortController().signal,
      tap: () => {},
      onProgress: async () => {},
      ...options,
    })

  /** Appends what is between these, of `bytes`, whose length is known. */
  const appendSlice = async (from: Progress, end: number, bytes = BYTES) => {
    const { progress } = await append(from, bytes.subarray(from.offset, end), { size: bytes.length })
    expect(progress.offset).toBe(end)
    return progress
  }

  const completed = async (progress: Progress, bytes: Uint8Array) => {
    await backend.complete(at, progress)
    return Buffer.from(bytes).equals(await backend.readWhole(at, bytes.length))
  }

  const key = () => `some/where/${at.bucket}/${at.version}`
  const tails = async () => {
    const Prefix = 'some/where/tails/'
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix }))
    return Contents.map(({ Size }) => Size)
  }
  const unfinished = async () => {
    const found: Unfinished[] = []
    for await (const one of backend.unfinished()) found.push(one)
    return found
  }
  const partSizes = async () => {
    const UploadId = (await unfinished()).find(({ id }) => !id.startsWith('tail:'))?.id
    const { Parts = [] } = await client.send(new ListPartsCommand({ Bucket, Key: key(), UploadId }))
    return Parts.map(({ Size }) => Size)
  }
  const count = (...kinds: Kind[]) =>
    proxy.requests.filter((request) => kinds.every((is) => is(request))).length

  it('has parts of equal length, whatever the lengths of the chunks', async () => {
    let progress = NOTHING_YET
    for (const end of [1, PART - 1, PART + 100, 2 * PART, BYTES.length]) {
      progress = await appendSlice(progress, end)
    }
    expect(await partSizes()).toEqual([PART, PART, 700_000])
    expect(await completed(progress, BYTES)).toBe(true)
    expect([await tails(), await unfinished()]).toEqual([[], []])
  })

  it('is sent without a tail when each chunk is as long as a part', async () => {
    let progress = NOTHING_YET
    for (const end of [PART, 2 * PART, BYTES.length]) progress = await appendSlice(progress, end)
    expect([count(isTail), count(isPart), count(isCreate)]).toEqual([0, 3, 1])
    expect(await completed(progress, BYTES)).toBe(true)
  })

  it('is a single PUT with its SHA-256 as metadata when it comes at once and fits into a part', async () => {
    const small = BYTES.subarray(0, PART)
    const progress = await appendSlice(NOTHING_YET, PART, small)
    expect([count(isPut), count(isPart), count(isCreate), count(isTail)]).toEqual([1, 0, 0, 0])
    expect(await completed(progress, small)).toBe(true)
    const { Metadata } = await client.send(new HeadObjectCommand({ Bucket, Key: key() }))
    expect(Metadata?.sha256).toMatch(/^[0-9a-f]{64}$/)
    expect(await append(progress, new Uint8Array(), { size: PART })).toEqual({ progress, cut: null })
    await expect(append(progress, randomBytes(1), { size: PART })).rejects.toMatchObject({
      code: 'EntityTooLarge',
    })
  })

  it('keeps one tail from chunk to chunk, or two until the next begins, and never lists one', async () => {
    let progress = NOTHING_YET
    const seen: number[] = []
    for (let end = 1000; end < 6000; end += 1000) {
      progress = await appendSlice(progress, end)
      seen.push((await tails()).length)
    }
    expect(seen).toEqual([1, 2, 2, 2, 2])
    const listed: Stored[] = []
    for await (const stored of backend.list()) listed.push(stored)
    expect(listed).toEqual([])
    expect(await completed(progress, BYTES.subarray(0, 5000))).toBe(true)
    expect(await tails()).toEqual([])
  })

  it('has notes that do not grow with it', async () => {
    const large = Buffer.alloc(5 * PART + 5, BYTES)
    let longest = 0
    const { progress } = await append(NOTHING_YET, stream(large, MiB), {
      onProgress: async ({ notes }) => {
        longest = Math.max(longest, notes?.length ?? 0)
      },
    })
    expect(JSON.parse(progress.notes ?? '')).toMatchObject({ parts: 5, tail: { size: 5 } })
    expect(Math.max(longest, progress.notes?.length ?? 0)).toBeLessThan(400)
    expect(await completed(progress, large)).toBe(true)
  })

  it('makes of the tail the last part when it turns out that all is there', async () => {
    const { progress } = await append(NOTHING_YET, BYTES)
    expect(await tails()).toEqual([700_000])
    const { progress: ended } = await append(progress, new Uint8Array(), { size: BYTES.length })
    expect(await partSizes()).toEqual([PART, PART, 700_000])
    expect(await completed(ended, BYTES)).toBe(true)
    expect(await tails()).toEqual([])
  })

  it('tells of a new upload with its first part, one call at a time, and goes on from there', async () => {
    const told: Progress[] = []
    let telling = 0
    let most = 0
    await append(NOTHING_YET, BYTES, {
      onProgress: async (progress) => {
        most = Math.max(most, ++telling)
        told.push(progress)
        await new Promise(setImmediate)
        telling--
      },
    })
    expect(most).toBe(1)
    expect(told.length).toBeLessThanOrEqual(2)
    const [first] = told
    expect(first?.offset).toBeGreaterThan(0)
    expect((first?.offset ?? 0) % PART).toBe(0)
    const progress = await appendSlice(first ?? NOTHING_YET, BYTES.length)
    expect(await completed(progress, BYTES)).toBe(true)
  })

  it.each<[what: string, start: number, options: Partial<AppendOptions>]>([
    ['has a byte too many', PART + 1000, { maxBytes: PART + 1500 }],
    ['is not wanted', 1000, { onProgress: () => Promise.reject(new Error('not wanted')) }],
  ])('goes back to where it was when a chunk %s', async (_, start, options) => {
    const before = await appendSlice(NOTHING_YET, start)
    await expect(append(before, randomBytes(PART + 2000), options)).rejects.toThrow()
    expect(await completed(await appendSlice(before, BYTES.length), BYTES)).toBe(true)
    expect(await tails()).toEqual([])
  })

  it('goes back from a chunk that was stored, even from the last one', async () => {
    const small = BYTES.subarray(0, 5000)
    const before = await appendSlice(NOTHING_YET, 1000, small)
    const wrong = Buffer.concat([small.subarray(0, 1000), randomBytes(4000)])
    await appendSlice(before, 3000, wrong)
    await appendSlice(before, 5000, wrong)
    const progress = await appendSlice(await appendSlice(before, 2000, small), 5000, small)
    expect(await completed(progress, small)).toBe(true)
  })

  it('keeps what has come of a chunk that is cut off', async () => {
    const cutting = new AbortController()
    let seen = 0
    const { progress, cut } = await append(NOTHING_YET, BYTES, {
      size: BYTES.length,
      signal: cutting.signal,
      tap: (chunk) => {
        seen += chunk.length
        if (seen > PART + 1_000_000) cutting.abort(new Error('another request is here'))
      },
    })
    expect(cut?.message).toBe('another request is here')
    expect(progress.offset).toBe(seen)
    expect(await tails()).toEqual([seen - PART])
    expect(await completed(await appendSlice(progress, BYTES.length), BYTES)).toBe(true)
  })

  it('is completed though the answer to that is lost', async () => {
    const progress = await appendSlice(NOTHING_YET, BYTES.length)
    const lost = proxy.fail({ at: 'after', what: 'cut' }, { times: 1, when: isComplete })
    expect([await completed(progress, BYTES), lost.count]).toEqual([true, 1])
    expect(await completed(progress, BYTES)).toBe(true)
  })

  it('is complete when it is asked again, though every answer was lost', async () => {
    const { progress } = await append(NOTHING_YET, BYTES)
    const lost = proxy.fail({ at: 'after', what: 'cut' }, { when: isComplete })
    await expect(backend.complete(at, progress)).rejects.toMatchObject({ code: 'BackendUnavailable' })
    lost.stop()
    expect(await completed(progress, BYTES)).toBe(true)
    expect([await tails(), await unfinished()]).toEqual([[], []])
  })

  it('is completed by the next try when the store does not answer', async () => {
    const progress = await appendSlice(NOTHING_YET, BYTES.length)
    const outage = proxy.fail({ at: 'before', what: 'cut' }, { when: isComplete })
    await expect(backend.complete(at, progress)).rejects.toMatchObject({ code: 'BackendUnavailable' })
    outage.stop()
    expect(await completed(progress, BYTES)).toBe(true)
  })

  it('is not completed, and not gone on with, when something of it is missing', async () => {
    const progress = await appendSlice(NOTHING_YET, PART + 1000)
    const missing = { code: 'MissingBytes' }
    await expect(backend.complete(at, { ...progress, offset: PART + 999 })).rejects.toMatchObject(missing)
    expect(await backend.exists(at)).toBe(false)
    for (const one of await unfinished()) if (one.id.startsWith('tail:')) await backend.abandon(one)
    const body = stream(BYTES, 65_536)
    await expect(append(progress, body)).rejects.toMatchObject(missing)
    for (const one of await unfinished()) await backend.abandon(one)
    const withoutTail = {
      offset: PART,
      notes: JSON.stringify({ ...JSON.parse(progress.notes ?? ''), tail: null }),
    }
    await expect(append(withoutTail, body)).rejects.toMatchObject(missing)
    await expect(backend.complete(at, withoutTail)).rejects.toMatchObject(missing)
    expect(body.readableDidRead).toBe(false)
  })

  it.each<[whose: string, notes: string | null]>([
    ['no notes', null],
    ['notes that are no JSON', 'abc'],
    ['notes of another kind', '{"uploadId":7}'],
    ['notes of fewer bytes', '{"uploadId":null,"parts":0,"tail":null,"staleTail":null,"isWhole":false}'],
  ])('is in another backend when there are %s, and nothing is read', async (_, notes) => {
    const body = stream(BYTES, 65_536)
    await expect(append({ offset: 1000, notes }, body)).rejects.toMatchObject({ code: 'MissingBytes' })
    await expect(backend.complete(at, { offset: 1000, notes })).rejects.toMatchObject({
      code: 'MissingBytes',
    })
    expect(body.readableDidRead).toBe(false)
    await backend.goBack(at, { from: { offset: 1000, notes }, to: NOTHING_YET })
    await backend.discard(at)
  })

  it('leaves no upload behind of which nobody was told', async () => {
    const outage = proxy.fail({ at: 'before', what: 'cut' }, { when: isPart })
    await expect(append(NOTHING_YET, BYTES)).rejects.toMatchObject({ code: 'BackendUnavailable' })
    expect(outage.count).toBeGreaterThan(0)
    expect(await unfinished()).toEqual([])
  })

  it('goes on after an outage from what was told last', async () => {
    let last: Progress = NOTHING_YET
    const outage = proxy.fail(
      { at: 'before', what: 'cut' },
      { when: (request) => isPart(request) && request.query.get('partNumber') === '3' },
    )
    async function* body() {
      yield* stream(BYTES.subarray(0, 2 * PART + 1), 65_536)
      await until(() => last.offset > 0, 'a part has been told of')
      yield BYTES.subarray(2 * PART + 1)
    }
    const onProgress = async (progress: Progress) => {
      last = progress
    }
    await expect(
      append(NOTHING_YET, Readable.from(body()), { size: BYTES.length, onProgress }),
    ).rejects.toMatchObject({ code: 'BackendUnavailable' })
    outage.stop()
    expect(outage.count).toBeGreaterThan(0)
    expect(await completed(await appendSlice(last, BYTES.length), BYTES)).toBe(true)
  })

  it('is not told of a part as long as one before it is missing', async () => {
    // The third part leaves once there is a whole batch after it.
    const bytes = Buffer.alloc(3 * PART + MiB, BYTES)
    proxy.fail({ at: 'before', what: 'stall' }, { times: 1, when: isPart })
    const isStored = (part: string) =>
      proxy.requests.some(({ query, status }) => query.get('partNumber') === part && status === 200)
    async function* body() {
      yield* stream(bytes, 65_536)
      await until(() => isStored('2') && isStored('3'), 'the other parts are stored')
      proxy.cut()
    }
    const wasFirstStored: boolean[] = []
    const { progress } = await append(NOTHING_YET, Readable.from(body()), {
      onProgress: async () => {
        wasFirstStored.push(isStored('1'))
      },
    })
    expect(wasFirstStored).toEqual([true])
    expect(await completed(progress, bytes)).toBe(true)
  })

  it('leaves nothing when it is discarded, whatever its notes say', async () => {
    await appendSlice(NOTHING_YET, 1000)
    await appendSlice(await appendSlice(NOTHING_YET, PART + 1000), 2 * PART + 500)
    await appendSlice(NOTHING_YET, 1000, BYTES.subarray(0, 1000))
    expect(await backend.exists(at)).toBe(true)
    const outage = proxy.fail({ at: 'before', what: 'cut' }, { when: isDelete })
    await expect(backend.discard(at)).rejects.toMatchObject({ code: 'BackendUnavailable' })
    outage.stop()
    await backend.discard(at)
    await backend.discard(at)
    expect([await tails(), await unfinished(), await backend.exists(at)]).toEqual([[], [], false])
  })

  it('has a tail that the cleanup finds among unfinished writes, and removes', async () => {
    const since = Date.now()
    const progress = await appendSlice(NOTHING_YET, 1000)
    const [tail, ...others] = await unfinished()
    expect([tail?.location, tail?.id, others]).toEqual([at, expect.stringMatching(/^tail:/), []])
    expect(Math.abs((tail?.startedAt.getTime() ?? 0) - since)).toBeLessThan(60_000)
    if (tail) await backend.abandon(tail)
    if (tail) await backend.abandon(tail)
    expect(await unfinished()).toEqual([])
    await expect(backend.complete(at, progress)).rejects.toMatchObject({ code: 'MissingBytes' })
  })

  it('is an empty object when nothing came', async () => {
    const { progress } = await append(NOTHING_YET, new Uint8Array(), { size: 0 })
    expect(progress).toEqual(NOTHING_YET)
    expect(await completed(progress, new Uint8Array())).toBe(true)
    expect(await completed(progress, new Uint8Array())).toBe(true)
  })

  it('leaves nothing of unwanted chunks but what it goes on with, and asks the store for no lists', async () => {
    const to = await appendSlice(NOTHING_YET, 1000)
    const before = await unfinished()
    for (const length of [2000, PART + 2000, 2 * PART]) {
      const { progress: from } = await append(to, randomBytes(length))
      expect((await unfinished()).length).toBeGreaterThan(1)
      const asked = proxy.requests.length
      await backend.goBack(at, { from, to })
      expect(proxy.requests.slice(asked).every(isDelete)).toBe(true)
      expect(await unfinished()).toEqual(before)
    }
    expect(await completed(await appendSlice(to, BYTES.length), BYTES)).toBe(true)
  })

  it('leaves nothing of an unwanted chunk that failed after some of it was stored', async () => {
    let from: Progress = NOTHING_YET
    const outage = proxy.fail(
      { at: 'before', what: 'cut' },
      { when: (request) => isPart(request) && request.query.get('partNumber') === '2' },
    )
    async function* body() {
      yield* stream(BYTES.subarray(0, PART + 1), 65_536)
      await until(() => from.offset > 0, 'a part has been told of')
      yield BYTES.subarray(PART + 1)
    }
    const onProgress = async (progress: Progress) => {
      from = progress
    }
    await expect(append(NOTHING_YET, Readable.from(body()), { onProgress })).rejects.toMatchObject({
      code: 'BackendUnavailable',
    })
    outage.stop()
    expect(outage.count).toBeGreaterThan(0)
    expect(await unfinished()).toHaveLength(1)
    await backend.goBack(at, { from, to: NOTHING_YET })
    expect(await unfinished()).toEqual([])
  })

  it('says that the store does not answer when unwanted chunks cannot be freed', async () => {
    const { progress: from } = await append(NOTHING_YET, BYTES)
    const outage = proxy.fail({ at: 'before', what: 'cut' }, { when: isDelete })
    const going = () => backend.goBack(at, { from, to: NOTHING_YET })
    await expect(going()).rejects.toMatchObject({ code: 'BackendUnavailable' })
    outage.stop()
    await going()
    expect(await unfinished()).toEqual([])
  })

  it('is never made of bytes that it has gone back from, though Ceph cannot forget parts', async () => {
    const before = await appendSlice(NOTHING_YET, PART + 1000)
    await append(before, randomBytes(2 * PART))
    const short = BYTES.subarray(0, PART + 2000)
    const progress = await appendSlice(before, short.length, short)
    const outcome = await completed(progress, short).catch(({ code }: { code: string }) => code)
    expect([true, 'MissingBytes']).toContain(outcome)
  })
})
