import { setTimeout as delay } from 'node:timers/promises'
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { HeldClock } from '../../support/held-clock.ts'
import { areAllWelcome, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { type ChunkOptions, chunkedBody, signRequest, UNSIGNED } from '../../support/s3-signer.ts'
import type { Served } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'
import { until } from '../../support/wait.ts'

/** Bodies that only hold their place are ended as those of REST are (test/http/connection/timeouts.test.ts). */

const LARGE = Buffer.alloc(900_000, 'x')

let server: S3TestServer
let open: RawConnection[] = []
beforeAll(async () => {
  server = await startS3Server({
    STORAGE_REQUEST_TIMEOUT: '2s',
    STORAGE_IDLE_TIMEOUT: '1s',
    STORAGE_MIN_UPLOAD_RATE: '2000',
    // So that a place that is not given back is missed at once.
    STORAGE_MAX_REQUESTS: '3',
    STORAGE_MAX_UPLOADS: '1',
  })
  await server.createBucket('box')
  await expectStored('there')
})
afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await expectNoDrift(server)
})
afterAll(() => server.close())

/** A request that is signed, and the beginning of its body. */
interface Beginning {
  method: 'GET' | 'PUT' | 'POST'
  /** Behind the endpoint. */
  target: string
  headers: Record<string, string>
  sent: Buffer
}

function plain(length: number, sent: Buffer): Beginning {
  const [method, target] = ['PUT', '/box/never'] as const
  const request = { method, url: `${server.endpoint}${target}`, payload: UNSIGNED }
  const headers = { ...signRequest(request, server.keys3), 'content-length': String(length) }
  return { method, target, headers, sent }
}

function inChunks(length: number, options: Partial<ChunkOptions> = {}, target = '/box/never'): Beginning {
  const method = 'PUT'
  const request = { method, url: `${server.endpoint}${target}`, body: LARGE }
  const { headers, body } = chunkedBody(request, server.keys3, { chunkSize: 65_536, ...options })
  const framed = { ...headers, 'content-length': String(body.length) }
  return { method, target, headers: framed, sent: body.subarray(0, length) }
}

function list(sent: Buffer): Beginning {
  const [method, target] = ['POST', '/box?delete'] as const
  const body = `<Delete>${' '.repeat(2000)}<Object><Key>there</Key></Object></Delete>`
  const signed = signRequest({ method, url: `${server.endpoint}${target}`, body }, server.keys3)
  const headers = { ...signed, 'content-length': String(body.length) }
  return { method, target, headers, sent }
}

const TRAILER = { isSigned: false, trailer: { 'x-amz-checksum-crc32': 'AAAAAA==' } }

type Kind = [what: string, beginning: () => Beginning]

const UPLOADS: Kind[] = [
  ['a large plain body', () => plain(2_000_000, LARGE)],
  ['a large plain body before its first byte', () => plain(2_000_000, Buffer.alloc(0))],
  ['a small plain body', () => plain(2000, LARGE.subarray(0, 10))],
  ['a body in signed chunks', () => inChunks(500_000)],
  ['a body in signed chunks before its first byte', () => inChunks(0)],
  ['a body in unsigned chunks', () => inChunks(500_000, TRAILER)],
]
const LIST: Kind = ['a body in XML', () => list(Buffer.from('<Delete>'))]

async function begin({ url }: Served, { method, target, headers, sent }: Beginning): Promise<RawConnection> {
  const connection = await RawConnection.open(url)
  open.push(connection)
  const { pathname, search, host } = new URL(`${server.endpoint}${target}`)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  await connection.send(rawRequest(method, `${pathname}${search}`, [`Host: ${host}`, ...lines]), sent)
  return connection
}

type Answer = [status: number, type: string | undefined, body: string]
const TOO_LATE = [
  408,
  'application/xml; charset=utf-8',
  expect.stringContaining('<Code>RequestTimeout</Code>'),
]

async function answerOf(connection: RawConnection): Promise<Answer> {
  const { status, headers, body } = await connection.response()
  return [status, headers['content-type'], body.toString()]
}

/** What an innocent client sends is stored, at the latest when the machine has time for it. */
async function expectStored(Key: string): Promise<void> {
  const place = { Bucket: 'box', Key }
  // So short a limit may end a connection between its first byte and ours.
  const isDone = () =>
    server.s3.send(new PutObjectCommand({ ...place, Body: 'innocent' })).then(
      () => true,
      () => false,
    )
  await until(isDone, `there is a place for ${Key}`)
  const { Body } = await server.s3.send(new GetObjectCommand(place))
  expect(await Body?.transformToString()).toBe('innocent')
}

describe('bodies of all kinds at once', () => {
  /** Each has a place, and one innocent request. */
  let full: Served
  let clock: HeldClock
  beforeAll(async () => {
    clock = new HeldClock()
    full = await server.beside({
      STORAGE_MAX_REQUESTS: String(UPLOADS.length + 2),
      STORAGE_MAX_UPLOADS: String(UPLOADS.length),
      STORAGE_MAX_UPLOAD_SHARE: '1',
    })
  })
  afterAll(async () => {
    await full.close()
    clock.restore()
  })

  async function isInnocentServed(): Promise<boolean> {
    const [method, target] = ['GET', '/box/there'] as const
    const headers = signRequest({ method, url: `${server.endpoint}${target}` }, server.keys3)
    const connection = await begin(full, { method, target, headers, sent: Buffer.alloc(0) })
    return connection.response().then(
      ({ status }) => status === 200,
      () => false, // so short a limit may end it before
    )
  }

  /** Says that each is refused as too late, once its beginning has come. @param hear waits for the answer */
  async function expectTooLate(hear: (connection: RawConnection) => Promise<Answer>): Promise<void> {
    const all = [...UPLOADS, LIST]
    const answers = all.map(async ([what, beginning]) => [what, await hear(await begin(full, beginning()))])
    expect(await Promise.all(answers)).toEqual(all.map(([what]) => [what, TOO_LATE]))
  }

  /** Says that there is a place for as many as before. Nobody is late meanwhile, nor slow enough to give way. */
  async function expectAllPlaces(): Promise<void> {
    const haveAllPlaces = async () => {
      const beginnings = [...UPLOADS.map(() => plain(2_000_000, Buffer.alloc(0))), list(Buffer.alloc(0))]
      const begun = beginnings.map(({ headers, ...beginning }) =>
        begin(full, { ...beginning, headers: { ...headers, expect: '100-continue' } }),
      )
      // Who has a place is told to go on. So short a limit may end a connection before.
      const areWelcome = await areAllWelcome(begun)
      const isServed = await isInnocentServed()
      for (const connection of begun) (await connection).abort()
      return isServed && areWelcome
    }
    await clock.during(() => until(haveAllPlaces, 'all places are free again'))
  }

  it('that stall are answered 408 in XML, and leave nothing', async () => {
    await expectNothingWritten(server, async () => {
      const ended = expectTooLate(async (connection) => {
        const answer = await answerOf(connection)
        await connection.rest() // the connection ends, too
        return answer
      })
      await Promise.all([ended, until(isInnocentServed, 'others are served meanwhile')])
    })
    await expectAllPlaces()
  })

  it('that dribble are answered so, too', async () => {
    await expectNothingWritten(server, () =>
      expectTooLate(async (connection) => {
        let isOver = false
        const told = answerOf(connection).finally(() => {
          isOver = true
        })
        const dribble = async () => {
          while (!isOver) {
            await connection.send(' ')
            await delay(20)
          }
        }
        const [answer] = await Promise.all([told, dribble()])
        return answer
      }),
    )
    await expectAllPlaces()
  })
})

it('a part that stalls is ended, and may be sent again', async () => {
  const place = { Bucket: 'box', Key: 'in-parts' }
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(place))
  const target = `/box/in-parts?partNumber=1&uploadId=${UploadId}`
  expect(await answerOf(await begin(server, inChunks(100_000, TRAILER, target)))).toEqual(TOO_LATE)
  await expectStored('next')
  const listed = await server.s3.send(new ListPartsCommand({ ...place, UploadId }))
  expect(listed.Parts ?? []).toEqual([])
  expect((await server.send('PUT', target, { body: 'whole' })).status).toBe(200)
  await server.s3.send(new AbortMultipartUploadCommand({ ...place, UploadId }))
})
