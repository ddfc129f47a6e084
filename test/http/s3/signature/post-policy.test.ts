import { describe, expect, it } from 'vitest'
import { checkPolicy } from '../../../../src/http/s3/signature/post-policy.ts'
import { PAIR } from '../../../support/s3-examples.ts'
import { hmac, signingKey } from '../../../support/s3-signer.ts'

/** "Example: Browser-Based Upload using HTTP POST" of Amazon's S3 API Reference. */
const EXAMPLE = [
  'eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2',
  'NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMt',
  'cmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29t',
  'L3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4',
  'LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0s',
  'DQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZP',
  'RE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1B',
  'Qy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9',
].join('')

const FIELDS = {
  key: 'user/user1/photo.jpg',
  acl: 'public-read',
  success_action_redirect: 'http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html',
  'content-type': 'image/jpeg',
  'x-amz-meta-uuid': '14365123651274',
  'x-amz-server-side-encryption': 'AES256',
  'x-amz-credential': 'AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request',
  'x-amz-algorithm': 'AWS4-HMAC-SHA256',
  'x-amz-date': '20151229T000000Z',
  'x-amz-meta-tag': '',
  policy: EXAMPLE,
  'x-amz-signature': '8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e',
}

const THEN = new Date('2015-12-29T12:00:00Z')

function check(fields: Record<string, string>, { bucket = 'sigv4examplebucket', now = THEN } = {}) {
  return checkPolicy({ fields: new Map(Object.entries(fields)), bucket }, now)
}

/** A form with these conditions. */
function withConditions(conditions: unknown, fields: Record<string, string> = {}) {
  const all = Array.isArray(conditions) ? [{ bucket: 'sigv4examplebucket' }, ...conditions] : conditions
  const policy = { expiration: '2015-12-30T12:00:00Z', conditions: all }
  return check({ policy: Buffer.from(JSON.stringify(policy)).toString('base64'), ...fields })
}

describe("Amazon's example of a form", () => {
  it('is signed as it says', () => {
    const key = signingKey(PAIR, '20151229/us-east-1/s3/aws4_request')
    expect(hmac(key, EXAMPLE).toString('hex')).toBe(FIELDS['x-amz-signature'])
  })

  it('is within its policy', () => {
    expect(check(FIELDS)).toEqual({ minBytes: 0, maxBytes: Number.POSITIVE_INFINITY })
  })

  it.each<[what: string, fields: Record<string, string>, code: string]>([
    ['another key', { ...FIELDS, key: 'user/user2/a' }, 'AccessDenied'],
    ['another ACL', { ...FIELDS, acl: 'private' }, 'AccessDenied'],
    ['another type', { ...FIELDS, 'content-type': 'text/html' }, 'AccessDenied'],
    ['a field more', { ...FIELDS, 'cache-control': 'no-store' }, 'AccessDenied'],
  ])('is not, with %s', (_what, fields, code) => {
    expect(() => check(fields)).toThrow(expect.objectContaining({ code }))
  })

  it('is not, in another bucket, without a field, or a day later', () => {
    expect(() => check(FIELDS, { bucket: 'other' })).toThrow(
      expect.objectContaining({ code: 'AccessDenied' }),
    )
    const { acl: _acl, ...without } = FIELDS
    expect(() => check(without)).toThrow(expect.objectContaining({ code: 'AccessDenied' }))
    const now = new Date('2015-12-30T12:00:01Z')
    expect(() => check(FIELDS, { now })).toThrow(expect.objectContaining({ code: 'ExpiredToken' }))
  })
})

describe('a policy', () => {
  it('knows fields in any case, several in one object, and what may always be there', () => {
    const fields = { key: 'a', 'content-type': 'b', 'x-ignore-c': 'd' }
    expect(withConditions([{ KEY: 'a', 'Content-Type': 'b' }], fields)).toBeDefined()
    expect(
      withConditions(
        [
          ['EQ', '$Key', 'a'],
          ['starts-with', '$content-TYPE', ''],
        ],
        fields,
      ),
    ).toBeDefined()
  })

  it('is for one bucket, which it has to name', () => {
    const policy = { expiration: '2015-12-30T12:00:00Z', conditions: [{ key: 'a' }] }
    const fields = { key: 'a', policy: Buffer.from(JSON.stringify(policy)).toString('base64') }
    expect(() => check(fields)).toThrow(expect.objectContaining({ code: 'AccessDenied' }))
  })

  it('bounds the length, by all that it says of it', () => {
    const conditions = [
      ['content-length-range', 1, 100],
      ['content-length-range', '10', '1000'],
    ]
    expect(withConditions(conditions)).toEqual({ minBytes: 10, maxBytes: 100 })
  })

  it.each<[what: string, conditions: unknown]>([
    ['no list', { key: 'a' }],
    ['a text', ['key']],
    ['nothing', [null]],
    ['a number where a text belongs', [{ key: 1 }]],
    ['an operator that is none', [['ends-with', '$key', 'a']]],
    ['a field without its dollar sign', [['eq', 'key', 'a']]],
    ['half a range', [['content-length-range', 1]]],
    ['a range of texts', [['content-length-range', 'a', 'b']]],
    ['a negative range', [['content-length-range', -1, 5]]],
    ['a range of lists', [['content-length-range', [1], [5]]]],
    ['a range of nothing', [['content-length-range', null, '']]],
    ['a range of what is no number at all', [['content-length-range', { valueOf: 1, toString: 1 }, 5]]],
    ['a list for an operator', [[['eq'], '$key', 'a']]],
    ['an operator that is no text at all', [[{ valueOf: 1, toString: 1 }, '$key', 'a']]],
  ])('is none with %s among its conditions', (_what, conditions) => {
    expect(() => withConditions(conditions, { key: 'a' })).toThrow(
      expect.objectContaining({ code: 'InvalidPolicyDocument' }),
    )
  })

  it.each([
    ['', 'nothing'],
    ['e30=', 'no expiration'],
    [Buffer.from('{"expiration":"soon","conditions":[]}').toString('base64'), 'no time'],
    [Buffer.from('[]').toString('base64'), 'a list'],
    [Buffer.from('nonsense').toString('base64'), 'no JSON'],
    [Buffer.from('['.repeat(5000)).toString('base64'), 'many levels'],
  ])('%s is none', (policy) => {
    expect(() => check({ policy })).toThrow(expect.objectContaining({ code: 'InvalidPolicyDocument' }))
  })
})
