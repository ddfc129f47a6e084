import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3ClientConfig,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { beginChecksum } from '../../../../src/model/checksums.ts'
import { exchange, rawRequest } from '../../../support/raw-http.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { signRequest, UNSIGNED } from '../../../support/s3-signer.ts'
import { expectNoDrift } from '../../../support/traces.ts'
import { until } from '../../../support/wait.ts'

const USER = '7d3e1f6e-0000-4000-8000-000000000001'
const STREAMING = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'

const md5 = (text: string) => createHash('md5').update(text).digest('base64')
const crc32 = (text: string) => {
  const running = beginChecksum('CRC32')
  running.update(Buffer.from(text))
  return running.digest().toString('base64')
}

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server({ STORAGE_MAX_FILE_SIZE: '1MB' })
  await server.createBucket('box')
  await server.createBucket('open', { public: true })
  await server.createBucket('images', { allowed_mime_types: ['image/*'], file_size_limit: 1000 })
})
afterAll(async () => {
  await expectNoDrift(server)
  await server.close()
})

async function answerOf(response: Response): Promise<[status: number, code: string | undefined]> {
  return [response.status, /<Code>(.*)<\/Code>/.exec(await response.text())?.[1]]
}

const isThere = async (path: string) => (await server.request('HEAD', `/object/${path}`)).status === 200

describe('a PUT that is refused stores nothing', () => {
  const WRONG: [what: string, headers: Record<string, string>, status: number, code: string][] = [
    ['the MD5 of other bytes', { 'content-md5': md5('other') }, 400, 'BadDigest'],
    ['a malformed MD5', { 'content-md5': 'AAAA' }, 400, 'InvalidDigest'],
    ['a checksum of other bytes', { 'x-amz-checksum-crc32': crc32('other') }, 400, 'BadDigest'],
    ['a malformed checksum', { 'x-amz-checksum-crc32': 'y/Q5' }, 400, 'InvalidRequest'],
    [
      'two checksums',
      { 'x-amz-checksum-crc32': crc32('hello'), 'x-amz-checksum-crc32c': crc32('hello') },
      400,
      'InvalidRequest',
    ],
    ['a checksum that nobody knows', { 'x-amz-checksum-md4': 'x' }, 400, 'InvalidRequest'],
    ['one behind the bytes, too', { 'x-amz-trailer': 'x-amz-checksum-md4' }, 400, 'InvalidRequest'],
    [
      'checksums before the bytes and behind them',
      { 'x-amz-checksum-sha1': 'qvTGHdzF6KLavt4PO0gs2a6pQ00=', 'x-amz-trailer': 'x-amz-checksum-crc32' },
      400,
      'InvalidRequest',
    ],
    ['an algorithm that nobody knows', { 'x-amz-sdk-checksum-algorithm': 'MD4' }, 400, 'InvalidRequest'],
    ['too much metadata', { 'x-amz-meta-a': 'x'.repeat(2048) }, 400, 'MetadataTooLarge'],
    ['a type that is none', { 'content-type': 'text' }, 415, 'InvalidArgument'],
    ['encryption', { 'x-amz-server-side-encryption': 'AES256' }, 501, 'NotImplemented'],
    ['a lock', { 'x-amz-object-lock-mode': 'GOVERNANCE' }, 501, 'NotImplemented'],
    ['an offset', { 'x-amz-write-offset-bytes': '5' }, 501, 'NotImplemented'],
    ['another storage class', { 'x-amz-storage-class': 'GLACIER' }, 400, 'InvalidStorageClass'],
    ['an ACL that is not true', { 'x-amz-acl': 'public-read' }, 400, 'AccessControlListNotSupported'],
    ['a grant', { 'x-amz-grant-read': 'id=1' }, 400, 'AccessControlListNotSupported'],
    ['a tag that is none', { 'x-amz-tagging': 'aws:a=1' }, 400, 'InvalidTag'],
    ['a condition that is none', { 'if-none-match': ',' }, 400, 'InvalidRequest'],
  ]

  it.each(WRONG)('for %s', async (what, headers, status, code) => {
    const key = what.replaceAll(' ', '-')
    const response = await server.send('PUT', `/box/${key}`, { headers, body: 'hello' })
    expect(await answerOf(response)).toEqual([status, code])
    expect(await isThere(`box/${key}`)).toBe(false)
  })

  it.each(['hello', 'x'.repeat(300_000)])('for a body that was not signed', async (body) => {
    const payload = createHash('sha256').update('other').digest('hex')
    const response = await server.send('PUT', '/box/unsigned', { body, payload })
    expect(await answerOf(response)).toEqual([400, 'XAmzContentSHA256Mismatch'])
    expect(await isThere('box/unsigned')).toBe(false)
  })

  const NAMES: [key: string, status: number, code: string][] = [
    ['a/../b', 400, 'InvalidArgument'],
    ['a%00b', 400, 'InvalidArgument'],
    ['x'.repeat(1025), 400, 'InvalidArgument'],
    ['%ff', 400, 'InvalidRequest'],
  ]
  it.each(NAMES)('under the key %s', async (key, status, code) => {
    // Not by fetch, which takes dots for steps.
    const url = `${server.endpoint}/box/${key}`
    const signed = Object.entries(signRequest({ method: 'PUT', url, body: 'hello' }, server.keys3))
    const headers = signed.map(([name, value]) => `${name}: ${value}`)
    const target = url.slice(server.url.length)
    const request = rawRequest('PUT', target, [`Host: ${new URL(url).host}`, ...headers], 'hello')
    const answer = await exchange(server.url, request)
    expect([answer.status, /<Code>(.*)<\/Code>/.exec(answer.body.toString())?.[1]]).toEqual([status, code])
  })
})

describe('a bucket’s rules', () => {
  it('hold before the body is read', async () => {
    const put = (key: string, length: number, type: string) =>
      server.send('PUT', `/images/${key}`, {
        headers: { 'content-type': type },
        body: 'x'.repeat(length),
        payload: UNSIGNED,
      })
    expect(await answerOf(await put('a.png', 1001, 'image/png'))).toEqual([413, 'EntityTooLarge'])
    expect(await answerOf(await put('a.txt', 10, 'text/plain'))).toEqual([415, 'InvalidArgument'])
    expect((await put('a.png', 1000, 'image/png')).status).toBe(200)
  })

  it('hold for who says the length of the decoded bytes', async () => {
    const headers = { 'x-amz-decoded-content-length': '1000001', 'x-amz-trailer': 'x-amz-checksum-crc32' }
    const response = await server.send('PUT', '/box/large', { headers, body: '0\r\n', payload: STREAMING })
    expect(await answerOf(response)).toEqual([413, 'EntityTooLarge'])
  })

  it('hold for copies', async () => {
    await server.send('PUT', '/box/a.txt', { headers: { 'content-type': 'text/plain' }, body: 'hello' })
    const response = await server.send('PUT', '/images/copy', {
      headers: { 'x-amz-copy-source': 'box/a.txt' },
    })
    expect(await answerOf(response)).toEqual([415, 'InvalidArgument'])
  })

  it('let true ACLs pass', async () => {
    const put = (bucket: string, acl: string) =>
      server.send('PUT', `/${bucket}/acl`, { headers: { 'x-amz-acl': acl }, body: 'hello' })
    expect((await put('open', 'public-read')).status).toBe(200)
    expect((await put('box', 'private')).status).toBe(200)
    expect((await put('box', 'bucket-owner-full-control')).status).toBe(200)
    expect((await put('open', 'public-read-write')).status).toBe(400)
  })
})

describe('a checksum behind the bytes', () => {
  const send = (key: string, trailer: string) =>
    server.send('PUT', `/box/${key}`, {
      headers: {
        'content-encoding': 'aws-chunked',
        'x-amz-decoded-content-length': '5',
        'x-amz-trailer': 'x-amz-checksum-crc32',
      },
      body: `5\r\nhello\r\n0\r\n${trailer}\r\n\r\n`,
      payload: STREAMING,
    })

  it('is compared, and kept', async () => {
    const response = await send('trailing', `x-amz-checksum-crc32:${crc32('hello')}`)
    expect(response.headers.get('x-amz-checksum-crc32')).toBe(crc32('hello'))
    const answer = await server.s3.send(new HeadObjectCommand({ Bucket: 'box', Key: 'trailing' }))
    expect([answer.ContentLength, answer.ContentEncoding]).toEqual([5, undefined])
  })

  it.each([
    ['of other bytes', `x-amz-checksum-crc32:${crc32('other')}`, 'BadDigest'],
    ['that is malformed', 'x-amz-checksum-crc32:AA', 'InvalidRequest'],
    ['by another algorithm', 'x-amz-checksum-sha1:AA', 'MalformedTrailerError'],
  ])('%s stores nothing', async (_, trailer, code) => {
    expect(await answerOf(await send('wrong-trailer', trailer))).toEqual([400, code])
    expect(await isThere('box/wrong-trailer')).toBe(false)
  })

  const WAYS: [string, S3ClientConfig][] = [
    ['WHEN_SUPPORTED', { requestChecksumCalculation: 'WHEN_SUPPORTED' }],
    ['WHEN_REQUIRED', { requestChecksumCalculation: 'WHEN_REQUIRED' }],
  ]
  it.each(WAYS)('of a stream by aws-sdk (%s)', async (_, options) => {
    const client = server.client(server.keys3, options)
    const bytes = Buffer.alloc(400_000, 'abc')
    const Body = Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)])
    const Key = 'streamed'
    await client.send(new PutObjectCommand({ Bucket: 'box', Key, Body, ContentLength: bytes.length }))
    const read = await client.send(new GetObjectCommand({ Bucket: 'box', Key, ChecksumMode: 'ENABLED' }))
    expect(Buffer.from((await read.Body?.transformToByteArray()) ?? []).equals(bytes)).toBe(true)
    expect(read.ETag).toBe(`"${createHash('md5').update(bytes).digest('hex')}"`)
  })
})

describe.each<[when: 'WHEN_SUPPORTED' | 'WHEN_REQUIRED', isSent: boolean]>([
  ['WHEN_SUPPORTED', true],
  ['WHEN_REQUIRED', false],
])('aws-sdk that computes checksums %s', (requestChecksumCalculation, isSent) => {
  const client = () => server.client(server.keys3, { requestChecksumCalculation })
  const place = { Bucket: 'box', Key: `checksums-${requestChecksumCalculation}` }

  it.each<[what: string, body: () => string | Readable]>([
    ['a buffer', () => 'hello'],
    ['a stream', () => Readable.from([Buffer.from('hel'), Buffer.from('lo')])],
  ])('puts %s, whose checksum is kept if it was sent', async (_what, body) => {
    await client().send(new PutObjectCommand({ ...place, Body: body(), ContentLength: 5 }))
    const stored = await server.s3.send(new GetObjectCommand({ ...place, ChecksumMode: 'ENABLED' }))
    expect(await stored.Body?.transformToString()).toBe('hello')
    expect(stored.ChecksumCRC32).toBe(isSent ? crc32('hello') : undefined)
  })

  it('uploads parts, and deletes many', async () => {
    const s3 = client()
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(place))
    const part = { ...place, UploadId, PartNumber: 1 }
    const { ETag, ChecksumCRC32 } = await s3.send(new UploadPartCommand({ ...part, Body: 'hello' }))
    expect(ChecksumCRC32).toBe(isSent ? crc32('hello') : undefined)
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    await s3.send(new CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload }))
    expect(await isThere(`box/${place.Key}`)).toBe(true)
    const Delete = { Objects: [{ Key: place.Key }] }
    await s3.send(new DeleteObjectsCommand({ Bucket: place.Bucket, Delete }))
    expect(await isThere(`box/${place.Key}`)).toBe(false)
  })
})

describe('policies', () => {
  it('can tell by the operation', async () => {
    await server.createBucket('told')
    await server.admin.unsafe(`
      create policy "puts by S3 alone" on storage.objects for insert to authenticated
        with check (bucket_id = 'told' and storage.operation() = 'storage.s3.upload');
      create policy "heads by S3 alone" on storage.objects for select to authenticated
        using (bucket_id = 'told' and storage.operation() = 'storage.s3.object.info')`)
    const client = server.client(await server.session(USER))
    const token = await server.token(USER)
    const byRest = await server.request('POST', '/object/told/rest', { token, body: 'hello' })
    expect(byRest.status).toBe(403)
    // Without a right to replace: only who says that there is to be nothing needs none.
    const put = new PutObjectCommand({ Bucket: 'told', Key: 'a', Body: 'hello', IfNoneMatch: '*' })
    await client.send(put)
    expect(await client.send(new HeadObjectCommand({ Bucket: 'told', Key: 'a' }))).toMatchObject({
      ContentLength: 5,
    })
    expect(await refusal(client.send(new GetObjectCommand({ Bucket: 'told', Key: 'a' })))).toEqual([
      404,
      'NoSuchKey',
    ])
    const elsewhere = new PutObjectCommand({ Bucket: 'box', Key: 'a', Body: 'hello' })
    expect(await refusal(client.send(elsewhere))).toEqual([403, 'AccessDenied'])
    expect(await isThere('box/a')).toBe(false)
  })

  it('keep a file away whose body has not been sent', async () => {
    const client = server.client(await server.session(USER))
    const Body = Buffer.alloc(900_000)
    const put = new PutObjectCommand({ Bucket: 'box', Key: 'denied', Body })
    expect(await refusal(client.send(put))).toEqual([403, 'AccessDenied'])
  })
})

it('what S3 clients write is an event, and in the log', async () => {
  await server.send('PUT', '/box/told-of', { headers: { 'x-request-id': 'a-put' }, body: 'hello' })
  const [event] = await server.admin`select type, size from storage.events where name = 'told-of'`
  expect(event).toMatchObject({ type: 'storage.object.created', size: '5' })
  const line = () => server.logs.find(({ requestId, msg }) => requestId === 'a-put' && msg === 'request')
  await until(() => line() !== undefined, 'the request is in the log')
  expect(line()).toMatchObject({
    operation: 'storage.s3.upload',
    bucket: 'box',
    path: 'told-of',
    size: 5,
    role: 'service_role',
    status: 200,
  })
})
