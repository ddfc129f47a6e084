import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  type S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { s3ClientAt, WITH_PAIR } from '../support/s3-protocol.ts'
import { until } from '../support/wait.ts'
import { newSeed, Random } from './random.ts'
import { ServerProcesses } from './server-processes.ts'
import { Tally } from './tally.ts'

const MiB = 1024 * 1024

/** Within so much time of a round's begin its server is killed: that is about as long as a round takes. */
const STRUCK_WITHIN_MS = 1200

export interface KilledMultipart {
  rounds: number
  /** Of the servers, beside what all have. */
  settings(): Promise<Record<string, string>>
  /** Whether a second server takes its share of the parts, which nobody kills. */
  hasSurvivor?: boolean
  /** What is stored and no row names. */
  findLeftovers(servers: ServerProcesses): Promise<string[]>
}

/**
 * What is lost and what is left when servers are killed amid uploads in parts: by a client that asks until it is answered,
 * and by one that gives up.
 */
export function itLosesNoPart({
  rounds,
  settings,
  hasSurvivor = false,
  findLeftovers,
}: KilledMultipart): void {
  const tally = new Tally('kill -9 amid uploads in parts')
  let servers: ServerProcesses
  let s3: S3Client
  /** Those to which parts are sent, one as the other. */
  const clients: S3Client[] = []
  beforeAll(async () => {
    servers = await ServerProcesses.open({
      ...WITH_PAIR,
      STORAGE_S3_PROTOCOL_PORT: '0',
      // What is under way must not be cleaned up, however eager the cleanup is.
      STORAGE_CLEANUP_INTERVAL: '200ms',
      STORAGE_CLEANUP_GRACE: '500ms',
      ...(await settings()),
    })
    if (hasSurvivor) {
      const survivor = await servers.start()
      clients.push(s3ClientAt(`${await survivor.url()}/storage/v1/s3`))
    }
    await servers.start()
    const made = await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
    expect(made.status).toBe(201)
    s3 = s3ClientAt(`${servers.url}/storage/v1/s3`)
    clients.push(s3)
  })
  afterAll(async () => {
    for (const client of clients) client.destroy()
    await servers?.remove()
    tally.print()
  })

  /** Asks until the server says something. @returns undefined when it says that there is no such upload */
  async function persist<T>(ask: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        const status = error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? 500) : 500
        if (error instanceof S3ServiceException && error.name === 'NoSuchUpload') return undefined
        if (status < 500) throw error
        await delay(50)
      }
    }
  }

  /** Kills the server at some moment, and starts another. */
  async function strike(afterMs: number): Promise<void> {
    const victim = servers.last
    await delay(afterMs)
    victim.signal('SIGKILL')
    await victim.ended
    await servers.start()
  }

  async function uploadPersistently(Key: string, bodies: Buffer[], isAborted: boolean): Promise<void> {
    const at = { Bucket: 'box', Key }
    const begun = await persist(() => s3.send(new CreateMultipartUploadCommand(at)))
    const place = { ...at, UploadId: begun?.UploadId }
    const Parts = await Promise.all(
      bodies.map(async (Body, i) => {
        const PartNumber = i + 1
        const send = new UploadPartCommand({ ...place, PartNumber, Body })
        let attempt = i
        const sent = await persist(() => (clients[attempt++ % clients.length] ?? s3).send(send))
        return { PartNumber, ETag: sent?.ETag }
      }),
    )
    tally.acknowledged += Parts.length
    if (isAborted) {
      await persist(() => s3.send(new AbortMultipartUploadCommand(place)))
      return
    }
    const complete = new CompleteMultipartUploadCommand({ ...place, MultipartUpload: { Parts } })
    const made = await persist(() => s3.send(complete))
    expect(made?.ETag).toMatch(new RegExp(`-${bodies.length}"$`))
  }

  /** @returns whether it was acknowledged */
  async function uploadOnce(Key: string, Body: Buffer): Promise<boolean> {
    const upload = new Upload({ client: s3, partSize: 5 * MiB, params: { Bucket: 'box', Key, Body } })
    return upload.done().then(
      () => true,
      () => false,
    )
  }

  function read(Key: string): Promise<Buffer | null | undefined> {
    return persist(() =>
      s3.send(new GetObjectCommand({ Bucket: 'box', Key })).then(
        async ({ Body }) => Buffer.from((await Body?.transformToByteArray()) ?? []),
        (error: unknown) => {
          if (error instanceof S3ServiceException && error.name === 'NoSuchKey') return null
          throw error
        },
      ),
    )
  }

  const seed = newSeed()
  it(`loses no part and no object in ${rounds} rounds of kill -9, and nothing is left of what did not become one (FAULTS_SEED=${seed})`, {
    timeout: 180_000 + rounds * 60_000,
  }, async () => {
    const random = new Random(seed)
    for (let round = 0; round < rounds; round++) {
      const isAborted = random.below(4) === 0
      // A few become one file, and more stay several (decision 0051).
      const large = Array.from({ length: 1 + random.below(3) }, () => 5 * MiB + random.below(MiB))
      const bodies = [...large, 1 + random.below(100_000)].map((size) => randomBytes(size))
      const body = randomBytes(5 * MiB + random.below(10 * MiB))
      const struck = strike(random.below(STRUCK_WITHIN_MS))
      const [isAcknowledged] = await Promise.all([
        uploadOnce(`once-${round}`, body),
        uploadPersistently(`round-${round}`, bodies, isAborted),
      ])
      await struck
      const found = await read(`round-${round}`)
      expect(found?.equals(Buffer.concat(bodies)) ?? null).toBe(isAborted ? null : true)
      const foundOnce = await read(`once-${round}`)
      if (isAcknowledged || foundOnce) expect(foundOnce?.equals(body)).toBe(true)
      tally.rounds++
    }

    // Creations whose answer was lost, and what was given up, are uploads that nobody comes back for: they expire.
    await servers.database.admin`update storage.resumable_uploads set expires_at = now() where ended is null`
    const pending = async () => {
      const [rows] = await servers.database.admin`
        select (select count(*)::int from storage.uploads) as uploads,
          (select count(*)::int from storage.removals) as removals,
          (select count(*)::int from storage.s3_multipart_uploads) as multipart`
      return { ...rows, leftovers: await findLeftovers(servers) }
    }
    const none = { uploads: 0, removals: 0, multipart: 0, leftovers: [] }
    const isOver = async () => JSON.stringify(await pending()) === JSON.stringify(none)
    await until(isOver, 'nothing is left over').catch(async () => expect(await pending()).toEqual(none))
  })
}
