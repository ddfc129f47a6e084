import { Readable } from 'node:stream'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { told } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { chunkedBody, presign, sha256, signRequest } from '../../../support/s3-signer.ts'
import { until } from '../../../support/wait.ts'

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('papers')
})
afterAll(() => server.close())

let count = 0
let key = ''
beforeEach(() => {
  count += 1
  key = `object-${count}`
})

async function stored(): Promise<string | null> {
  const response = await server.send('GET', `/papers/${key}`)
  return response.status === 200 ? response.text() : null
}

/** Sends chunks that were signed, after `change` has been at them. */
async function putChunks(
  text: string,
  options: { trailer?: Record<string, string>; isSigned?: boolean },
  change = (body: string) => body,
): Promise<Response> {
  const url = `${server.endpoint}/papers/${key}`
  const { headers, body } = chunkedBody({ method: 'PUT', url, body: text }, server.keys3, {
    chunkSize: 10,
    ...options,
  })
  return fetch(url, { method: 'PUT', headers, body: change(body.toString('latin1')) })
}

const TEXT = 'thirty-three bytes of plain text.'
const CRC32 = { 'x-amz-checksum-crc32': 'hVTjYg==' }

describe('a body', () => {
  it('is the one whose hash was signed', async () => {
    const init = { payload: sha256('one'), body: 'two' }
    const response = await server.send('PUT', `/papers/${key}`, init)
    expect(await told(response)).toMatchObject({ status: 400, code: 'XAmzContentSHA256Mismatch' })
    expect(await stored()).toBe(null)
    expect((await server.send('PUT', `/papers/${key}`, { body: 'two' })).status).toBe(200)
    expect(await stored()).toBe('two')
  })

  it('of aws-sdk comes in chunks when it is a stream', async () => {
    const client = server.client(server.keys3, { requestChecksumCalculation: 'WHEN_SUPPORTED' })
    const bytes = Buffer.from(TEXT.repeat(10_000))
    const Body = Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)])
    await client.send(new PutObjectCommand({ Bucket: 'papers', Key: key, Body, ContentLength: bytes.length }))
    const { Body: read } = await server.s3.send(new GetObjectCommand({ Bucket: 'papers', Key: key }))
    expect(Buffer.from((await read?.transformToByteArray()) ?? []).equals(bytes)).toBe(true)
  })
})

describe.each<[what: string, options: Parameters<typeof putChunks>[1]]>([
  ['signed chunks', { isSigned: true }],
  ['signed chunks and a trailer', { isSigned: true, trailer: CRC32 }],
  ['unsigned chunks and a trailer', { isSigned: false, trailer: CRC32 }],
])('a body in %s', (_what, options) => {
  it('is stored without them', async () => {
    const response = await putChunks(TEXT, options)
    expect(await told(response)).toMatchObject({ status: 200 })
    expect(await stored()).toBe(TEXT)
    const { headers } = await server.send('HEAD', `/papers/${key}`)
    expect([headers.get('content-length'), headers.get('content-encoding')]).toEqual(['33', null])
  })

  it.each<[what: string, change: (body: string) => string, status: number]>([
    ['that has changed', (body) => body.replace('thirty', 'twenty'), 403],
    ['without its last chunk', (body) => body.slice(0, body.lastIndexOf('\r\n0') + 2), 400],
    ['that ends early', (body) => body.slice(0, 60), 400],
    ['with a chunk more', (body) => body.replace(/(?<=\r\n)0(?=\r\n|;)/, '3'), 400],
    ['with something behind it', (body) => `${body}more`, 400],
  ])('%s is told, and nothing is stored', async (what, change, status) => {
    const files = (await server.storedFiles()).length
    const answer = await told(await putChunks(TEXT, options, change))
    const expected = what === 'that has changed' && !options.isSigned ? 400 : status // by the checksum, then
    expect(answer.status).toBe(expected)
    expect(await stored()).toBe(null)
    await until(async () => (await server.storedFiles()).length === files, 'nothing is left of it')
  })
})

describe('a session', () => {
  it('whose token has expired is told so', async () => {
    const { SignJWT } = await import('jose')
    const sessionToken = await new SignJWT({ role: 'authenticated' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime(Math.floor(Date.now() / 1000) - 60)
      .sign(new TextEncoder().encode(server.keys.jwtSecret))
    const signing = { ...(await server.session('somebody')), sessionToken }
    const answer = await told(await server.send('GET', '/', { signing }))
    expect(answer).toMatchObject({ status: 400, code: 'ExpiredToken' })
  })

  it('leaves no token in the log, where what was signed is told', async () => {
    const keys = { ...(await server.session('somebody')), secretAccessKey: 'another' }
    const url = `${server.endpoint}/papers/secret`
    const headers = signRequest({ method: 'GET', url }, keys)
    await fetch(url, { headers })
    await fetch(presign({ method: 'GET', url }, keys, 60))
    const lines = server.logs.filter(({ canonicalRequest }) => canonicalRequest !== undefined)
    expect(lines.length).toBeGreaterThanOrEqual(2)
    expect(JSON.stringify(lines)).toContain('x-amz-security-token:[hidden]')
    expect(JSON.stringify(server.logs)).not.toContain(keys.sessionToken)
  })
})
