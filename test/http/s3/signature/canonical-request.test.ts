import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  canonicalQuery,
  canonicalRequest,
  strictPath,
} from '../../../../src/http/s3/signature/canonical-request.ts'
import { hmac, sha256, signingKey } from '../../../support/s3-signer.ts'

/*
 * Cases of AWS's Signature Version 4 test suite (`aws4_testsuite`), with its credentials, date and service: what is signed
 * here has the signatures that it publishes. Those about paths are left out, since S3 takes paths as they are.
 */

const EMPTY = sha256('')
const SCOPE = '20150830/us-east-1/service/aws4_request'
const KEY = signingKey(
  { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' },
  SCOPE,
)

function signature(method: string, url: string, lines: [string, string][] = [], body = ''): string {
  const all: [string, string][] = [
    ['Host', 'example.amazonaws.com'],
    ...lines,
    ['X-Amz-Date', '20150830T123600Z'],
  ]
  const incoming = new IncomingMessage(new Socket())
  // As Node reads them off the wire, those that came twice too.
  Object.assign(incoming, { method, url, joinDuplicateHeaders: true })
  for (const [name, value] of all) {
    const before = incoming.headers[name.toLowerCase()]
    incoming.headers[name.toLowerCase()] = before === undefined ? value.trim() : `${before}, ${value.trim()}`
    const distinct = incoming.headersDistinct as Record<string, string[]>
    distinct[name.toLowerCase()] = [...(distinct[name.toLowerCase()] ?? []), value.trim()]
  }
  const [path = '/', query = ''] = url.split('?')
  const signedHeaders = [...new Set(all.map(([name]) => name.toLowerCase()))].sort()
  const canonical = canonicalRequest(
    incoming,
    { host: 'example.amazonaws.com', path },
    { method, query: canonicalQuery(query), signedHeaders, payloadHash: body === '' ? EMPTY : sha256(body) },
  )
  const toSign = ['AWS4-HMAC-SHA256', '20150830T123600Z', SCOPE, sha256(canonical)].join('\n')
  return hmac(KEY, toSign).toString('hex')
}

describe("cases of AWS's test suite", () => {
  it.each<[name: string, ...Parameters<typeof signature>]>([
    ['5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31', 'GET', '/'],
    ['5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b', 'POST', '/'],
    [
      'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
      'GET',
      '/?Param2=value2&Param1=value1',
    ],
    ['a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb', 'GET', '/?Param1=value1'],
    [
      'c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea',
      'GET',
      '/',
      [
        ['My-Header1', 'value2'],
        ['My-Header1', 'value2'],
        ['My-Header1', 'value1'],
      ],
    ],
    [
      'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
      'GET',
      '/',
      [
        ['My-Header1', ' value1'],
        ['My-Header2', ' "a   b   c"'],
      ],
    ],
    [
      'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
      'POST',
      '/',
      [['Content-Type', 'application/x-www-form-urlencoded']],
      'Param1=value1',
    ],
  ])('have the signature %s', (expected, ...request) => {
    expect(signature(...request)).toBe(expected)
  })
})

describe('a query as it is signed', () => {
  it.each([
    ['b=2&a=1', 'a=1&b=2'],
    ['a=2&a=10&a', 'a=&a=10&a=2'],
    ['acl', 'acl='],
    ['prefix=a+b', 'prefix=a%20b'],
    ['prefix=a%2fb%7e', 'prefix=a%2Fb~'],
    ["x=!'()*", 'x=%21%27%28%29%2A'],
    ['&&a=1&', 'a=1'],
    ['a=b=c', 'a=b%3Dc'],
    ['%C3%A4=1&z=0', '%C3%A4=1&z=0'],
    ['A=1&a=2&_=3', 'A=1&_=3&a=2'],
  ])('%s is %s', (query, expected) => {
    expect(canonicalQuery(query)).toBe(expected)
  })

  it('is itself, once it is in its form, in whatever order it comes', () =>
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: 'grapheme', minLength: 1 }), fc.string()), { maxLength: 6 }),
        (pairs) => {
          const write = (all: typeof pairs) =>
            all.map((pair) => pair.map(encodeURIComponent).join('=')).join('&')
          const canonical = canonicalQuery(write(pairs))
          expect(canonicalQuery(canonical)).toBe(canonical)
          expect(canonicalQuery(write([...pairs].reverse()))).toBe(canonical)
        },
      ),
    ))

  it('leaves its own signature out', () => {
    expect(canonicalQuery('a=1&X-Amz-Signature=x&b=2', 'X-Amz-Signature')).toBe('a=1&b=2')
  })
})

it('a path that is spelled anew has each character escaped that may be', () => {
  expect(strictPath("/a b/%c3%a4/'(c)'/~._-/%2f")).toBe('/a%20b/%C3%A4/%27%28c%29%27/~._-/%2F')
})
