import { randomBytes, randomUUID } from 'node:crypto'
import { CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest'
import { openBackend } from '../../../src/backend/open.ts'
import { checkStore } from '../../../src/backend/s3/check.ts'
import { cleanUp, repairsOf, uidOf } from '../../support/cleanup.ts'
import { describeWithS3, s3Client, s3Env } from '../../support/s3.ts'
import { openS3Proxy } from '../../support/s3-proxy.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const PART = 5 * 1024 * 1024

/** Long enough for the heartbeats of a server with this setting, five times as frequent. */
const GRACE_MS = 1500
const settings = { graceMs: GRACE_MS }

describeWithS3('the cleanup of a store', (s3) => {
  let server: TestServer
  let bucket: string
  let uid: string
  const client = s3Client(s3)

  beforeAll(async () => {
    server = await startTestServer({
      ...IN_FILES,
      ...(await s3Env(s3)),
      STORAGE_S3_PART_SIZE: String(PART),
      STORAGE_CLEANUP_GRACE: `${GRACE_MS}ms`,
    })
  })
  afterAll(async () => {
    client.destroy()
    await server?.close()
  })
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.createBucket(bucket)
    uid = await uidOf(server, bucket)
  })

  /** Begins a multipart upload as a server does that is killed then. */
  async function leaveBehind(bucketUid = uid, version: string = randomUUID(), prefix = ''): Promise<void> {
    const at = { Bucket: server.config.s3?.bucket, Key: `${prefix}${bucketUid}/${version}` }
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(at))
    await client.send(new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: 'half of it' }))
  }

  async function unfinished(): Promise<string[]> {
    const backend = await openBackend('s3', server.config)
    const found: string[] = []
    for await (const { location } of backend.unfinished()) if (location) found.push(location.bucket)
    await backend.close()
    return found.filter((owner) => owner === uid)
  }

  /** An upload whose client sends one part, and the rest when it is told to. */
  function slowUpload(method: string, path: string) {
    const bytes = randomBytes(2 * PART)
    let sendRest = () => {}
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(bytes.subarray(0, PART + 100_000))
        await new Promise<void>((resolve) => {
          sendRest = resolve
        })
        controller.enqueue(bytes.subarray(PART + 100_000))
        controller.close()
      },
    })
    const response = server.request(method, path, { body })
    return { bytes, response, sendRest: () => sendRest() }
  }

  async function expectStored(name: string, bytes: Uint8Array) {
    const response = await server.request('GET', `/object/${bucket}/${name}`)
    expect([response.status, Buffer.from(bytes).equals(Buffer.from(await response.arrayBuffer()))]).toEqual([
      200,
      true,
    ])
  }

  it('abandons a multipart upload that nobody finishes', async () => {
    await leaveBehind()
    await leaveBehind()
    expect(repairsOf(await cleanUp(server, { dryRun: true }))).toEqual({ unfinished: 2 })
    expect(await unfinished()).toHaveLength(2)
    expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 2 })
    expect(await unfinished()).toEqual([])
    expect(repairsOf(await cleanUp(server))).toEqual({})
  })

  it('does so in a bucket that was deleted since, too', async () => {
    await leaveBehind()
    expect((await server.request('DELETE', `/bucket/${bucket}`)).status).toBe(200)
    expect(repairsOf(await cleanUp(server))).toMatchObject({ unfinished: 1 })
    expect(await unfinished()).toEqual([])
  })

  it('leaves young ones alone, and those in other buckets when told to look into one', async () => {
    await leaveBehind()
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 600_000 } }))).toEqual({})
    const other = `b-${randomUUID()}`
    await server.createBucket(other)
    expect(repairsOf(await cleanUp(server, { bucket: other }))).toEqual({})
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({ unfinished: 1 })
  })

  it('leaves alone what belongs to a bucket that this database never had', async () => {
    uid = randomUUID()
    await leaveBehind()
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect(await unfinished()).toHaveLength(1)
  })

  it('leaves alone what brings the bytes of an object here from another backend', async () => {
    await server.request('POST', `/object/${bucket}/here.txt`, { body: 'hello' })
    const [row] = await server.admin`select version from storage.objects where bucket_id = ${bucket}`
    await leaveBehind(uid, String(row?.version))
    expect(repairsOf(await cleanUp(server))).toEqual({})
    expect(await unfinished()).toHaveLength(1)
  })

  it('abandons a part of what a row names: its upload is over, and a move brings no parts', async () => {
    await server.request('POST', `/object/${bucket}/here.txt`, { body: 'hello' })
    const [row] = await server.admin`select version from storage.objects where bucket_id = ${bucket}`
    await leaveBehind(uid, `${row?.version}/${randomUUID()}`, 'tails/')
    expect(await unfinished()).toHaveLength(1)
    expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 1 })
    expect(await unfinished()).toEqual([])
    await expectStored('here.txt', Buffer.from('hello'))
  })

  it('removes what checks have left that did not come to their end, be it an object or an upload', async () => {
    const proxy = await openS3Proxy(s3)
    onTestFinished(() => proxy.close())
    if (!server.config.s3) throw new Error('there are no settings for S3')
    const config = { ...server.config, s3: { ...server.config.s3, endpoint: proxy.endpoint, attempts: 1 } }
    const backend = await openBackend('s3', config)
    const left = async () => {
      const found: string[] = []
      for await (const { location, id } of backend.unfinished()) if (location === null) found.push(id)
      return found
    }
    const outage = proxy.fail({ at: 'before', what: 'cut' }, { when: ({ method }) => method === 'DELETE' })
    await expect(backend.check()).rejects.toMatchObject({ code: 'BackendUnavailable' })
    for await (const _ of checkStore(config.s3)); // the command's own
    outage.stop()

    const [once, ofCommand, upload] = [
      expect.stringMatching(/^.check-[^/]+$/),
      expect.stringMatching(/^.check-[^/]+$/),
      expect.stringMatching(/^.check-[^/]+\/.+$/),
    ]
    expect(await left()).toEqual([upload, once, ofCommand])
    expect(repairsOf(await cleanUp(server, { settings: { graceMs: 600_000 } }))).toEqual({})
    expect(repairsOf(await cleanUp(server, { bucket }))).toEqual({})
    expect(repairsOf(await cleanUp(server, { dryRun: true }))).toEqual({ unfinished: 3 })
    expect(await left()).toHaveLength(3)
    expect(repairsOf(await cleanUp(server))).toEqual({ unfinished: 3 })
    expect(await left()).toEqual([])
    await backend.close()
  })

  it('never touches an upload in progress, however old it is', async () => {
    const upload = slowUpload('POST', `/object/${bucket}/slow.bin`)
    await until(async () => (await unfinished()).length === 1, 'the first part has arrived')
    const seenAt = Date.now()
    await until(() => Date.now() > seenAt + GRACE_MS, 'it is older than the grace period')
    expect(repairsOf(await cleanUp(server, { settings }))).toEqual({})
    upload.sendRest()
    expect((await upload.response).status).toBe(201)
    await expectStored('slow.bin', upload.bytes)
  })

  it('never touches an upload whose bytes are complete and whose row is not there yet', async () => {
    await server.request('POST', `/object/${bucket}/held.bin`, { body: 'before' })
    const upload = slowUpload('PUT', `/object/${bucket}/held.bin`)
    await until(async () => (await unfinished()).length === 1, 'the first part has arrived')
    await server.admin.begin(async (tx) => {
      await tx`select from storage.objects where bucket_id = ${bucket} for update`
      upload.sendRest()
      const stored = async () => (await server.storedFiles()).filter((file) => file.startsWith(uid)).length
      await until(async () => (await stored()) === 2, 'both versions have bytes')
      const seenAt = Date.now()
      await until(() => Date.now() > seenAt + GRACE_MS, 'they are older than the grace period')
      expect(repairsOf(await cleanUp(server, { settings }))).toEqual({})
    })
    expect((await upload.response).status).toBe(200)
    await expectStored('held.bin', upload.bytes)
  })

  it('removes bytes that nothing names, and marks objects that have lost theirs', async () => {
    const backend = await openBackend('s3', server.config)
    await backend.write({ bucket: uid, version: randomUUID() }, Buffer.from('nobody knows me'), {
      maxBytes: 100,
    })
    await server.request('POST', `/object/${bucket}/lost.txt`, { body: 'hello' })
    const [row] = await server.admin`select version from storage.objects where bucket_id = ${bucket}`
    await backend.remove({ bucket: uid, version: String(row?.version) })
    await backend.close()
    expect(repairsOf(await cleanUp(server))).toEqual({ unnamedBytes: 1, missing: 1 })
    expect(repairsOf(await cleanUp(server))).toEqual({ deleted: 1 })
    expect((await server.request('GET', `/object/${bucket}/lost.txt`)).status).toBe(404)
  })
})
