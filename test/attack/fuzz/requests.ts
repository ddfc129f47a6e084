import type { Random } from '../../faults/random.ts'
import { chunk, rawRequest } from '../../support/raw-http.ts'
import { type Arsenal, aToken } from './arsenal.ts'
import { aDraft, aQuery, type Draft } from './drafts.ts'
import { aText, aValue, chance } from './values.ts'

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
  const draft = aDraft(random, arsenal)
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
  const login = chance(random, 95) ? [aLogin(random, arsenal)] : []
  const { headers, body, isTrue } = framed(random, draft)
  return { bytes: rawRequest(draft.method, target, [...login, ...headers], body), isTrue }
}

function aLogin(random: Random, arsenal: Arsenal): string {
  const token = aToken(random, arsenal)
  return chance(random, 85)
    ? `Authorization: Bearer ${token}`
    : random.pick([`apikey: ${token}`, `authorization: ${token}`, `authorization: Basic ${token}`])
}

function moreHeaders(random: Random): string[] {
  const value = () => aText(random)
  return random.pick([
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
