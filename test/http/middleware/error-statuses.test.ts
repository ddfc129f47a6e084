import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { signUrlToken } from '../../../src/storage/links/url-token.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

interface Case {
  what: string
  send(server: TestServer): Promise<Response>
  /** By default: the HTTP status, which the body repeats, its `code` and its `error`. */
  plain: [http: number, code: string, error: string]
  /** As Supabase has it: the HTTP status, the body's `statusCode`, `code` and `error` (wire §1.6, §1.7). */
  compat: [http: number, statusCode: string, code: string, error: string]
  /** Compared literally by clients (wire §1.7). */
  message?: string
  headers?: Record<string, unknown>
}

const upload =
  (path: string, init = {}) =>
  (server: TestServer) =>
    server.request('POST', `/object/${path}`, { body: 'hello', ...init })

const get =
  (path: string, init = {}) =>
  (server: TestServer) =>
    server.request('GET', path, init)

function signed(server: TestServer, name: string, scope: 'download' | 'upload', age = 0) {
  const grant = { scope, bucket: 'box', bucketUid: undefined, name, expiresInSeconds: 60 }
  const { token } = signUrlToken(grant, server.keys.signingSecret, new Date(Date.now() - age))
  return server.request('GET', `/object/sign/box/held.txt?token=${token}`, { token: null })
}

const as = async (server: TestServer, subject: string) => ({ token: await server.token(subject) })

const CASES: Case[] = [
  {
    what: 'an illegal name',
    send: upload('box/a%00b'),
    plain: [400, 'InvalidKey', 'InvalidKey'],
    compat: [400, '400', 'InvalidKey', 'InvalidKey'],
  },
  {
    what: 'a bucket that is not there',
    send: upload('nowhere/a.txt'),
    plain: [404, 'NoSuchBucket', 'Bucket not found'],
    compat: [400, '404', 'NoSuchBucket', 'Bucket not found'],
    message: 'Bucket not found',
  },
  {
    what: 'an object that is not there',
    send: get('/object/box/missing.txt'),
    plain: [404, 'NoSuchKey', 'not_found'],
    compat: [400, '404', 'NoSuchKey', 'not_found'],
    message: 'Object not found',
  },
  {
    what: 'a private bucket without a token',
    send: get('/object/box/held.txt', { token: null }),
    plain: [404, 'NoSuchBucket', 'Bucket not found'],
    compat: [400, '404', 'NoSuchBucket', 'Bucket not found'],
  },
  {
    what: 'no token where one is needed',
    send: upload('box/a.txt', { token: null }),
    plain: [401, 'AuthenticationRequired', 'Unauthorized'],
    compat: [400, '400', 'InvalidRequest', 'Error'],
    headers: { 'www-authenticate': 'Bearer' },
  },
  {
    what: 'a token that does not hold',
    send: upload('box/a.txt', { token: 'eyJhbGciOiJIUzI1NiJ9.e30.AAAA' }),
    plain: [401, 'InvalidToken', 'Unauthorized'],
    compat: [400, '403', 'AccessDenied', 'Unauthorized'],
    message: 'signature verification failed',
    headers: { 'www-authenticate': expect.stringMatching(/^Bearer\b/) },
  },
  {
    what: 'a token that is none',
    send: upload('box/a.txt', { token: 'x' }),
    plain: [401, 'InvalidToken', 'Unauthorized'],
    compat: [400, '403', 'AccessDenied', 'Unauthorized'],
  },
  {
    what: 'a write that the policies deny',
    send: async (server) => upload('box/a.txt', await as(server, 'someone'))(server),
    plain: [403, 'AccessDenied', 'Unauthorized'],
    compat: [400, '403', 'AccessDenied', 'Unauthorized'],
    message: 'new row violates row-level security policy',
  },
  {
    what: 'a route for the service only',
    send: async (server) => server.request('POST', '/bucket/box/empty', await as(server, 'someone')),
    plain: [403, 'AccessDenied', 'Unauthorized'],
    compat: [403, '403', 'AccessDenied', 'Unauthorized'],
  },
  {
    what: 'an object that exists',
    send: upload('box/held.txt'),
    plain: [409, 'KeyAlreadyExists', 'Duplicate'],
    compat: [400, '409', 'KeyAlreadyExists', 'Duplicate'],
    message: 'The resource already exists',
  },
  {
    what: 'a bucket that exists',
    send: (server) => server.request('POST', '/bucket', { body: { name: 'box' } }),
    plain: [409, 'BucketAlreadyExists', 'Duplicate'],
    compat: [400, '409', 'BucketAlreadyExists', 'Duplicate'],
    message: 'The resource already exists',
  },
  {
    what: 'a move onto an object that exists',
    send: (server) =>
      server.request('POST', '/object/move', {
        body: { bucketId: 'box', sourceKey: 'held.txt', destinationKey: 'other.txt' },
      }),
    plain: [409, 'ResourceAlreadyExists', 'Duplicate'],
    compat: [400, '409', 'ResourceAlreadyExists', 'Duplicate'],
    message: 'The resource already exists',
  },
  {
    what: 'a bucket that is not empty',
    send: (server) => server.request('DELETE', '/bucket/box'),
    plain: [409, 'ResourceNotEmpty', 'ResourceNotEmpty'],
    compat: [400, '409', 'ResourceNotEmpty', 'ResourceNotEmpty'],
  },
  {
    what: 'a bucket name that is none',
    send: (server) => server.request('POST', '/bucket', { body: { name: 'a/b' } }),
    plain: [400, 'InvalidBucketName', 'Invalid Input'],
    compat: [400, '400', 'InvalidBucketName', 'Invalid Input'],
  },
  {
    what: 'an object larger than its bucket takes',
    send: upload('small/a.txt', { body: 'x'.repeat(11) }),
    plain: [413, 'EntityTooLarge', 'Payload too large'],
    compat: [400, '413', 'EntityTooLarge', 'Payload too large'],
    message: 'The object exceeded the maximum allowed size',
  },
  {
    what: 'a type that the bucket refuses',
    send: upload('small/a.txt', { headers: { 'content-type': 'text/css' } }),
    plain: [415, 'InvalidMimeType', 'invalid_mime_type'],
    compat: [400, '415', 'InvalidMimeType', 'invalid_mime_type'],
    message: 'mime type text/css is not supported',
  },
  {
    what: 'a range past the end',
    send: get('/object/box/held.txt', { headers: { range: 'bytes=99-' } }),
    plain: [416, 'InvalidRange', 'invalid_range'],
    compat: [416, '416', 'InvalidRange', 'invalid_range'],
    headers: { 'content-range': 'bytes */5' },
  },
  {
    what: 'a precondition that does not hold',
    send: get('/object/box/held.txt', { headers: { 'if-match': '"other"' } }),
    plain: [412, 'InvalidRequest', 'InvalidRequest'],
    compat: [412, '412', 'InvalidRequest', 'InvalidRequest'],
  },
  {
    what: 'a signed URL without its token',
    send: get('/object/sign/box/held.txt', { token: null }),
    plain: [400, 'InvalidRequest', 'Error'],
    compat: [400, '400', 'InvalidRequest', 'Error'],
  },
  {
    what: 'a signed URL with garbage for a token',
    send: get('/object/sign/box/held.txt?token=garbage', { token: null }),
    plain: [403, 'InvalidJWT', 'InvalidJWT'],
    compat: [400, '400', 'InvalidJWT', 'InvalidJWT'],
  },
  {
    what: 'a signed URL past its time',
    send: (server) => signed(server, 'held.txt', 'download', 120_000),
    plain: [410, 'ExpiredToken', 'ExpiredToken'],
    compat: [400, '400', 'InvalidJWT', 'InvalidJWT'],
  },
  {
    what: 'a signed URL that was revoked',
    send: async (server) => {
      const path = '/object/sign/box/held.txt'
      const signed = await server.request('POST', path, { body: { expiresIn: 60, stable: true } })
      const { signedURL } = (await signed.json()) as { signedURL: string }
      const token = signedURL.replace(/.*token=/, '')
      await server.request('POST', '/object/sign/revoke', { body: { token } })
      return server.request('GET', signedURL, { token: null })
    },
    plain: [410, 'LinkRevoked', 'LinkRevoked'],
    compat: [400, '400', 'InvalidJWT', 'InvalidJWT'],
  },
  {
    what: 'a signed URL for another object',
    send: (server) => signed(server, 'other.txt', 'download'),
    plain: [403, 'InvalidSignature', 'InvalidSignature'],
    compat: [400, '400', 'InvalidSignature', 'InvalidSignature'],
  },
  {
    what: 'a signed URL for another action',
    send: (server) => signed(server, 'held.txt', 'upload'),
    plain: [403, 'InvalidSignature', 'InvalidSignature'],
    compat: [400, '400', 'InvalidSignature', 'InvalidSignature'],
  },
  {
    what: 'JSON that is none',
    send: (server) => server.request('POST', '/bucket', { body: '{' }),
    plain: [400, 'InvalidRequest', 'Error'],
    compat: [400, '400', 'InvalidRequest', 'Error'],
  },
  {
    what: 'a robots tag that is none',
    send: upload('box/a.txt', { headers: { 'x-robots-tag': 'anything' } }),
    plain: [400, 'InvalidRequest', 'invalid_x_robots_tag'],
    compat: [400, '400', 'InvalidRequest', 'invalid_x_robots_tag'],
  },
  {
    what: 'headers that are too large',
    send: get('/status', { headers: { 'x-note': 'a'.repeat(70_000) } }),
    plain: [431, 'InvalidRequest', 'Request Header Fields Too Large'],
    compat: [431, '431', 'InvalidRequest', 'Request Header Fields Too Large'],
    message: 'The request headers are too large',
  },
  {
    what: 'an unknown route',
    send: get('/nothing'),
    plain: [404, 'InvalidRequest', 'Not Found'],
    compat: [404, '404', 'InvalidRequest', 'Not Found'],
  },
  {
    what: 'a method that the route does not answer',
    send: (server) => server.request('PROPFIND', '/object/box/a.txt'),
    plain: [405, 'InvalidRequest', 'Method Not Allowed'],
    compat: [404, '404', 'InvalidRequest', 'Not Found'],
  },
]

describe.each([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s', (_mode, env: Record<string, string>) => {
  const isCompat = 'STORAGE_COMPAT' in env
  let server: TestServer

  beforeAll(async () => {
    server = await startTestServer(env)
    await server.createBucket('box')
    await server.createBucket('small', { file_size_limit: 10, allowed_mime_types: ['text/plain'] })
    for (const name of ['held.txt', 'other.txt']) {
      expect((await server.request('PUT', `/object/box/${name}`, { body: 'hello' })).ok).toBe(true)
    }
  })

  afterAll(() => server.close())

  it.each(CASES.map((one) => [one.what, one] as const))(
    '%s',
    async (_what, { send, plain, compat, ...rest }) => {
      const response = await send(server)
      const body = (await response.json()) as Record<string, string>
      const [http, ...fields] = isCompat ? compat : [plain[0], String(plain[0]), plain[1], plain[2]]
      expect([body.statusCode, body.code, body.error, response.status]).toEqual([...fields, http])
      expect(Object.keys(body)).toHaveLength(4)
      if (rest.message !== undefined) expect(body.message).toBe(rest.message)
      expect(Object.fromEntries(response.headers)).toMatchObject(rest.headers ?? {})
    },
  )

  it('HEAD of an object that is not there is one of the two statuses that exists() takes for no', async () => {
    const response = await server.request('HEAD', '/object/box/missing.txt')
    expect([response.status, await response.text()]).toEqual([isCompat ? 400 : 404, ''])
  })
})
