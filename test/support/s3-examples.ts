import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import pino from 'pino'
import { TokenVerifier } from '../../src/http/auth/token-verifier.ts'
import { decodedBody } from '../../src/http/s3/decoded-body.ts'
import { s3Error } from '../../src/http/s3/errors.ts'
import { SignatureVerifier } from '../../src/http/s3/signature/verify.ts'
import { signedAddresses } from '../../src/http/s3/signed-addresses.ts'
import { RequestContext, type Surface, Surfaces } from '../../src/http/surface.ts'

/*
 * The examples of Amazon's documentation, "Authenticating Requests (AWS Signature Version 4)" of the S3 API Reference, and
 * who verifies them on the day that they are of.
 */

export const PAIR = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}
const SERVICE = { role: 'service_role', subject: null, claims: { role: 'service_role' }, token: '' }
const AT = '20130524T000000Z'
const SCOPE = '20130524/us-east-1/s3/aws4_request'
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

export const verifier = new SignatureVerifier({
  region: 'us-east-1',
  credentials: {
    find: (id) => (id === PAIR.accessKeyId ? { secret: PAIR.secretAccessKey, identity: SERVICE } : null),
    onUse: () => {},
  },
  sessionSecrets: [],
  tokens: new TokenVerifier({
    secret: '',
    jwks: undefined,
    jwksUrl: undefined,
    extraRoles: [],
    publishableKeys: [],
    secretKeys: [],
  }),
  addresses: (request) => signedAddresses(request, { publicUrl: undefined, trustProxy: false }),
  logger: pino({ level: 'silent' }),
  now: () => new Date('2013-05-24T00:05:00Z'),
})

export function arrived(method: string, url: string, headers: Record<string, string>): RequestContext {
  const incoming = new IncomingMessage(new Socket())
  Object.assign(incoming, { method, url })
  incoming.headers = headers
  const surface = { prefix: '', error: s3Error } as unknown as Surface
  return new RequestContext(incoming, new Surfaces([surface], ''))
}

export function authorization(signedHeaders: string, signature: string): string {
  const credential = `${PAIR.accessKeyId}/${SCOPE}`
  return `AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${signedHeaders},Signature=${signature}`
}

export const host = 'examplebucket.s3.amazonaws.com'

export const EXAMPLES: [
  what: string,
  method: string,
  url: string,
  headers: Record<string, string>,
  signature: string,
][] = [
  [
    'GET Object',
    'GET',
    '/test.txt',
    { host, range: 'bytes=0-9', 'x-amz-content-sha256': EMPTY, 'x-amz-date': AT },
    'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  ],
  [
    'PUT Object',
    'PUT',
    '/test$file.text',
    {
      date: 'Fri, 24 May 2013 00:00:00 GMT',
      host,
      'x-amz-content-sha256': '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      'x-amz-date': AT,
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
    },
    '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  ],
  [
    'GET Bucket Lifecycle',
    'GET',
    '/?lifecycle',
    { host, 'x-amz-content-sha256': EMPTY, 'x-amz-date': AT },
    'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  ],
  [
    'Get Bucket (List Objects)',
    'GET',
    '/?max-keys=2&prefix=J',
    { host, 'x-amz-content-sha256': EMPTY, 'x-amz-date': AT },
    '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  ],
]

export function ofHeader([, method, url, headers, signature]: (typeof EXAMPLES)[number]): RequestContext {
  const signedHeaders = Object.keys(headers).join(';')
  return arrived(method, url, { ...headers, authorization: authorization(signedHeaders, signature) })
}

export const PRESIGNED =
  '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F' +
  'aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=' +
  'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404'

/** The upload of 65 KiB in chunks of 64 KiB. */
export const CHUNKED = {
  headers: {
    'content-encoding': 'aws-chunked',
    'content-length': '66824',
    host: 's3.amazonaws.com',
    'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
    'x-amz-date': AT,
    'x-amz-decoded-content-length': '66560',
    'x-amz-storage-class': 'REDUCED_REDUNDANCY',
  },
  signature: '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
  chunks: [
    [65_536, 'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648'],
    [1024, '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497'],
    [0, 'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9'],
  ] as [number, string][],
  end: '\r\n',
}

/** The same with a checksum behind it. */
export const WITH_TRAILER = {
  headers: {
    'content-encoding': 'aws-chunked',
    host: 's3.amazonaws.com',
    'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
    'x-amz-date': AT,
    'x-amz-decoded-content-length': '66560',
    'x-amz-storage-class': 'REDUCED_REDUNDANCY',
    'x-amz-trailer': 'x-amz-checksum-crc32c',
  },
  signature: '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e',
  chunks: [
    [65_536, 'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2'],
    [1024, '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7'],
    [0, '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992'],
  ] as [number, string][],
  end:
    'x-amz-checksum-crc32c:sOO8/Q==\r\n' +
    'x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n',
}

export function bodyOf({ chunks, end }: typeof CHUNKED | typeof WITH_TRAILER): Buffer {
  const parts = chunks.map(([size, signature]) => {
    const line = `${size.toString(16)};chunk-signature=${signature}\r\n`
    return size === 0 ? line : `${line}${'a'.repeat(size)}\r\n`
  })
  return Buffer.from(`${parts.join('')}${end}`)
}

export type ChunkedExample = typeof CHUNKED | typeof WITH_TRAILER

/** Verifies the request, and reads what a body has. */
export async function readChunked({ headers, signature }: ChunkedExample, body: Buffer) {
  const signed = Object.keys(headers).join(';')
  const request = arrived('PUT', '/examplebucket/chunkObject.txt', {
    ...headers,
    authorization: authorization(signed, signature),
  })
  const { payload } = await verifier.verify(request)
  const { incoming } = request
  const decoded = decodedBody(incoming, payload)
  incoming.push(body)
  incoming.push(null)
  return { bytes: await buffer(decoded.stream), trailers: Object.fromEntries(decoded.trailers) }
}
