import { ListBucketsCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { told } from '../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { UNSIGNED } from '../../support/s3-signer.ts'
import { until } from '../../support/wait.ts'

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('papers')
})
afterAll(() => server.close())

describe('the S3 protocol', () => {
  it('is spoken with aws-sdk', async () => {
    const { Buckets, $metadata } = await server.s3.send(new ListBucketsCommand())
    expect(Buckets).toEqual([{ Name: 'papers', CreationDate: expect.any(Date) }])
    expect($metadata.requestId).toMatch(/^[\da-f-]{36}$/)
  })

  it.each(['/storage/v1/s3', '/storage/v1/s3/', '/s3', '/s3/'])('is spoken at %s', async (path) => {
    const endpoint = `${server.url}${path}`
    const client = server.client(server.keys3, { endpoint })
    expect((await client.send(new ListBucketsCommand())).Buckets).toHaveLength(1)
  })

  it('shows a user of a session what policies let him see', async () => {
    const client = server.client(await server.session('7d3e1f6e-0000-4000-8000-000000000001'))
    expect((await client.send(new ListBucketsCommand())).Buckets ?? []).toEqual([])
  })

  it('takes an unsigned body, and the hash of it', async () => {
    expect((await server.send('GET', '/')).status).toBe(200)
    expect((await server.send('GET', '/', { payload: UNSIGNED })).status).toBe(200)
  })

  it('has its lines in the log, with the operation and who asked', async () => {
    const response = await server.send('GET', '/', { headers: { 'x-request-id': 'a-list-of-buckets' } })
    expect(response.headers.get('x-amz-request-id')).toBe('a-list-of-buckets')
    const line = () =>
      server.logs.find(({ requestId, msg }) => requestId === 'a-list-of-buckets' && msg === 'request')
    await until(() => line() !== undefined, 'the request is in the log')
    expect(line()).toMatchObject({ operation: 'storage.s3.bucket.list', role: 'service_role', status: 200 })
  })
})

describe('an answer of the S3 protocol', () => {
  it('is XML in its namespace, or JSON for who takes that alone', async () => {
    const as = async (accept: string) => {
      const response = await server.send('GET', '/', { headers: { accept } })
      return { type: response.headers.get('content-type'), text: await response.text() }
    }
    for (const accept of ['*/*', 'application/json, application/xml;q=0.5']) {
      const { type, text } = await as(accept)
      expect(type).toBe('application/xml; charset=utf-8')
      expect(text).toMatch(/^<\?xml version="1.0" encoding="UTF-8"\?>\n<ListAllMyBucketsResult xmlns="http:/)
    }
    const { type, text } = await as('application/json')
    expect(type).toBe('application/json')
    expect(JSON.parse(text)).toMatchObject({
      ListAllMyBucketsResult: { Buckets: { Bucket: [{ Name: 'papers', CreationDate: expect.any(String) }] } },
    })
    const error = await fetch(`${server.endpoint}/papers?torrent`, {
      headers: { accept: 'application/json' },
    })
    expect(await error.json()).toMatchObject({ Error: { Code: 'NotImplemented' } })
  })

  it('may be read by pages, with all its headers', async () => {
    const headers = { origin: 'https://app.test' }
    const response = await server.send('GET', '/', { headers })
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect(response.headers.get('access-control-expose-headers')).toBe('*')
    const preflight = await fetch(`${server.endpoint}/papers/a`, {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-headers': 'x-amz-meta-a,x-amz-checksum-crc32' },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-headers')).toContain(
      'x-amz-meta-a, x-amz-checksum-crc32',
    )
  })
})

describe('an error of the S3 protocol', () => {
  it('is told in XML, with the true status', async () => {
    const response = await fetch(`${server.endpoint}/papers/a%20%26b?torrent`)
    expect(await told(response)).toEqual({
      status: 501,
      type: 'application/xml; charset=utf-8',
      resource: '/papers/a%20%26b',
      code: 'NotImplemented',
      message: 'GET with ?torrent is not supported',
      requestId: response.headers.get('x-amz-request-id'),
    })
  })

  it.each([
    ['GET', '/papers?torrent', 501, 'NotImplemented'],
    ['PUT', '/papers/key?not-heard-of', 501, 'NotImplemented'],
    ['GET', '/papers?not-heard-of=', 501, 'NotImplemented'],
    ['PATCH', '/papers', 405, 'MethodNotAllowed'],
    ['GET', '/%ff', 400, 'InvalidRequest'],
    ['PUT', '/papers/key?partNumber=1', 400, 'InvalidArgument'],
    ['GET', '/?prefix=%ff', 400, 'InvalidRequest'],
    ['GET', `/papers?${'a=1&'.repeat(200)}a=1`, 400, 'InvalidRequest'],
  ])('%s %s is %i %s', async (method, target, status, code) => {
    expect(await told(await server.send(method, target))).toMatchObject({ status, code })
  })

  it('names the region that a request should have been for', async () => {
    const response = await server.send('GET', '/papers', { signing: { region: 'eu-far-1' } })
    expect(response.headers.get('x-amz-bucket-region')).toBe('us-east-1')
    expect([response.status, await response.text()]).toEqual([
      400,
      expect.stringContaining('<Region>us-east-1</Region>'),
    ])
  })

  it('is told in XML at its own port where headers are too large to be a request', async () => {
    const connection = await RawConnection.open(`${server.s3Url}`)
    await connection.send(rawRequest('GET', '/papers', [`X-Note: ${'a'.repeat(70_000)}`]))
    const { status, headers, body } = await connection.response()
    expect([status, headers['content-type'], body.toString()]).toEqual([
      431,
      'application/xml; charset=utf-8',
      expect.stringContaining('<Error><Code>RequestHeaderSectionTooLarge</Code>'),
    ])
    expect(await connection.rest()).toHaveLength(0)
    expect((await fetch(`${server.s3Url}/papers`)).status).toBe(403) // others are heard
  })

  it.each<[what: string, key: string, headers: string[]]>([
    ['has a path that is not percent-encoded', 'ä', []],
    ['has two lengths', 'a', ['Content-Length: 1', 'Content-Length: 2']],
  ])('is told in XML beside the other protocols where what comes for it %s', async (_what, key, headers) => {
    const { status, body } = await exchange(
      server.url,
      rawRequest('PUT', `/storage/v1/s3/papers/${key}`, headers),
    )
    expect([status, body.toString()]).toEqual([400, expect.stringContaining('<Code>InvalidRequest</Code>')])
  })

  it('has no body for HEAD', async () => {
    const response = await server.send('HEAD', '/papers?torrent')
    expect([response.status, await response.text()]).toEqual([501, ''])
  })
})
