import { setTimeout as delay } from 'node:timers/promises'
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RawConnection, rawRequest } from '../../support/raw-http.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { type ChunkOptions, chunkedBody, signRequest, UNSIGNED } from '../../support/s3-signer.ts'
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
  method: 'PUT' | 'POST'
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

function list(): Beginning {
  const [method, target] = ['POST', '/box?delete'] as const
  const body = `<Delete>${' '.repeat(2000)}<Object><Key>there</Key></Object></Delete>`
  const signed = signRequest({ method, url: `${server.endpoint}${target}`, body }, server.keys3)
  const headers = { ...signed, 'content-length': String(body.length) }
  return { method, target, headers, sent: Buffer.from('<Delete>') }
}

const TRAILER = { isSigned: false, trailer: { 'x-amz-checksum-crc32': 'AAAAAA==' } }

const BEGINNINGS: [what: string, beginning: () => Beginning][] = [
  ['a large plain body', () => plain(2_000_000, LARGE)],
  ['a large plain body before its first byte', () => plain(2_000_000, Buffer.alloc(0))],
  ['a small plain body', () => plain(2000, LARGE.subarray(0, 10))],
  ['a body in signed chunks', () => inChunks(500_000)],
  ['a body in signed chunks before its first byte', () => inChunks(0)],
  ['a body in unsigned chunks', () => inChunks(500_000, TRAILER)],
  ['a body in XML', list],
]

async function begin({ method, target, headers, sent }: Beginning): Promise<RawConnection> {
  const connection = await RawConnection.open(server.url)
  open.push(connection)
  const { pathname, search, host } = new URL(`${server.endpoint}${target}`)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  await connection.send(rawRequest(method, `${pathname}${search}`, [`Host: ${host}`, ...lines]), sent)
  return connection
}

async function expectTooLate(connection: RawConnection): Promise<void> {
  const { status, headers, body } = await connection.response()
  expect([status, headers['content-type'], body.toString()]).toEqual([
    408,
    'application/xml; charset=utf-8',
    expect.stringContaining('<Code>RequestTimeout</Code>'),
  ])
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

describe.each(BEGINNINGS)('%s', (_what, beginning) => {
  it('that stalls is answered 408 in XML, and leaves nothing', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await begin(beginning())
      expect((await server.send('GET', '/box/there')).status).toBe(200) // others are served meanwhile
      await expectTooLate(connection)
      await connection.rest()
    })
    await expectStored('next')
  })

  it('that dribbles is answered so, too', async () => {
    await expectNothingWritten(server, async () => {
      const connection = await begin(beginning())
      let isOver = false
      const told = expectTooLate(connection).finally(() => {
        isOver = true
      })
      const dribble = async () => {
        while (!isOver) {
          await connection.send(' ')
          await delay(20)
        }
      }
      await Promise.all([told, dribble()])
    })
    await expectStored('next')
  })
})

it('a part that stalls is ended, and may be sent again', async () => {
  const place = { Bucket: 'box', Key: 'in-parts' }
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(place))
  const target = `/box/in-parts?partNumber=1&uploadId=${UploadId}`
  await expectTooLate(await begin(inChunks(100_000, TRAILER, target)))
  await expectStored('next')
  const listed = await server.s3.send(new ListPartsCommand({ ...place, UploadId }))
  expect(listed.Parts ?? []).toEqual([])
  expect((await server.send('PUT', target, { body: 'whole' })).status).toBe(200)
  await server.s3.send(new AbortMultipartUploadCommand({ ...place, UploadId }))
})
