import { createHash } from 'node:crypto'
import {
  CopyObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3ClientConfig,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { told } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import { presign, sha256 } from '../../../support/s3-signer.ts'

const USER = '7d3e1f6e-0000-4000-8000-000000000001'
const object = { Bucket: 'papers', Key: "a folder/ä & 'b' (c).txt" }

const md5Hex = (text: string) => createHash('md5').update(text).digest('hex')

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('papers')
  await server.s3.send(new PutObjectCommand({ ...object, Body: 'hello' }))
})
afterAll(() => server.close())

const own = (method: string, path: string, expiresInSeconds: number, at = new Date()) =>
  presign({ method, url: `${server.endpoint}${path}` }, { ...server.keys3, at }, expiresInSeconds)

describe('a presigned URL', () => {
  it('of aws-sdk reads, and writes', async () => {
    const read = await getSignedUrl(server.s3, new GetObjectCommand(object), { expiresIn: 60 })
    const response = await fetch(read)
    expect([response.status, await response.text()]).toEqual([200, 'hello'])
    const written = { ...object, Key: 'written' }
    const write = await getSignedUrl(server.s3, new PutObjectCommand(written), { expiresIn: 60 })
    expect((await fetch(write, { method: 'PUT', body: 'by a URL' })).status).toBe(200)
    const { Body } = await server.s3.send(new GetObjectCommand(written))
    expect(await Body?.transformToString()).toBe('by a URL')
  })

  it.each<[what: string, options: S3ClientConfig, input: Partial<PutObjectCommandInput>]>([
    ['that names the checksum of no body', { requestChecksumCalculation: 'WHEN_SUPPORTED' }, {}],
    ['that names an algorithm', {}, { ChecksumAlgorithm: 'SHA256' }],
    ['without a checksum', { requestChecksumCalculation: 'WHEN_REQUIRED' }, {}],
  ])('of aws-sdk %s takes the body that comes', async (what, options, input) => {
    const client = server.client(server.keys3, options)
    const written = { Bucket: 'papers', Key: what }
    const url = await getSignedUrl(client, new PutObjectCommand({ ...written, ...input }), { expiresIn: 60 })
    expect(url.includes('x-amz-checksum-')).toBe(what !== 'without a checksum')
    expect((await fetch(url, { method: 'PUT', body: 'by a URL' })).status).toBe(200)
    const { Body, ETag } = await server.s3.send(new GetObjectCommand(written))
    expect([await Body?.transformToString(), ETag]).toEqual(['by a URL', `"${md5Hex('by a URL')}"`])
  })

  it('of aws-sdk says in its query what its user need not send in headers', async () => {
    const Metadata = { who: 'Jürgen', what: 'a b' }
    const put = new PutObjectCommand({ ...object, Key: 'said', Metadata, Tagging: 'a=b&c=d' })
    const write = await getSignedUrl(server.s3, put)
    expect((await fetch(write, { method: 'PUT', body: 'said' })).status).toBe(200)
    const copy = new CopyObjectCommand({ Bucket: 'papers', Key: 'copied', CopySource: '/papers/said' })
    expect((await fetch(await getSignedUrl(server.s3, copy), { method: 'PUT' })).status).toBe(200)
    for (const Key of ['said', 'copied']) {
      const answer = await server.s3.send(new GetObjectCommand({ Bucket: 'papers', Key }))
      expect([await answer.Body?.transformToString(), answer.TagCount]).toEqual(['said', 2])
    }
    // What is no ASCII cannot be sent back as a header (wire §6.4).
    const { Metadata: kept, MissingMeta } = await server.s3.send(
      new GetObjectCommand({ Bucket: 'papers', Key: 'said' }),
    )
    expect([kept, MissingMeta]).toEqual([{ what: 'a b' }, 1])
  })

  it('has nothing in its query that is refused in a header, and what its user sends besides is not believed', async () => {
    const url = (query: string) => own('PUT', `/papers/hoisted?${query}`, 60)
    const put = async (address: string, headers = {}) =>
      told(await fetch(address, { method: 'PUT', body: 'x', headers }))
    expect(await put(url('x-amz-server-side-encryption=AES256'))).toMatchObject({ code: 'NotImplemented' })
    expect(await put(url('x-amz-meta-a=b%0D%0AX'))).toMatchObject({ code: 'InvalidArgument' })
    const other = { 'x-amz-copy-source': '/papers/written' }
    expect(await put(url('x-amz-copy-source=%2Fpapers%2Fsaid'), other)).toMatchObject({
      code: 'AccessDenied',
    })
    const read = await server.send('GET', '/papers/hoisted')
    expect(read.status).toBe(404)
    // Without a signature in the query, nothing there is a header.
    const sent = await server.send('PUT', '/papers/not-hoisted?x-amz-copy-source=%2Fpapers%2Fsaid', {
      body: '',
    })
    expect(sent.status).toBe(200)
    expect(await (await server.send('GET', '/papers/not-hoisted')).text()).toBe('')
  })

  it('of a session is that user, who sees what policies let him see', async () => {
    const client = server.client(await server.session(USER))
    const url = await getSignedUrl(client, new GetObjectCommand(object), { expiresIn: 60 })
    expect(url).toContain('X-Amz-Security-Token')
    expect(await told(await fetch(url))).toMatchObject({ status: 404, code: 'NoSuchKey' })
    await server.admin`create policy "signer reads" on storage.objects for select to authenticated using (owner_id is null)`
    expect((await fetch(url)).status).toBe(200)
    await server.admin`drop policy "signer reads" on storage.objects`
  })

  it('holds for the method and the object that it is of', async () => {
    const url = own('GET', '/papers/written', 60)
    for (const [method, other] of [
      ['PUT', url],
      ['DELETE', url],
      ['GET', url.replace('/written', '/others')],
    ] as const) {
      expect(await told(await fetch(other, { method }))).toMatchObject({ code: 'SignatureDoesNotMatch' })
    }
  })

  it('does not let headers be set that its signer has not', async () => {
    const url = own('PUT', '/papers/mine', 60)
    for (const headers of [{ 'x-amz-meta-a': 'b' }, { 'x-amz-acl': 'public-read' }]) {
      const answer = await told(await fetch(url, { method: 'PUT', headers }))
      expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
  })

  it.each([
    ['of a second', 1, 200],
    ['of seven days', 604_800, 200],
    ['of longer', 604_801, 400],
    ['of no time', 0, 400],
    ['of less', -1, 400],
    ['of a part of a second', 1.5, 400],
  ])('%s is taken, or not', async (_what, seconds, status) => {
    const response = await fetch(own('GET', '/papers/written', seconds))
    expect(response.status).toBe(status)
    if (status === 400)
      expect(await told(response)).toMatchObject({ code: 'AuthorizationQueryParametersError' })
  })

  it('without a time of its own is refused', async () => {
    const url = own('GET', '/papers/written', 60).replace(/&X-Amz-Expires=60/, '')
    expect(await told(await fetch(url))).toMatchObject({
      status: 400,
      code: 'AuthorizationQueryParametersError',
    })
  })

  it('expires, and says when it has', async () => {
    const at = new Date(Math.floor(Date.now() / 1000) * 1000 - 120_000)
    expect((await fetch(own('GET', '/papers/written', 3600, at))).status).toBe(200)
    const answer = await told(await fetch(own('GET', '/papers/written', 60, at)))
    expect(answer).toMatchObject({ status: 400, code: 'ExpiredToken' })
    expect(answer.message).toContain(new Date(at.getTime() + 60_000).toISOString())
  })

  it('of the future is refused', async () => {
    const url = own('GET', '/papers/written', 60, new Date(Date.now() + 3_600_000))
    expect(await told(await fetch(url))).toMatchObject({ status: 403, code: 'RequestTimeTooSkewed' })
  })

  it('wins over an authorization of another kind, but not beside one of its own', async () => {
    const url = own('GET', '/papers/written', 60)
    const bearer = { authorization: `Bearer ${server.keys.anonKey}` }
    expect((await fetch(url, { headers: bearer })).status).toBe(200)
    const both = { authorization: 'AWS4-HMAC-SHA256 Credential=a/20300101/us-east-1/s3/aws4_request' }
    expect(await told(await fetch(url, { headers: both }))).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })

  it('may bind the body that it is for', async () => {
    const payload = sha256('the body')
    const headers = { 'x-amz-content-sha256': payload }
    const request = { method: 'PUT', url: `${server.endpoint}/papers/bound`, payload, headers }
    const url = presign(request, server.keys3, 60)
    const other = await fetch(url, { method: 'PUT', headers, body: 'another body' })
    expect(await told(other)).toMatchObject({ status: 400, code: 'XAmzContentSHA256Mismatch' })
    expect((await server.send('HEAD', '/papers/bound')).status).toBe(404)
    expect((await fetch(url, { method: 'PUT', headers, body: 'the body' })).status).toBe(200)
  })
})

describe('what is no Signature Version 4', () => {
  it.each<[what: string, target: string, headers: Record<string, string>]>([
    ['Version 2 in the header', '/papers/a', { authorization: 'AWS AKID:frJIUN8DYpKDtOLCwo//yllqDzg=' }],
    ['Version 2 in the query', '/papers/a?AWSAccessKeyId=AKID&Signature=x&Expires=1', {}],
    ['SigV4A', '/papers/a', { authorization: 'AWS4-ECDSA-P256-SHA256 Credential=a' }],
  ])('is told so: %s', async (_what, target, headers) => {
    const answer = await told(await fetch(`${server.endpoint}${target}`, { headers }))
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
    expect(answer.message).toContain('AWS4-HMAC-SHA256')
  })
})
