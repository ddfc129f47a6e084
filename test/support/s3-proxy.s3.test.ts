import type { Readable } from 'node:stream'
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { describeWithS3, newStoreBucket, s3Client } from './s3.ts'
import { openS3Proxy, type S3Proxy } from './s3-proxy.ts'
import { until } from './wait.ts'

/** Larger than what the sockets between here and the store hold. */
const LARGE = Buffer.alloc(16 * 2 ** 20, 'abcdefg')
const KEY = 'a folder/ä'

describeWithS3('a proxy in front of a store', (s3) => {
  let proxy: S3Proxy
  let client: S3Client
  let direct: S3Client
  let Bucket: string

  beforeEach(async () => {
    Bucket = await newStoreBucket(s3)
    proxy = await openS3Proxy(s3)
    client = s3Client(proxy)
    direct = s3Client(s3)
  })
  afterEach(async () => {
    client.destroy()
    direct.destroy()
    await proxy.close()
  })

  const put = (Body: string | Buffer, through = client) =>
    through.send(new PutObjectCommand({ Bucket, Key: KEY, Body }))
  /** The whole body. */
  const get = async (through = client) => {
    const { Body } = await through.send(new GetObjectCommand({ Bucket, Key: KEY }))
    return Body?.transformToString()
  }
  /** Counts what arrives of a body until the connection breaks, and tells how that is heard of. */
  const getBroken = async (arrived: { length: number }, abortSignal = new AbortController().signal) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: KEY }), { abortSignal })
    try {
      for await (const chunk of Body as AsyncIterable<Buffer>) arrived.length += chunk.length
    } catch (error) {
      return error
    }
    throw new Error('the body was whole')
  }
  const isStored = () =>
    direct.send(new HeadObjectCommand({ Bucket, Key: KEY })).then(
      () => true,
      (error: Error) => (error.name === 'NotFound' ? false : Promise.reject(error)),
    )

  it('lets requests of any size through as they are, and records them', async () => {
    await put('small')
    expect(await get()).toBe('small')
    await put(LARGE)
    expect((await get()) === LARGE.toString()).toBe(true)
    await client.send(new HeadObjectCommand({ Bucket, Key: KEY }))
    await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'a f' }))
    await expect(client.send(new GetObjectCommand({ Bucket, Key: 'none' }))).rejects.toThrow()

    const path = `/${Bucket}/a%20folder/%C3%A4`
    expect(proxy.requests.slice(0, 5)).toMatchObject([
      { method: 'PUT', path, status: 200, requestBytes: 5, responseBytes: 0 },
      { method: 'GET', path, status: 200, requestBytes: 0, responseBytes: 5 },
      { method: 'PUT', path, status: 200, requestBytes: LARGE.length, responseBytes: 0 },
      { method: 'GET', path, status: 200, requestBytes: 0, responseBytes: LARGE.length },
      { method: 'HEAD', path, status: 200, requestBytes: 0, responseBytes: 0 },
    ])
    expect(proxy.requests[5]?.query.get('prefix')).toBe('a f')
    expect(proxy.requests[6]).toMatchObject({ method: 'GET', path: `/${Bucket}/none`, status: 404 })
    expect(proxy.requests).toHaveLength(7)
  })

  it('cuts the connection before the store has seen a request', async () => {
    const fault = proxy.fail({ at: 'before', what: 'cut' }, { times: 1 })
    await expect(put('lost')).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(await isStored()).toBe(false)
    expect(fault.count).toBe(1)
    expect(proxy.requests).toMatchObject([{ method: 'PUT', status: null, requestBytes: 0 }])
    await put('kept')
    expect(await get()).toBe('kept')
  })

  it('cuts the connection when the store has done what the client does not hear of', async () => {
    proxy.fail({ at: 'after', what: 'cut' }, { times: 1 })
    await expect(put('stored')).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(proxy.requests).toMatchObject([{ method: 'PUT', status: null, requestBytes: 6 }])
    expect(await get(direct)).toBe('stored')
  })

  it('cuts the connection within the body of a request, which the store then drops', async () => {
    const fault = proxy.fail({ at: { requestBytes: 5_000_000 }, what: 'cut' })
    await expect(put(LARGE)).rejects.toMatchObject({ code: expect.stringMatching(/ECONNRESET|EPIPE/) })
    expect(fault.count).toBe(1)
    expect(proxy.requests).toMatchObject([{ status: null, requestBytes: 5_000_000 }])
    expect(await isStored()).toBe(false)
    await put('too short for that')
    expect(fault.count).toBe(1)
  })

  it('cuts the connection within the body of an answer, of which so much has arrived', async () => {
    await put(LARGE, direct)
    for (const responseBytes of [0, 1000, 5_000_000]) {
      proxy.fail({ at: { responseBytes }, what: 'cut' }, { times: 1 })
      const arrived = { length: 0 }
      expect(await getBroken(arrived)).toMatchObject({ code: 'ECONNRESET' })
      expect(arrived.length).toBe(responseBytes)
      expect(proxy.requests.at(-1)).toMatchObject({ status: 200, responseBytes })
    }
  })

  it('refuses in the place of the store, before or after it has done the work', async () => {
    const slowDown = { status: 503, code: 'SlowDown' }
    const refused = { name: 'SlowDown', $metadata: { httpStatusCode: 503 } }
    proxy.fail({ at: 'before', what: slowDown }, { times: 2 })
    await expect(put(LARGE)).rejects.toMatchObject(refused)
    await expect(put('lost')).rejects.toMatchObject(refused)
    expect(await isStored()).toBe(false)

    proxy.fail({ at: { requestBytes: 1_000_000 }, what: slowDown }, { times: 1 })
    await expect(put(LARGE)).rejects.toMatchObject(refused)
    expect(await isStored()).toBe(false)

    proxy.fail({ at: 'after', what: { status: 500, code: 'InternalError' } }, { times: 1 })
    await expect(put('stored')).rejects.toMatchObject({ name: 'InternalError' })
    expect(await get(direct)).toBe('stored')
    expect(proxy.requests.map(({ status }) => status)).toEqual([503, 503, 503, 500])
  })

  it('stalls before, within and behind a request, until the client gives up', async () => {
    const stalls = async (at: 'before' | 'after' | { requestBytes: number }, bytes: number) => {
      const fault = proxy.fail({ at, what: 'stall' }, { times: 1 })
      const abort = new AbortController()
      const sent = client.send(new PutObjectCommand({ Bucket, Key: KEY, Body: LARGE }), {
        abortSignal: abort.signal,
      })
      const outcome = expect(sent).rejects.toMatchObject({ name: 'AbortError' })
      await until(() => fault.count === 1, 'the request stalls')
      expect(proxy.requests.at(-1)).toMatchObject({ status: null, requestBytes: bytes })
      abort.abort()
      await outcome
    }
    await stalls('before', 0)
    await stalls({ requestBytes: 1_000_000 }, 1_000_000)
    expect(await isStored()).toBe(false)
    await stalls('after', LARGE.length)
    expect(await isStored()).toBe(true)
  })

  it('stalls within an answer', async () => {
    await put(LARGE, direct)
    const fault = proxy.fail({ at: { responseBytes: 1000 }, what: 'stall' })
    const [arrived, abort] = [{ length: 0 }, new AbortController()]
    const broken = getBroken(arrived, abort.signal)
    await until(() => fault.count === 1 && arrived.length === 1000, 'the answer stalls')
    expect(proxy.requests.at(-1)).toMatchObject({ status: 200, responseBytes: 1000 })
    abort.abort()
    expect(await broken).toMatchObject({ code: 'ECONNRESET' })
    expect(arrived.length).toBe(1000)
  })

  it('lets those requests fail that are meant, as often as is meant', async () => {
    await put('x', direct)
    const twice = proxy.fail(
      { at: 'before', what: { status: 500, code: 'Twice' } },
      { times: 2, when: ({ method, path }) => method === 'GET' && path.startsWith(`/${Bucket}/`) },
    )
    const always = proxy.fail(
      { at: 'before', what: { status: 500, code: 'Always' } },
      { when: ({ query }) => query.has('list-type') },
    )
    const list = () => client.send(new ListObjectsV2Command({ Bucket }))
    await put('x')
    for (const _ of [1, 2]) await expect(get()).rejects.toMatchObject({ name: 'Twice' })
    expect(await get()).toBe('x')
    for (const _ of [1, 2, 3]) await expect(list()).rejects.toMatchObject({ name: 'Always' })
    always.stop()
    expect((await list()).KeyCount).toBe(1)
    expect([twice.count, always.count]).toEqual([2, 3])
  })

  it('keeps a fault for the next request when a client gives up before it has come about', async () => {
    await put(LARGE, direct)
    const cut = proxy.fail({ at: { responseBytes: LARGE.length - 1 }, what: 'cut' }, { times: 1 })
    const abort = new AbortController()
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: KEY }), {
      abortSignal: abort.signal,
    })
    abort.abort()
    ;(Body as Readable).destroy()
    await until(async () => (await getBroken({ length: 0 })) instanceof Error, 'another one has it')
    expect(cut.count).toBe(1)
    expect(await get()).toHaveLength(LARGE.length)
  })

  it('takes the answer away with the connection when the store itself is not there', async () => {
    const nobody = await openS3Proxy({ ...s3, endpoint: 'http://127.0.0.1:1' })
    const lost = s3Client(nobody)
    await expect(put('lost', lost)).rejects.toMatchObject({ code: 'ECONNRESET' })
    lost.destroy()
    await nobody.close()
  })
})
