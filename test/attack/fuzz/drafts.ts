import type { Random } from '../../faults/random.ts'
import { metadataOf } from '../../support/tus-requests.ts'
import type { Arsenal } from './arsenal.ts'
import { formBody } from './forms.ts'
import { hijacked } from './frames.ts'
import { s3Request } from './s3.ts'
import { aBucket, aName, aStoredName, aText, aValue, chance, disturbed } from './values.ts'

/** A request before its login, its framing, and what else is done to it. */
export interface Draft {
  method: string
  /** Behind the prefix. */
  path: string
  headers: string[]
  body: string | Buffer
}

/** A request of any route. */
export function aDraft(random: Random, arsenal: Arsenal): Draft {
  return random.pick(KINDS)(random, arsenal)
}

export function aQuery(random: Random): string {
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

/** Of an object: parts of it, or only if something is so. */
function conditions(random: Random): string[] {
  if (chance(random, 50)) return []
  const ranges = [
    '0-',
    '-1',
    '0-1',
    '1-3',
    '5-2',
    '0-0,2-3',
    '-0',
    '9'.repeat(30),
    `${'0-1,'.repeat(500)}2-3`,
  ] as const
  return random.pick([
    [`Range: bytes=${random.pick(ranges)}`],
    [`Range: ${random.pick(['bytes=', 'lines=1-2', aText(random)])}`],
    [`If-None-Match: ${random.pick(['*', 'W/"x"', '"a", '.repeat(200), aText(random)])}`],
    [`If-Match: ${random.pick(['*', '"x"', aText(random)])}`],
    [`If-Modified-Since: ${random.pick(['Thu, 01 Jan 1970 00:00:00 GMT', aText(random)])}`],
    [`If-Unmodified-Since: ${random.pick(['Thu, 01 Jan 1970 00:00:00 GMT', aText(random)])}`],
    ['Range: bytes=0-1', `If-Range: ${random.pick(['"x"', 'Thu, 01 Jan 1970 00:00:00 GMT', aText(random)])}`],
  ])
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

const download: Kind = (random) => ({
  ...plain(
    random.pick(['GET', 'GET', 'HEAD']),
    `/object/${random.pick(OBJECT_ROUTES)}${aBucket(random)}/${aStoredName(random)}`,
  ),
  headers: conditions(random),
})

const publicDownload: Kind = (random) => ({
  ...plain(random.pick(['GET', 'GET', 'HEAD']), `/object/public/open/${aStoredName(random)}`),
  headers: conditions(random),
})

const upload: Kind = (random) => ({
  method: random.pick(['POST', 'PUT']),
  path: `/object/${aBucket(random)}/${aName(random)}`,
  headers: [
    'Content-Type: text/plain',
    ...(chance(random, 50) ? ['x-upsert: true'] : []),
    ...(chance(random, 20) ? conditions(random) : []),
  ],
  body: content(random),
})

const formUpload: Kind = (random) => {
  const { type, body } = formBody(random)
  const path = `/object/${aBucket(random)}/${aName(random)}`
  return { method: random.pick(['POST', 'PUT']), path, headers: [`Content-Type: ${type}`], body }
}

const creation: Kind = (random) => {
  const fields = {
    bucketName: aBucket(random),
    objectName: aName(random),
    contentType: 'text/plain',
    metadata: JSON.stringify(chance(random, 80) ? { note: aText(random) } : aValue(random)),
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
}

const piece: Kind = (random, { uploads }) => ({
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
})

/** What goes deepest is there more than once. */
const KINDS: readonly [Kind, ...Kind[]] = [
  download,
  download,
  publicDownload,
  upload,
  upload,
  upload,
  formUpload,
  formUpload,
  creation,
  creation,
  piece,
  piece,
  s3Request,
  s3Request,
  s3Request,
  s3Request,
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
        column: random.pick(['name', 'name', 'created_at', 'updated_at', 'id']),
        order: random.pick(['asc', 'desc']),
      },
      search: random.pick(['', 'a', '%', '\\']),
    }),
  (random) =>
    json(random, 'POST', `/object/list-v2/${aBucket(random)}`, {
      prefix: random.pick(['', 'dir', 'dir/']),
      limit: random.below(1100),
      cursor: chance(random, 80) ? undefined : random.pick(['bm8=', aText(random)]),
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
    json(random, 'POST', `/object/sign/${aBucket(random)}/${aStoredName(random)}`, {
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
        '/health/detailed',
        '/',
        '/metrics',
        '//',
        `/${aText(random)}`,
      ]),
    ),
  (random) => plain('OPTIONS', random.pick(['*', '/upload/resumable', '/object/open/a.txt'])),
  hijacked,
]
