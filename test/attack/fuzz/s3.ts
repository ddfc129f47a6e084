import type { Random } from '../../faults/random.ts'
import { amzDate, encode, hmac, presign, scopeOf, signingKey } from '../../support/s3-signer.ts'
import type { Arsenal, S3Signing } from './arsenal.ts'
import type { Draft } from './drafts.ts'
import { aBucket, aName, aText, aValue, chance } from './values.ts'

/** So that what was signed when the attackers were armed holds until they have done. In seconds. */
const LONGEST = 7 * 86_400

const SUBRESOURCES = [
  'acl',
  'attributes',
  'delete',
  'list-type=2',
  'location',
  'partNumber=1',
  'renameObject',
  'tagging',
  'uploads',
  'versionId=null',
  'versioning',
] as const

const PARAMETERS = [
  'continuation-token',
  'delimiter',
  'encoding-type',
  'key-marker',
  'marker',
  'max-keys',
  'max-parts',
  'partNumber',
  'prefix',
  'response-content-type',
  'start-after',
  'upload-id-marker',
  'uploadId',
  'versionId',
  'x-amz-acl',
  'x-amz-checksum-algorithm',
  'x-amz-copy-source',
  'x-amz-copy-source-range',
  'x-amz-meta-note',
  'x-amz-metadata-directive',
  'x-amz-object-attributes',
  'x-amz-rename-source',
  'x-amz-tagging',
  'X-Amz-Content-Sha256',
] as const

/** Of documents, and of their attributes. */
const ELEMENTS = [
  'AccessControlPolicy',
  'CompleteMultipartUpload',
  'Delete',
  'ETag',
  'Key',
  'Object',
  'Part',
  'PartNumber',
  'Quiet',
  'Tag',
  'TagSet',
  'Tagging',
  'Value',
  'hasOwnProperty',
  '__proto__',
] as const

/** A request by S3, whose signature holds as long as nothing in it is disturbed. */
export function s3Request(random: Random, { s3 }: Arsenal): Draft {
  if (chance(random, 15)) return s3Form(random, random.pick(s3.keys))
  const method = random.pick(['GET', 'GET', 'HEAD', 'PUT', 'PUT', 'POST', 'DELETE'])
  const place = random.pick([
    '',
    `/${aBucket(random)}`,
    `/${aBucket(random)}/${aName(random)}`,
    '/shared/in-parts',
  ])
  const parameter = () =>
    random.pick([
      random.pick(SUBRESOURCES),
      `uploadId=${random.pick(s3.uploads)}`,
      `${random.pick(PARAMETERS)}=${encode(wellFormed(aText(random)))}`,
      'x-amz-copy-source=shared%2Fa.txt',
    ])
  const query = Array.from({ length: random.below(4) }, parameter).join('&')
  const url = `${HERE}/s3${place}${query === '' ? '' : `?${query}`}`
  const path = presign({ method, url }, random.pick(s3.keys), LONGEST).slice(HERE.length)
  return { method, path, headers: [], body: method === 'PUT' || method === 'POST' ? aBody(random) : '' }
}

/** As the requests name it, in their header Host. */
const HERE = 'http://test/storage/v1'

function aBody(random: Random): string | Buffer {
  if (chance(random, 30)) return random.bytes(random.below(100))
  const document = chance(random, 10) ? `<!DOCTYPE a [<!ENTITY b "${'b'.repeat(50)}">]>` : ''
  return `${document}${anElement(random, 4)}`
}

function anElement(random: Random, depth: number): string {
  const name = random.pick(ELEMENTS)
  const attributes = Array.from({ length: random.below(3) }, () => ` ${random.pick(ELEMENTS)}="a"`).join('')
  const isText = depth === 0 || chance(random, 25)
  const text = random.pick(['1', 'a.txt', 'true', '&amp;', '&b;', '&#0;', aText(random)])
  const inner = isText
    ? text
    : Array.from({ length: random.below(4) }, () => anElement(random, depth - 1)).join('')
  return `<${name}${attributes}>${inner}</${name}>`
}

/** A form whose policy is signed, whatever is in it. */
function s3Form(random: Random, keys: S3Signing): Draft {
  const scope = scopeOf(keys)
  const condition = () =>
    random.pick<unknown>([
      ['content-length-range', 0, 10],
      [aValue(random), aValue(random), aValue(random)],
      { [aText(random)]: aValue(random) },
    ])
  const conditions = [
    { bucket: 'shared' },
    ['starts-with', '$key', ''],
    ['starts-with', '$note', ''],
    ...(chance(random, 50) ? [] : [condition()]),
  ]
  const document = { expiration: chance(random, 90) ? '2099-01-01T00:00:00Z' : aValue(random), conditions }
  const policy = Buffer.from(JSON.stringify(document)).toString('base64')
  const fields = {
    key: random.pick(['n-1', `up/\${filename}`, `\${filename}`.repeat(5000), aText(random)]),
    note: aText(random),
    policy,
    'x-amz-algorithm': 'AWS4-HMAC-SHA256',
    'x-amz-credential': `${keys.accessKeyId}/${scope}`,
    'x-amz-date': amzDate(keys.at),
    ...(keys.sessionToken !== undefined && { 'x-amz-security-token': keys.sessionToken }),
    'x-amz-signature': hmac(signingKey(keys, scope), policy).toString('hex'),
  }
  const part = (head: string, value: string) =>
    `--b\r\nContent-Disposition: form-data; name="${head}"\r\n\r\n${value}\r\n`
  const parts = Object.entries(fields).map(([name, value]) => part(name, value))
  parts.push(
    part(`file"; filename="${random.pick(['a.txt', 'x'.repeat(10_000), '../../escaped.txt'])}`, 'hello'),
  )
  return {
    method: 'POST',
    path: '/s3/shared',
    headers: ['Content-Type: multipart/form-data; boundary=b'],
    body: `${parts.join('')}--b--\r\n`,
  }
}

/** With what is no Unicode replaced, which no URL can have. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString()
}
