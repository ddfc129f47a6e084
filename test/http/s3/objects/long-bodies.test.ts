import { createHash } from 'node:crypto'
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RawConnection, rawRequest } from '../../../support/raw-http.ts'
import { told } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { chunkedBody, signRequest, UNSIGNED } from '../../../support/s3-signer.ts'
import { seededBytes } from '../../../support/seeded-bytes.ts'
import { expectNoDrift, expectNothingWritten } from '../../../support/traces.ts'

/** The MD5 of long bodies is computed by another thread. */

const KIB = 1024
const LONG = seededBytes('long', 5 * 1024 * KIB + 3)

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('box')
})
afterAll(() => server.close())

function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`
}

async function stored(Key: string): Promise<Buffer> {
  const { Body } = await server.s3.send(new GetObjectCommand({ Bucket: 'box', Key }))
  return Buffer.from((await Body?.transformToByteArray()) ?? [])
}

describe('a body', () => {
  it.each([0, 1, 255, 256, 257, 511, 512, 513, 1024, 5 * 1024])(
    'of about %i KiB has its MD5 as ETag',
    async (kib) => {
      for (const body of [LONG.subarray(0, kib * KIB), LONG.subarray(0, kib * KIB + 1)]) {
        const { status, headers } = await server.send('PUT', '/box/a', { body, payload: UNSIGNED })
        expect([status, headers.get('etag')]).toEqual([200, etagOf(body)])
        expect((await stored('a')).equals(body)).toBe(true)
      }
    },
  )

  it('whose length nobody says has it, too', async () => {
    const url = `${server.endpoint}/box/a`
    for (const body of [LONG.subarray(0, 10), LONG]) {
      const headers = signRequest({ method: 'PUT', url, payload: UNSIGNED }, server.keys3)
      const init = { method: 'PUT', headers, body: new Blob([body]).stream(), duplex: 'half' }
      const response = await fetch(url, init as RequestInit)
      expect([response.status, response.headers.get('etag')]).toEqual([200, etagOf(body)])
    }
  })

  it.each([1000, 70_000, 2_000_000])('in signed chunks of %i bytes has it, too', async (chunkSize) => {
    const url = `${server.endpoint}/box/a`
    const { headers, body } = chunkedBody({ method: 'PUT', url, body: LONG }, server.keys3, { chunkSize })
    const response = await fetch(url, { method: 'PUT', headers, body })
    expect([response.status, response.headers.get('etag')]).toEqual([200, etagOf(LONG)])
    expect((await stored('a')).equals(LONG)).toBe(true)
  })

  it('has its checksum beside it', async () => {
    const sent = { Bucket: 'box', Key: 'a', Body: LONG, ChecksumAlgorithm: 'CRC64NVME' } as const
    const { ETag, ChecksumCRC64NVME } = await server.s3.send(new PutObjectCommand(sent))
    expect(ETag).toBe(etagOf(LONG))
    const asked = { Bucket: 'box', Key: 'a', ChecksumMode: 'ENABLED' } as const
    expect(await server.s3.send(new HeadObjectCommand(asked))).toMatchObject({ ETag, ChecksumCRC64NVME })
  })

  it.each([100 * KIB, 600 * KIB, LONG.length])(
    'of %i bytes that is not what its Content-MD5 says is refused, and nothing is stored',
    async (size) => {
      const body = LONG.subarray(0, size)
      const headers = { 'content-md5': createHash('md5').update('another').digest('base64') }
      await expectNothingWritten(server, async () => {
        const response = await server.send('PUT', '/box/never', { body, headers, payload: UNSIGNED })
        expect(await told(response)).toMatchObject({ status: 400, code: 'BadDigest' })
      })
    },
  )

  it('in XML has its digest compared, too', async () => {
    const body = `<Delete>${' '.repeat(700 * KIB)}<Object><Key>none</Key></Object></Delete>`
    const digest = (text: string) => ({ 'content-md5': createHash('md5').update(text).digest('base64') })
    const init = { body, payload: UNSIGNED }
    const wrong = await server.send('POST', '/box?delete', { ...init, headers: digest('another') })
    expect(await told(wrong)).toMatchObject({ status: 400, code: 'BadDigest' })
    expect((await server.send('POST', '/box?delete', { ...init, headers: digest(body) })).status).toBe(200)
  })
})

describe('many at once', () => {
  it('have each its own MD5, whoever gives up among them', async () => {
    const bodies = Array.from({ length: 24 }, (_, n) => LONG.subarray(n, LONG.length - n * 100_000))
    const givingUp = await Promise.all(bodies.map(beginAndStall))
    const etags = bodies.map(async (body, n) => {
      const response = await server.send('PUT', `/box/many-${n}`, { body, payload: UNSIGNED })
      return response.headers.get('etag')
    })
    for (const connection of givingUp) connection.abort()
    expect(await Promise.all(etags)).toEqual(bodies.map(etagOf))
    await expectNoDrift(server)
  })
})

/** Sends the most of a body that it says is longer. */
async function beginAndStall(sent: Buffer): Promise<RawConnection> {
  const url = `${server.endpoint}/box/given-up`
  const headers = signRequest({ method: 'PUT', url, payload: UNSIGNED }, server.keys3)
  const { pathname, host } = new URL(url)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const head = [`Host: ${host}`, ...lines, `Content-Length: ${sent.length + 1}`]
  const connection = await RawConnection.open(server.url)
  await connection.send(rawRequest('PUT', pathname, head), sent)
  return connection
}
