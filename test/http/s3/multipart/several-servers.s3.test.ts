import { randomBytes } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  type S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { newSeed, Random } from '../../../faults/random.ts'
import { cleanUp } from '../../../support/cleanup.ts'
import { Command, newFolder, removeFolder } from '../../../support/command.ts'
import { createTestDatabase } from '../../../support/database.ts'
import { openPostgresProxy } from '../../../support/postgres-proxy.ts'
import { describeWithS3, s3Client, s3Env } from '../../../support/s3.ts'
import { type S3TestServer, s3ClientAt, startS3Server, WITH_PAIR } from '../../../support/s3-protocol.ts'
import { openS3Proxy, type ProxiedRequest, type S3Proxy } from '../../../support/s3-proxy.ts'
import type { Served } from '../../../support/server.ts'
import { until } from '../../../support/wait.ts'

const MiB = 1024 * 1024

interface SentPart {
  PartNumber: number
  ETag: string | undefined
}

describeWithS3('uploads in parts through two servers with one S3 store', (store) => {
  const storeClient = s3Client(store)
  let proxy: S3Proxy
  let server: S3TestServer
  let second: Served
  let here: S3Client
  let there: S3Client
  /** Of the store. */
  let Bucket: string | undefined

  const startSecond = async () => {
    second = await server.beside()
    there = s3ClientAt(`${second.url}/storage/v1/s3`)
  }
  const stopSecond = async () => {
    there?.destroy()
    await second?.close()
  }
  beforeAll(async () => {
    proxy = await openS3Proxy(store)
    const env = await s3Env(store)
    Bucket = env.STORAGE_S3_BUCKET
    server = await startS3Server({ ...env, STORAGE_S3_ENDPOINT: proxy.endpoint })
    here = server.s3
    await startSecond()
    await server.createBucket('box')
  })
  afterAll(async () => {
    await stopSecond()
    await server?.close()
    await proxy?.close()
    storeClient.destroy()
  })
  beforeEach(() => {
    proxy.requests.length = 0
  })

  const seed = newSeed()
  const random = new Random(seed)

  /** Of a type that is said, so that nobody looks for it in the bytes. */
  const begin = async (Key: string, by = here) => {
    const at = { Bucket: 'box', Key }
    const { UploadId } = await by.send(new CreateMultipartUploadCommand({ ...at, ContentType: 'text/plain' }))
    return { ...at, UploadId }
  }
  type Place = Awaited<ReturnType<typeof begin>>
  const send = async (by: S3Client, place: Place, PartNumber: number, Body: Buffer) => {
    const { ETag } = await by.send(new UploadPartCommand({ ...place, PartNumber, Body }))
    return { PartNumber, ETag }
  }
  /** Asks again while the other server is at it. */
  const complete = async (by: S3Client, place: Place, Parts: SentPart[]) => {
    for (;;) {
      try {
        return await by.send(new CompleteMultipartUploadCommand({ ...place, MultipartUpload: { Parts } }))
      } catch (error) {
        if (!(error instanceof S3ServiceException && error.name === 'SlowDown')) throw error
      }
    }
  }

  const isPart = ({ method, query }: ProxiedRequest) => method === 'PUT' && query.has('partNumber')
  const isCopy = (request: ProxiedRequest) => isPart(request) && request.requestBytes === 0
  /** Of a version, or of a part of one; not what a server checks its store with. */
  const isRead = ({ method, path, query }: ProxiedRequest) =>
    method === 'GET' && /[0-9a-f-]{36}\/[0-9a-f-]{36}/.test(path) && !query.has('uploadId')
  /** What brings bytes to the store, or back from it. */
  const movers = () => proxy.requests.filter((request) => isPart(request) || isRead(request))

  const expectObject = async (Key: string, bytes: Buffer) => {
    const { Body } = await there.send(new GetObjectCommand({ Bucket: 'box', Key }))
    expect(bytes.equals((await Body?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(true)
  }
  /** As the store itself tells it: what no object of ours has, and what is unfinished there. */
  const leftovers = async () => {
    const { Contents = [] } = await storeClient.send(new ListObjectsV2Command({ Bucket }))
    const { Uploads = [] } = await storeClient.send(new ListMultipartUploadsCommand({ Bucket }))
    const rows = await server.admin`select bytes_bucket || '/' || version as key from storage.objects`
    const named = new Set(rows.map(({ key }) => key))
    const unnamed = Contents.map(({ Key }) => Key).filter((key) => !named.has(key))
    return [...unnamed, ...Uploads.map(({ Key }) => `unfinished ${Key}`)]
  }
  afterEach(async () => {
    expect(await leftovers()).toEqual([])
    const claims = await server.admin`select from storage.part_claims`
    expect(claims.length).toBe(0)
  })

  it(`send every part on into one upload of the store, though one server begins anew in the middle (FAULTS_SEED=${seed})`, async () => {
    const place = await begin('large')
    const bodies = Array.from({ length: 10 }, () => randomBytes(5 * MiB + random.below(3 * MiB)))
    const waiting = bodies
      .map((Body, index) => ({ PartNumber: index + 1, Body }))
      .sort(() => random.below(3) - 1)
    const sent: SentPart[] = []
    /** Those that go to the second server. */
    const atSecond = new Set<Promise<unknown>>()
    let isThere = true
    const work = async () => {
      for (let part = waiting.shift(); part; part = waiting.shift()) {
        const by = isThere && random.below(2) === 0 ? there : here
        const sending = send(by, place, part.PartNumber, part.Body)
        if (by === there) atSecond.add(sending)
        sent.push(await sending)
        atSecond.delete(sending)
      }
    }
    const restart = async () => {
      await until(() => sent.length >= 4, 'some parts have come')
      isThere = false
      await Promise.all(atSecond)
      await stopSecond()
      await startSecond()
      isThere = true
    }
    await Promise.all([work(), work(), work(), restart()])
    sent.sort((a, b) => a.PartNumber - b.PartNumber)
    expect(proxy.requests.filter(isCopy)).toEqual([])
    proxy.requests.length = 0
    await complete(there, place, sent)
    expect(movers()).toEqual([])
    await expectObject('large', Buffer.concat(bodies))
  })

  it('are made of the parts that were acknowledged last, through whichever server', async () => {
    const place = await begin('replaced')
    const bodies = new Map<string | undefined, Buffer>()
    const sendAny = async (by: S3Client, number: number) => {
      const body = randomBytes(5 * MiB + random.below(MiB))
      const part = await send(by, place, number, body)
      bodies.set(part.ETag, body)
      return part
    }
    await sendAny(here, 1)
    const first = await sendAny(there, 1)
    await sendAny(there, 2)
    await sendAny(there, 2)
    const second = await sendAny(here, 2)
    await Promise.all([sendAny(here, 3), sendAny(there, 3), sendAny(here, 3), sendAny(there, 3)])
    const { Parts = [] } = await here.send(new ListPartsCommand(place))
    expect(Parts.slice(0, 2)).toMatchObject([first, second])
    expect(Parts.length).toBe(3)
    const parts = Parts.map(({ PartNumber = 0, ETag }) => ({ PartNumber, ETag }))
    proxy.requests.length = 0
    const [made, again] = await Promise.all([complete(here, place, parts), complete(there, place, parts)])
    expect(again.ETag).toBe(made.ETag)
    // Those that have replaced others, and no byte of them through a server.
    expect(movers().every(isCopy)).toBe(true)
    await expectObject(
      'replaced',
      Buffer.concat(parts.map(({ ETag }) => bodies.get(ETag) ?? Buffer.alloc(0))),
    )
  })

  it.each(['before', 'after'])(
    'leave nothing when one aborts what a part is coming to at the other, %s another has come',
    async (when) => {
      const place = await begin(`aborted-${when}`)
      if (when === 'after') await send(there, place, 1, randomBytes(5 * MiB))
      const body = randomBytes(8 * MiB)
      const failures = proxy.fail(
        { at: { requestBytes: 6 * MiB }, what: 'stall' },
        { when: (request) => isPart(request) && request.query.get('partNumber') === '2', times: 1 },
      )
      const sending = send(there, place, 2, body).catch((error) => error.name)
      await until(() => failures.count === 1, 'the part is on its way')
      await here.send(new AbortMultipartUploadCommand(place))
      proxy.cut()
      expect(await sending).toMatch(/^(?:NoSuchUpload|ServiceUnavailable)$/)
      await cleanUp(server)
    },
  )

  it('leave nothing when nobody comes back for them', async () => {
    const place = await begin('expired')
    await send(here, place, 1, randomBytes(5 * MiB))
    await send(there, place, 2, randomBytes(7 * MiB))
    await send(there, place, 1, randomBytes(5 * MiB))
    await server.admin`update storage.resumable_uploads set expires_at = now() where ended is null`
    await cleanUp(server)
    await expect(send(there, place, 3, randomBytes(5 * MiB))).rejects.toMatchObject({ name: 'NoSuchUpload' })
    await expect(here.send(new HeadObjectCommand({ Bucket: 'box', Key: 'expired' }))).rejects.toMatchObject({
      name: 'NotFound',
    })
  })

  it('are one to the workers of a server', async () => {
    const cwd = await newFolder()
    const database = await createTestDatabase()
    const line = await openPostgresProxy()
    const workers = new Command(['serve'], {
      cwd,
      env: {
        ...WITH_PAIR,
        ...(await s3Env(store)),
        STORAGE_S3_ENDPOINT: proxy.endpoint,
        STORAGE_PORT: '0',
        STORAGE_S3_PROTOCOL_PORT: '0',
        STORAGE_WORKERS: '2',
        DATABASE_URL: line.url(database.name),
      },
    })
    /** Each time by another connection, and so to any worker. */
    const ask = async <T>(work: (client: S3Client) => Promise<T>) => {
      const client = s3ClientAt(`${await workers.url()}/storage/v1/s3`)
      return work(client).finally(() => client.destroy())
    }
    try {
      await ask((client) => client.send(new CreateBucketCommand({ Bucket: 'box' })))
      const place = await ask((client) => begin('by-workers', client))
      const seen = () =>
        new Set(
          workers.logs
            .filter(({ operation, status }) => operation === 'storage.s3.upload.part' && status === 200)
            .map(({ pid }) => pid),
        )
      const parts: SentPart[] = []
      while (parts.length < 4 || seen().size < 2) {
        const numbers = [parts.length + 1, parts.length + 2]
        parts.push(
          ...(await Promise.all(
            numbers.map((number) => ask((client) => send(client, place, number, randomBytes(5 * MiB)))),
          )),
        )
      }
      proxy.requests.length = 0
      await ask((client) => complete(client, place, parts))
      expect(movers()).toEqual([])
      const { ContentLength } = await ask((client) =>
        client.send(new HeadObjectCommand({ Bucket: 'box', Key: 'by-workers' })),
      )
      expect(ContentLength).toBe(parts.length * 5 * MiB)
    } finally {
      if (workers.isRunning) workers.signal('SIGTERM') // as a whole: killed, it would leave its workers
      await workers.ended
      await removeFolder(cwd, [workers])
      await line.close()
      await database.drop()
    }
  })
})
