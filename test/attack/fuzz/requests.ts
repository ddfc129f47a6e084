import type { Random } from '../../faults/random.ts'
import { chunk, rawRequest } from '../../support/raw-http.ts'
import { metadataOf } from '../../support/tus-requests.ts'
import { type Arsenal, aToken } from './arsenal.ts'
import { formBody } from './forms.ts'
import { hijacked } from './frames.ts'
import { aBucket, aName, aText, aValue, chance, disturbed } from './values.ts'

interface Draft {
  method: string
  /** Behind the prefix. */
  path: string
  headers: string[]
  body: string | Buffer
}

const OBJECT_ROUTES = [
  '',
  '',
  '',
  'public/',
  'authenticated/',
  'info/',
  'info/public/',
  'info/authenticated/',
] as const
const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'CONNECT',
  'PROPFIND',
  'get',
] as const

export interface Request {
  bytes: Buffer
  /** Its body is as long as it says. */
  isTrue: boolean
}

/** A request that is valid, or was before something in it was disturbed. */
export function aRequest(random: Random, arsenal: Arsenal): Request {
  const draft = random.pick(KINDS)(random, arsenal)
  if (chance(random, 5)) draft.method = random.pick(METHODS)
  if (chance(random, 20)) draft.headers.push(...moreHeaders(random))
  const query = chance(random, 10) ? `${draft.path.includes('?') ? '&' : '?'}${aQuery(random)}` : ''
  const prefix = random.pick([
    '/storage/v1',
    '/storage/v1',
    '/storage/v1',
    '',
    'http://other.example/storage/v1',
  ])
  const target = `${draft.path.startsWith('/realtime/') ? '' : prefix}${draft.path}${query}`
  const login = chance(random, 90) ? [aLogin(random, arsenal)] : []
  const { headers, body, isTrue } = framed(random, draft)
  return { bytes: rawRequest(draft.method, target, [...login, ...headers], body), isTrue }
}

function aLogin(random: Random, arsenal: Arsenal): string {
  const token = aToken(random, arsenal)
  return chance(random, 70)
    ? `Authorization: Bearer ${token}`
    : random.pick([`apikey: ${token}`, `authorization: ${token}`, `authorization: Basic ${token}`])
}

function aQuery(random: Random): string {
  const names = [
    'token',
    'apikey',
    'download',
    'expires_in',
    'limit',
    'offset',
    'search',
    'stats',
    'sortColumn',
    'type',
    'after',
    'width',
  ] as const
  return `${random.pick(names)}=${encodeURIComponent(Buffer.from(aText(random)).toString())}`
}

function moreHeaders(random: Random): string[] {
  const value = () => aText(random)
  return random.pick([
    () => [
      `Range: bytes=${random.pick(['0-', '-1', '5-2', '0-0,2-3', '-0', '9'.repeat(30), `${'0-1,'.repeat(500)}2-3`, value()])}`,
    ],
    () => [`If-Match: ${random.pick(['*', '"x"', value()])}`],
    () => [`If-None-Match: ${random.pick(['*', 'W/"x"', '"a", '.repeat(200), value()])}`],
    () => [`If-Modified-Since: ${random.pick(['Thu, 01 Jan 1970 00:00:00 GMT', value()])}`],
    () => [`If-Unmodified-Since: ${random.pick(['Thu, 01 Jan 1970 00:00:00 GMT', value()])}`],
    () => [`If-Range: ${value()}`],
    () => ['Expect: 100-continue'],
    () => [`Expect: ${value()}`],
    () => ['Connection: close'],
    () => [
      `Connection: ${random.pick(['Upgrade, HTTP2-Settings', 'content-length', value()])}`,
      'Upgrade: h2c',
    ],
    () => ['Host: other.example', 'Host: test'],
    () => [`X-Forwarded-Host: ${value()}`, `X-Forwarded-Proto: ${value()}`, `X-Forwarded-For: ${value()}`],
    () => [`Origin: ${value()}`, `Access-Control-Request-Method: ${value()}`],
    () => [`x-upsert: ${random.pick(['true', value()])}`],
    () => [
      `x-metadata: ${Buffer.from(random.pick([JSON.stringify(aValue(random)), value()])).toString('base64')}`,
    ],
    () => [`cache-control: ${value()}`, `content-type: ${value()}`, `content-encoding: ${value()}`],
    () => [`x-robots-tag: ${value()}`, `user-agent: ${value()}`, `x-client-info: ${value()}`],
    () => [`X-HTTP-Method-Override: ${random.pick(METHODS)}`],
    () => [`Last-Event-ID: ${random.pick(['0', '1', value()])}`],
    () => [`Accept-Encoding: ${value()}`, `Accept: ${value()}`],
    () => Array.from({ length: 200 }, (_, index) => `X-${index}: ${index}`),
    () => [`X-Long: ${'x'.repeat(random.pick([8000, 70_000]))}`],
  ])()
}

/** With a length, in chunks, or in a way that is not true. */
function framed(random: Random, { headers, body }: Draft) {
  const bytes = Buffer.from(body)
  const isFramed = headers.some((line) => line.startsWith('Content-Length'))
  if (isFramed || bytes.length === 0 || chance(random, 75)) return { headers, body, isTrue: !isFramed }
  const chunked = 'Transfer-Encoding: chunked'
  const chunks = Buffer.concat(
    [bytes.subarray(0, 7), bytes.subarray(7)].filter((part) => part.length > 0).map(chunk),
  )
  if (chance(random, 40)) {
    const trailer = random.pick(['', '', 'X-Trailer: 1\r\n'])
    return {
      headers: [...headers, chunked],
      body: Buffer.concat([chunks, Buffer.from(`0\r\n${trailer}\r\n`)]),
      isTrue: true,
    }
  }
  const all = Buffer.concat([chunks, chunk('')])
  const length = `Content-Length: ${bytes.length}`
  const [lines, sent] = random.pick<[string[], string | Buffer]>([
    [[chunked], `${random.pick(['FFFFFFFFFFFFFFFF', '-1', '0x5', '5;ext=1', ' 5'])}\r\n${body}\r\n`],
    [[chunked], all.subarray(0, random.below(all.length))],
    [[chunked, length], all],
    [
      [
        `Transfer-Encoding: ${random.pick(['gzip', 'gzip, chunked', 'identity', 'chunked, chunked', 'xchunked'])}`,
      ],
      all,
    ],
    [[length, `Content-Length: ${bytes.length + 1}`], bytes],
    [
      [
        `Content-Length: ${random.pick(['-1', '1e3', '0x10', '+5', '', '99999999999999999999', '5, 5', '3'])}`,
      ],
      bytes,
    ],
    [[`Content-Length: ${bytes.length + 1 + random.below(1000)}`], bytes],
  ])
  return { headers: [...headers, ...lines], body: sent, isTrue: false }
}

const json = (random: Random, method: string, path: string, body: Record<string, unknown>): Draft => ({
  method,
  path,
  headers: [chance(random, 95) ? 'Content-Type: application/json' : `Content-Type: ${aText(random)}`],
  body: chance(random, 3) ? '['.repeat(random.pick([100, 60_000])) : JSON.stringify(disturbed(random, body)),
})

const plain = (method: string, path: string): Draft => ({ method, path, headers: [], body: '' })

function content(random: Random): Buffer {
  return chance(random, 3) ? Buffer.alloc(300_000, 'x') : random.bytes(random.below(60))
}

const TUS = 'Tus-Resumable: 1.0.0'
const PIECE = 'Content-Type: application/offset+octet-stream'

type Kind = (random: Random, arsenal: Arsenal) => Draft

const KINDS: readonly [Kind, ...Kind[]] = [
  (random) =>
    plain(
      random.pick(['GET', 'GET', 'HEAD']),
      `/object/${random.pick(OBJECT_ROUTES)}${aBucket(random)}/${aName(random)}`,
    ),
  (random) => plain(random.pick(['GET', 'GET', 'HEAD']), `/object/public/open/${aName(random)}`),
  (random) => ({
    method: random.pick(['POST', 'PUT']),
    path: `/object/${aBucket(random)}/${aName(random)}`,
    headers: ['Content-Type: text/plain', ...(chance(random, 50) ? ['x-upsert: true'] : [])],
    body: content(random),
  }),
  (random) => {
    const { type, body } = formBody(random)
    const path = `/object/${aBucket(random)}/${aName(random)}`
    return { method: random.pick(['POST', 'PUT']), path, headers: [`Content-Type: ${type}`], body }
  },
  (random) => plain('DELETE', `/object/${aBucket(random)}/${aName(random)}`),
  (random) =>
    json(random, 'DELETE', `/object/${aBucket(random)}`, {
      prefixes: [aName(random), `n-${random.below(30)}`],
    }),
  (random) =>
    json(random, 'POST', `/object/list/${aBucket(random)}`, {
      prefix: random.pick(['', 'dir', 'dir/', '%', '_', '..']),
      limit: random.below(200),
      offset: random.pick([0, 1, 100_001]),
      sortBy: {
        column: random.pick(['name', 'created_at', 'updated_at', 'id']),
        order: random.pick(['asc', 'desc']),
      },
      search: random.pick(['', 'a', '%', '\\']),
    }),
  (random) =>
    json(random, 'POST', `/object/list-v2/${aBucket(random)}`, {
      prefix: random.pick(['', 'dir', 'dir/']),
      limit: random.below(1100),
      cursor: random.pick([undefined, 'bm8=', aText(random)]),
      with_delimiter: chance(random, 50),
    }),
  (random) =>
    json(random, 'POST', `/object/${random.pick(['move', 'copy'])}`, {
      bucketId: aBucket(random),
      sourceKey: aName(random),
      destinationKey: aName(random),
      destinationBucket: random.pick([undefined, aBucket(random)]),
    }),
  (random) =>
    json(random, 'POST', `/object/sign/${aBucket(random)}/${aName(random)}`, {
      expiresIn: random.pick([60, 1e12, 1]),
    }),
  (random) =>
    json(random, 'POST', `/object/sign/${aBucket(random)}`, {
      expiresIn: 60,
      paths: [aName(random), aName(random)],
    }),
  (random) => json(random, 'POST', `/object/upload/sign/${aBucket(random)}/${aName(random)}`, {}),
  (random, { links }) => {
    const link = random.pick(links)
    const method = link.includes('/upload/') ? 'PUT' : 'GET'
    return {
      method,
      path: chance(random, 70) ? link : link.replace('a.txt', aName(random)),
      headers: [],
      body: method === 'PUT' ? content(random) : '',
    }
  },
  (random) =>
    json(random, 'POST', '/bucket', {
      name: aBucket(random),
      policy: random.pick(['private', 'authenticated', 'public']),
    }),
  (random) => plain('GET', `/bucket?${aQuery(random)}`),
  (random) => plain(random.pick(['GET', 'GET', 'DELETE']), `/bucket/${aBucket(random)}`),
  (random) =>
    json(random, random.pick(['PUT', 'PATCH']), `/bucket/${aBucket(random)}`, {
      public: chance(random, 50),
      file_size_limit: random.pick([null, 0, '5MB', 1e6]),
      allowed_mime_types: random.pick([null, ['text/plain', 'image/*']]),
    }),
  (random) => json(random, 'POST', `/bucket/${random.pick(['closed', 'nowhere', '..'])}/empty`, {}),
  (random) => {
    const fields = {
      bucketName: aBucket(random),
      objectName: aName(random),
      contentType: 'text/plain',
      metadata: JSON.stringify(aValue(random)),
    }
    const metadata = chance(random, 80)
      ? metadataOf(fields)
      : random.pick([',', 'bucketName', 'bucketName !!!', aText(random)])
    const length = random.pick(['0', '3', '100', '-1', '1e3', '99999999999999999999', '4000000000'])
    return {
      method: 'POST',
      path: `/upload/resumable${random.pick(['', '/', '/sign'])}`,
      headers: [
        chance(random, 95) ? TUS : 'Tus-Resumable: 0.2.2',
        `Upload-Metadata: ${metadata}`,
        random.pick([
          `Upload-Length: ${length}`,
          `Upload-Length: ${length}`,
          'Upload-Defer-Length: 1',
          'Upload-Concat: partial',
          `x-signature: ${aText(random)}`,
        ]),
        ...(chance(random, 30) ? [PIECE] : []),
      ],
      body: chance(random, 30) ? 'abc' : '',
    }
  },
  (random, { uploads }) => ({
    method: random.pick(['PATCH', 'PATCH', 'HEAD', 'DELETE', 'POST']),
    path: chance(random, 80)
      ? random.pick(uploads)
      : `/upload/resumable/${random.pick(['x', 'b3Blbi9hLnR4dC8x', '%00', aName(random)])}`,
    headers: [
      TUS,
      PIECE,
      `Upload-Offset: ${random.pick(['0', '1', '3', '-1', '1e1', '99999999999999999999'])}`,
      ...(chance(random, 20)
        ? [`Upload-Checksum: ${random.pick(['sha1 AAAA', 'crc32 x', 'md5', aText(random)])}`]
        : []),
      ...(chance(random, 20) ? ['X-HTTP-Method-Override: PATCH'] : []),
    ],
    body: content(random).subarray(0, 40),
  }),
  (random) =>
    plain(
      'GET',
      `/events?${random.pick(['bucket=open', 'prefix=a', 'type=storage.object.created', aQuery(random)])}`,
    ),
  (random) =>
    plain(
      random.pick(['GET', 'POST', 'DELETE', 'PATCH']),
      `/webhook${random.pick(['', '/x', '/00000000-0000-0000-0000-000000000000', '/x/dead-letter?limit=5'])}`,
    ),
  (random) =>
    json(random, 'POST', '/webhook', {
      url: random.pick([
        'http://127.0.0.1:1/',
        'http://[::1]/',
        'http://169.254.169.254/',
        'file:///etc/passwd',
      ]),
      bucket: 'nowhere',
    }),
  (random) =>
    plain(
      'GET',
      random.pick([
        '/status',
        '/health',
        '/version',
        '/health/live',
        '/',
        '/metrics',
        '//',
        `/${aText(random)}`,
      ]),
    ),
  (random) => plain('OPTIONS', random.pick(['*', '/upload/resumable', '/object/open/a.txt'])),
  hijacked,
]

/** Some bytes replaced, lost, doubled or put in. */
export function mutated(random: Random, request: Buffer): Buffer {
  let bytes = request
  for (let count = 1 + random.below(3); count > 0; count--) {
    const at = random.below(bytes.length + 1)
    const end = Math.min(bytes.length, at + 1 + random.below(20))
    const [before, piece, after] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)]
    const inserted = Buffer.from(
      random.pick(['\r\n', '\n', '\r', '\0', ' ', ':', '%', '\r\n\r\n', '\x7f', 'ü', '\t', '/', '"']),
    )
    bytes = random.pick([
      () => Buffer.concat([before, random.bytes(piece.length), after]),
      () => Buffer.concat([before, after]),
      () => Buffer.concat([before, piece, piece, after]),
      () => Buffer.concat([before, inserted, piece, after]),
      () => before,
    ])()
  }
  return bytes
}
