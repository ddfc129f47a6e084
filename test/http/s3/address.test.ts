import type { IncomingMessage } from 'node:http'
import { GetObjectCommand, ListBucketsCommand, S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pathAt } from '../../../src/http/s3/address.ts'
import { signedAddresses } from '../../../src/http/s3/signed-addresses.ts'
import type { RequestContext } from '../../../src/http/surface.ts'
import { exchange, rawRequest } from '../../support/raw-http.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { presign, signRequest } from '../../support/s3-signer.ts'

/** The list of buckets, signed for one address and sent to another, as gateways do. */
async function askAt(
  server: S3TestServer,
  signedFor: string,
  sentTo: string,
  headers: Record<string, string> = {},
): Promise<string> {
  const signed = signRequest({ method: 'GET', url: signedFor }, server.keys3)
  const lines = Object.entries({ ...signed, host: new URL(signedFor).host, ...headers })
  const response = await exchange(
    server.url,
    rawRequest(
      'GET',
      sentTo,
      lines.map(([name, value]) => `${name}: ${value}`),
    ),
  )
  const [, code = 'no error of S3'] = /<Code>(.*)<\/Code>/.exec(response.body.toString()) ?? []
  return response.status === 200 ? 'taken' : code
}

describe('a signature for another address than the one that a request came to', () => {
  let server: S3TestServer
  beforeAll(async () => {
    server = await startS3Server({
      STORAGE_TRUST_PROXY: 'true',
      STORAGE_PUBLIC_URL: 'https://files.test/api',
    })
  })
  afterAll(() => server.close())

  it.each<[what: string, signedFor: string, sentTo: string, headers: Record<string, string>, answer: string]>(
    [
      ['nothing is between', 'http://a.test/s3/', '/s3/', {}, 'taken'],
      ['a gateway takes our prefix away', 'http://a.test/storage/v1/s3', '/s3', {}, 'taken'],
      [
        'a gateway says the host',
        'https://b.test/s3',
        '/s3',
        { host: 'inner', 'x-forwarded-host': 'b.test' },
        'taken',
      ],
      [
        'a gateway says host and port',
        'https://b.test:8443/s3',
        '/s3',
        { host: 'inner', 'x-forwarded-host': 'b.test', 'x-forwarded-port': '8443' },
        'taken',
      ],
      [
        'a gateway says a port that goes without saying',
        'https://b.test/s3',
        '/s3',
        { host: 'inner', 'x-forwarded-host': 'b.test', 'x-forwarded-port': '443' },
        'taken',
      ],
      [
        'a gateway says the prefix that it takes away',
        'http://a.test/files/storage/v1/s3',
        '/storage/v1/s3',
        { 'x-forwarded-prefix': '/files' },
        'taken',
      ],
      [
        'the public address is known',
        'https://files.test/api/storage/v1/s3',
        '/storage/v1/s3',
        { host: 'inner' },
        'taken',
      ],
      [
        'the path is spelled anew',
        'http://a.test/s3/papers/%C3%A4%27',
        "/s3/papers/%c3%a4'",
        {},
        'NoSuchBucket',
      ],
      ['the host is another', 'http://a.test/s3', '/s3', { host: 'evil.test' }, 'SignatureDoesNotMatch'],
      ['the prefix is another', 'http://a.test/other/s3', '/s3', {}, 'SignatureDoesNotMatch'],
      // Whoever is given the address of one object could send that of another one.
      ...['/s3/papers', '/storage/v1/s3/papers'].map(
        (prefix): [string, string, string, Record<string, string>, string] => [
          `the prefix ends in a key of ${prefix}`,
          `http://a.test${prefix}/s3/others/a`,
          '/s3/others/a',
          { 'x-forwarded-prefix': prefix },
          'SignatureDoesNotMatch',
        ],
      ),
    ],
  )('holds if %s, and not otherwise', async (_what, signedFor, sentTo, headers, answer) => {
    expect(await askAt(server, signedFor, sentTo, headers)).toBe(answer)
  })

  it('may have the encodings that a proxy has taken away', async () => {
    const url = 'http://a.test/s3'
    const signed = signRequest(
      { method: 'GET', url, headers: { 'accept-encoding': 'identity' } },
      server.keys3,
    )
    for (const [original, status] of [
      ['identity', 200],
      ['br', 403],
    ] as const) {
      const headers = {
        ...signed,
        host: 'a.test',
        'accept-encoding': 'gzip',
        'x-original-accept-encoding': original,
      }
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
      expect((await exchange(server.url, rawRequest('GET', '/s3', lines))).status).toBe(status)
    }
  })
})

describe('where buckets are at the root', () => {
  it('nothing is put back before a path, which would be another object', () => {
    const incoming = { headers: { host: 'a.test', 'x-forwarded-prefix': '/papers' } } as unknown
    const target = { prefix: '', path: '/s3/others/a', sent: '/others/a', query: '' }
    const trusted = { publicUrl: 'https://files.test/papers', trustProxy: true }
    const tried = [...signedAddresses({ incoming, target } as RequestContext, trusted)]
    expect(new Set(tried.map(({ path }) => path))).toEqual(new Set(['/others/a']))
  })
})

describe('a host of its own', () => {
  let server: S3TestServer
  beforeAll(async () => {
    server = await startS3Server({ STORAGE_S3_PROTOCOL_DOMAIN: 's3.test' })
    await server.createBucket('papers')
  })
  afterAll(() => server.close())

  it.each([
    ['http://s3.test/', '/', 'taken'],
    ['http://S3.test:8080/papers/storage/v1/a', '/papers/storage/v1/a', 'NoSuchKey'],
    ['http://papers.s3.test/a', '/a', 'NoSuchKey'],
    ['http://papers.s3.test/storage/v1/a', '/storage/v1/a', 'NoSuchKey'],
    ['http://papers.s3.test/s3/papers/a', '/s3/papers/a', 'NoSuchKey'],
    ['http://other.test/', '/', 'taken'], // the home page
    ['http://evils3.test/papers/a', '/papers/a', 'no error of S3'],
  ])('%s is where S3 is spoken, or not', async (signedFor, sentTo, answer) => {
    expect(await askAt(server, signedFor, sentTo)).toBe(answer)
  })

  it('has no object at an address that was signed for another one', async () => {
    const refused = 'SignatureDoesNotMatch'
    expect(await askAt(server, 'http://papers.s3.test/storage/v1/a', '/a')).toBe(refused)
    expect(await askAt(server, 'http://papers.s3.test/a', '/a', { host: 'others.s3.test' })).toBe(refused)
    expect(await askAt(server, 'http://a.test/s3/papers/a', '/s3/papers/a', { host: 'papers.s3.test' })).toBe(
      refused,
    )
    expect(await askAt(server, 'http://papers.s3.test/s3/papers/a', '/s3/papers/a', { host: 'a.test' })).toBe(
      refused,
    )
  })

  it('is in the resource of an error as a path', async () => {
    const lines = ['Host: papers.s3.test']
    const response = await exchange(server.url, rawRequest('GET', '/storage/v1?torrent', lines))
    expect(response.body.toString()).toContain('<Resource>/papers/storage/v1</Resource>')
  })

  it('is what aws-sdk makes of an endpoint, unless it is told otherwise', async () => {
    const client = new S3Client({
      endpoint: 'http://s3.test',
      region: 'us-east-1',
      credentials: server.keys3,
    })
    const url = await getSignedUrl(client, new GetObjectCommand({ Bucket: 'papers', Key: 'a b' }))
    client.destroy()
    const { host, pathname, search } = new URL(url)
    expect([host, pathname]).toEqual(['papers.s3.test', '/a%20b'])
    const response = await exchange(server.url, rawRequest('GET', `${pathname}${search}`, [`Host: ${host}`]))
    expect(response.body.toString()).toContain('<Code>NoSuchKey<')
  })
})

describe('a port of its own', () => {
  const pathOf = (sent: string, host: string, domain?: string) =>
    pathAt({ isAtRoot: true, domain, trustProxy: false }, { headers: { host } } as IncomingMessage, sent)

  it('has its buckets at the root, whatever they are called', () => {
    for (const path of ['/', '/papers', '/papers/a%2Fb', '/s3a/b', '/storage/v1/a', '//a']) {
      expect(pathOf(path, '127.0.0.1:8210')).toBe(`/s3${path}`)
    }
  })

  it('has at the addresses of the other port what is there', () => {
    expect(pathOf('/s3/papers/a', '127.0.0.1:8210')).toBe('/s3/papers/a')
    expect(pathOf('/storage/v1/s3/papers/a', '127.0.0.1:8210')).toBe('/s3/papers/a')
    expect(pathOf('/storage/v1/s3', '127.0.0.1:8210')).toBe('/s3')
  })

  it('knows the hosts of buckets, too', () => {
    expect(pathOf('/a', 'papers.s3.test:8210', 's3.test')).toBe('/s3/papers/a')
    expect(pathOf('/papers/a', '127.0.0.1:8210', 's3.test')).toBe('/s3/papers/a')
  })
})

describe('without a host of its own', () => {
  it('hosts mean nothing', async () => {
    const server = await startS3Server()
    const url = presign({ method: 'GET', url: 'http://papers.s3.test/a' }, server.keys3, 60)
    const { pathname, search } = new URL(url)
    const response = await exchange(
      server.url,
      rawRequest('GET', `${pathname}${search}`, ['Host: papers.s3.test']),
    )
    expect(response.status).toBe(404)
    expect((await server.s3.send(new ListBucketsCommand())).$metadata.httpStatusCode).toBe(200)
    await server.close()
  })
})
