import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openBackend } from '../../../src/backend/open.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import { seededBytes, sha256 } from '../../support/seeded-bytes.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { MiB, notedOffset } from '../../support/tus.ts'
import { TusRequests } from '../../support/tus-requests.ts'
import { until } from '../../support/wait.ts'

const BYTES = Uint8Array.from(seededBytes('refused chunks', 12 * MiB))
/** So many have come, and are to stay. */
const START = 1000

/** Of no chunk that is sent here. */
const WRONG = { 'upload-checksum': `md5 ${createHash('md5').update('other').digest('base64')}` }

describeWithS3('a resumable upload to an S3 store whose chunks are refused', (s3) => {
  let server: TestServer
  let tus: TusRequests

  beforeAll(async () => {
    server = await startTestServer({ ...(await s3Env(s3)), STORAGE_S3_PART_SIZE: String(5 * MiB) })
    tus = new TusRequests(server)
    await server.createBucket('box')
  })
  afterAll(() => server?.close())

  /** What the store has of versions that are not whole. */
  async function unfinished(): Promise<string[]> {
    const backend = await openBackend(server.config.backend, server.config)
    const ids: string[] = []
    for await (const { id } of backend.unfinished()) ids.push(id)
    await backend.close()
    return ids
  }

  /** Sends a chunk of which some is stored before the rest of it comes, or an end that is none. */
  async function sendSlowly(
    name: string,
    url: string,
    { rest, headers = {} }: { rest: Uint8Array | Error; headers?: Record<string, string> },
  ): Promise<number | undefined> {
    const isStored = async () =>
      headers['upload-checksum'] ? (await unfinished()).length > 1 : (await notedOffset(server, name)) > START
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(BYTES.subarray(START, 11 * MiB))
        await until(isStored, 'a part is stored')
        if (rest instanceof Error) return controller.error(rest)
        controller.enqueue(rest)
        controller.close()
      },
    })
    const sent = tus.send('PATCH', url, {
      body,
      headers: {
        'content-type': 'application/offset+octet-stream',
        'upload-offset': String(START),
        ...headers,
      },
    })
    return sent.then(
      ({ status }) => status,
      () => undefined,
    )
  }

  it.each<[what: string, status: number | undefined, send: (name: string, url: string) => Promise<unknown>]>([
    [
      'that have a wrong checksum',
      460,
      async (_, url) =>
        (await tus.patch(url, START, BYTES.subarray(START, 7 * MiB), { headers: WRONG })).status,
    ],
    [
      'that have a checksum and break off',
      undefined,
      (name, url) => sendSlowly(name, url, { rest: new Error('cut'), headers: WRONG }),
    ],
    ['that are too long', 413, (name, url) => sendSlowly(name, url, { rest: BYTES.subarray(0, 2 * MiB) })],
  ])('has nothing left of those %s, and is finished', async (name, status, send) => {
    const url = await tus.begin(name, BYTES.length)
    expect((await tus.patch(url, 0, BYTES.subarray(0, START))).status).toBe(204)
    const before = await unfinished()
    expect(before).toHaveLength(1)

    for (let i = 0; i < 3; i++) {
      expect(await send(name, url)).toBe(status)
      expect((await tus.head(url)).headers.get('upload-offset')).toBe(String(START))
      expect(await unfinished()).toEqual(before)
    }

    expect((await tus.patch(url, START, BYTES.subarray(START))).status).toBe(204)
    expect(await unfinished()).toEqual([])
    const info = await server.request('GET', `/storage/v1/object/info/box/${encodeURIComponent(name)}`)
    expect(await info.json()).toMatchObject({ size: BYTES.length, checksum: sha256(BYTES) })
  })
})
