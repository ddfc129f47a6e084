import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ErrorCode } from '../../../src/model/errors.ts'
import {
  readUrlToken,
  signUrlToken,
  type UrlGrant,
  type UrlTarget,
} from '../../../src/storage/links/url-token.ts'

const SECRET = 'current-secret-of-at-least-32-characters'
const PREVIOUS = 'previous-secret-of-at-least-32-characters'
const NOW = new Date('2026-11-21T03:21:00.700Z')
const TARGET: UrlTarget = { scope: 'download', bucket: 'docs', name: 'a/图 ?.png' }
const UID = '4f9c1d7e-0000-4000-8000-000000000001'
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

const refusal = (code: ErrorCode) => expect.objectContaining({ name: 'StorageError', code })
const signed = (grant: Partial<UrlGrant> = {}, secret = SECRET) =>
  signUrlToken({ ...TARGET, bucketUid: UID, expiresInSeconds: 60, ...grant }, secret, NOW).token
const read = (token: string, secrets = [SECRET, PREVIOUS], now = NOW) =>
  readUrlToken(token, TARGET, secrets, now)
const seconds = (count: number) => new Date(NOW.getTime() + count * 1000)

/** A token of any content, with a signature that is right: what a careless other issuer might make. */
function forge(header: unknown, claims: unknown, secret = SECRET): string {
  const body = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`
}

function partOf(token: string, index: number): unknown {
  return JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString())
}

describe('a signed URL token', () => {
  it('opens what it was made for, and says who made it', () => {
    const claims = {
      url: 'docs/a/图 ?.png',
      bucket_uid: UID,
      scope: 'download',
      iat: 1795231260,
      exp: 1795231320,
    }
    expect(read(signed())).toEqual(claims)
    expect(read(signed({ owner: 'user-1', upsert: false }))).toEqual({
      ...claims,
      owner: 'user-1',
      upsert: false,
    })
  })

  it('is a JWT with HS256, a key id that does not contain the secret, and no role', () => {
    expect(partOf(signed(), 0)).toEqual({
      alg: 'HS256',
      typ: 'JWT',
      kid: expect.stringMatching(/^[0-9a-f]{8}$/),
    })
    expect(partOf(signed(), 1)).not.toHaveProperty('role')
    expect(partOf(signed({}, PREVIOUS), 0)).not.toEqual(partOf(signed(), 0))
  })

  it('ends at the second it promises', () => {
    const { token, expiresAt } = signUrlToken(
      { ...TARGET, bucketUid: UID, expiresInSeconds: 60 },
      SECRET,
      NOW,
    )
    expect(expiresAt.toISOString()).toBe('2026-11-21T03:22:00.000Z')
    expect(read(token, [SECRET], new Date(expiresAt.getTime() - 1)).exp).toBe(expiresAt.getTime() / 1000)
    expect(() => read(token, [SECRET], expiresAt)).toThrow(refusal('ExpiredToken'))
    expect(() => read(token, [SECRET], seconds(1e6))).toThrow(refusal('ExpiredToken'))
  })

  it('names no bucket by its uid when it is as old ones were, and opens the same', () => {
    expect(read(signed({ bucketUid: undefined }))).not.toHaveProperty('bucket_uid')
  })

  it('outlives the rotation of the secret, but not its removal', () => {
    const old = signed({}, PREVIOUS)
    expect(read(old).url).toBe('docs/a/图 ?.png')
    expect(() => read(old, [SECRET])).toThrow(refusal('InvalidJWT'))
    expect(() => read(old, [])).toThrow(refusal('InvalidJWT'))
  })

  it('is found by trying all secrets when it names none, or an unknown one', () => {
    const claims = { url: 'docs/a/图 ?.png', scope: 'download', iat: 0, exp: 9e9 }
    expect(read(forge({ alg: 'HS256' }, claims, PREVIOUS)).exp).toBe(9e9)
    expect(read(forge({ alg: 'HS256', kid: 'other' }, claims, PREVIOUS)).exp).toBe(9e9)
  })

  it('does not open anything else: InvalidSignature, and the expected scope is told', () => {
    const token = signed()
    const wanted = (change: Partial<UrlTarget>) => () =>
      readUrlToken(token, { ...TARGET, ...change }, [SECRET], NOW)
    expect(wanted({ name: 'a/图' })).toThrow(refusal('InvalidSignature'))
    expect(wanted({ bucket: 'doc' })).toThrow(refusal('InvalidSignature'))
    expect(wanted({ scope: 'upload' })).toThrow(refusal('InvalidSignature'))
    expect(wanted({ scope: 'upload' })).toThrow(/expected scope upload/)
  })

  it('is unknown, not expired, when its signature is wrong and its time is over', () => {
    expect(() => read(signed({}, 'another-secret'), [SECRET], seconds(1e6))).toThrow(refusal('InvalidJWT'))
  })

  it.each([
    ['no scope', { url: 'docs/a/图 ?.png', iat: 0, exp: 9e9 }],
    ['no end', { url: 'docs/a/图 ?.png', iat: 0, scope: 'download' }],
    ['an end that is no number', { url: 'docs/a/图 ?.png', iat: 0, scope: 'download', exp: '9000000000' }],
    ['an unknown scope', { url: 'docs/a/图 ?.png', iat: 0, scope: 'all', exp: 9e9 }],
    ['the claims of a login', { sub: 'user-1', role: 'service_role', iat: 0, exp: 9e9 }],
    ['no object at all', null],
  ])('is refused with %s, though signed with our secret', (_, claims) => {
    expect(() => read(forge({ alg: 'HS256', typ: 'JWT' }, claims))).toThrow(refusal('InvalidJWT'))
  })

  it.each([
    { alg: 'none' },
    { alg: 'HS512' },
    { alg: 'hs256' },
    {},
    { alg: 'HS256', crit: ['exp'] },
    'HS256',
  ])('is refused with the header %j', (header) => {
    const claims = { url: 'docs/a/图 ?.png', scope: 'download', iat: 0, exp: 9e9 }
    expect(() => read(forge(header, claims))).toThrow(refusal('InvalidJWT'))
  })

  it.each(['', '.', '..', 'a.b.c', 'a.b', `a.b.${'c'.repeat(43)}`, '\0', 'é.é.é'])(
    'is refused when it is garbage: %j',
    (token) => expect(() => read(token)).toThrow(refusal('InvalidJWT')),
  )

  it('is refused unread when it is longer than 8 KiB, though signed with our secret', () => {
    const claims = { url: 'docs/a/图 ?.png', scope: 'download', iat: 0, exp: 9e9 }
    expect(read(forge({ alg: 'HS256' }, { ...claims, owner: 'x'.repeat(5000) })).owner).toHaveLength(5000)
    const tooLong = forge({ alg: 'HS256' }, { ...claims, owner: 'x'.repeat(7000) })
    expect(() => read(tooLong)).toThrow(refusal('InvalidJWT'))
  })

  it('is not made for a time that is none, nor longer than it may be read', () => {
    for (const expiresInSeconds of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e13]) {
      expect(() => signed({ expiresInSeconds })).toThrow(refusal('InvalidParameter'))
    }
    expect(() => signed({ owner: 'x'.repeat(9000) })).toThrow(refusal('InvalidParameter'))
    expect(read(signed({ expiresInSeconds: 100 * 365 * 86_400 })).scope).toBe('download')
  })

  it('is refused after the change of any single character', () => {
    const token = signed({ owner: 'user-1', upsert: true })
    for (let at = 0; at < token.length; at++) {
      for (const char of `${BASE64URL}.=`) {
        if (char === token[at]) continue
        const altered = token.slice(0, at) + char + token.slice(at + 1)
        expect(() => read(altered), `${char} at ${at}`).toThrow(refusal('InvalidJWT'))
      }
      expect(() => read(token.slice(0, at) + token.slice(at + 1))).toThrow(refusal('InvalidJWT'))
    }
    expect(() => read(`${token}A`)).toThrow(refusal('InvalidJWT'))
    expect(() => read(`${token}\n`)).toThrow(refusal('InvalidJWT'))
  })

  it('is readable for its own (scope, bucket, name, secret) and for no other', () => {
    const target = fc.record({
      scope: fc.constantFrom('download' as const, 'upload' as const, 'render' as const),
      bucket: fc.constantFrom('a', 'ab', 'a-b', 'A'),
      name: fc.oneof(
        fc.constantFrom('a', 'b', 'a/b', 'b/a', 'A', '\u00e9', 'e\u0301'),
        fc.string({ unit: 'grapheme' }),
      ),
    })
    const secret = fc.constantFrom(SECRET, PREVIOUS, `${SECRET}x`)
    fc.assert(
      fc.property(target, secret, target, secret, (made, key, wanted, lock) => {
        const { token } = signUrlToken({ ...made, bucketUid: UID, expiresInSeconds: 1 }, key, NOW)
        expect(readUrlToken(token, made, [key], NOW).url).toBe(`${made.bucket}/${made.name}`)
        const isSame =
          made.scope === wanted.scope &&
          made.bucket === wanted.bucket &&
          made.name === wanted.name &&
          key === lock
        const attempt = () => readUrlToken(token, wanted, [lock], NOW)
        if (isSame) expect(attempt().scope).toBe(made.scope)
        else expect(attempt).toThrow(refusal(key === lock ? 'InvalidSignature' : 'InvalidJWT'))
      }),
      { numRuns: 500 },
    )
  })

  it('that is any text at all gives InvalidJWT and nothing worse', () => {
    const part = fc.oneof(
      fc.string(),
      fc.json().map((json) => Buffer.from(json).toString('base64url')),
    )
    fc.assert(
      fc.property(part, part, fc.stringMatching(/^[\w-]{42,44}$/), (header, claims, signature) => {
        expect(() => read(`${header}.${claims}.${signature}`)).toThrow(refusal('InvalidJWT'))
      }),
    )
  })
})
