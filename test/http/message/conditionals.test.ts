import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ConditionalHeaders,
  checkConditions,
  rangeStillValid,
} from '../../../src/http/message/conditionals.ts'
import { FAR_FROM_SQUARE, growth } from '../../support/growth.ts'

const ETAG = '"a,b"'
const current = { etag: ETAG, lastModified: new Date('1994-11-06T08:49:37.900Z') }
const BEFORE = 'Sun, 06 Nov 1994 08:49:36 GMT'
const SAME = 'Sun, 06 Nov 1994 08:49:37 GMT'
const AFTER = 'Sun, 06 Nov 1994 08:49:38 GMT'
const check = (headers: ConditionalHeaders) => checkConditions(headers, current)

describe('a conditional request', () => {
  it('proceeds without conditions', () => expect(check({})).toBe('proceed'))

  it.each([ETAG, `W/${ETAG}`, '*', ' * ', `"x", ${ETAG}`, `"x",${ETAG},"y"`, `, ,W/"x" , W/${ETAG}`])(
    'with If-None-Match: %s is not modified',
    (ifNoneMatch) => expect(check({ ifNoneMatch })).toBe('not-modified'),
  )

  it.each(['"a"', '"b"', '"a","b"', 'a,b', '', '""', `w/${ETAG}`, `x${ETAG}`, `${ETAG}x`, '"a,b', '"*"'])(
    'with If-None-Match: %s proceeds',
    (ifNoneMatch) => expect(check({ ifNoneMatch })).toBe('proceed'),
  )

  it.each([ETAG, '*', `"x", ${ETAG}`])('with If-Match: %s proceeds', (ifMatch) => {
    expect(check({ ifMatch })).toBe('proceed')
  })

  it.each([`W/${ETAG}`, '"a"', '', 'nonsense', `W/${ETAG}, "x"`])('with If-Match: %s fails', (ifMatch) => {
    expect(check({ ifMatch })).toBe('precondition-failed')
  })

  it('compares dates by the whole second, as Last-Modified is sent', () => {
    expect(check({ ifModifiedSince: BEFORE })).toBe('proceed')
    expect(check({ ifModifiedSince: SAME })).toBe('not-modified')
    expect(check({ ifModifiedSince: current.lastModified.toUTCString() })).toBe('not-modified')
    expect(check({ ifModifiedSince: AFTER })).toBe('not-modified')
    expect(check({ ifUnmodifiedSince: BEFORE })).toBe('precondition-failed')
    expect(check({ ifUnmodifiedSince: SAME })).toBe('proceed')
    expect(check({ ifUnmodifiedSince: AFTER })).toBe('proceed')
  })

  it.each(['Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994'])('reads the old date %s', (date) => {
    expect(check({ ifModifiedSince: date })).toBe('not-modified')
    expect(check({ ifUnmodifiedSince: date })).toBe('proceed')
    expect(rangeStillValid(date, current)).toBe(true)
  })

  it.each([
    '',
    '0',
    '2999',
    '2999-01-01T00:00:00Z',
    'Sun, 06 Nov 2094 08:49:37',
    'Sun, 06 Nov 2094 99:99:99 GMT',
  ])('ignores %j, which is no HTTP date', (date) => {
    expect(check({ ifModifiedSince: date })).toBe('proceed')
    expect(check({ ifUnmodifiedSince: date })).toBe('proceed')
    expect(rangeStillValid(date, current)).toBe(false)
  })

  it('follows the precedence of RFC 9110 §13.2.2', () => {
    expect(check({ ifMatch: ETAG, ifUnmodifiedSince: BEFORE })).toBe('proceed')
    expect(check({ ifMatch: '"x"', ifNoneMatch: ETAG })).toBe('precondition-failed')
    expect(check({ ifMatch: ETAG, ifNoneMatch: ETAG })).toBe('not-modified')
    expect(check({ ifNoneMatch: '"x"', ifModifiedSince: AFTER })).toBe('proceed')
    expect(check({ ifNoneMatch: ETAG, ifModifiedSince: BEFORE })).toBe('not-modified')
    expect(check({ ifUnmodifiedSince: BEFORE, ifNoneMatch: ETAG })).toBe('precondition-failed')
  })

  it('finds the tag anywhere in a list, with commas inside the quotes', () => {
    const tag = fc.stringMatching(/^"[a-c, ]{0,6}"$/)
    const separator = fc.constantFrom(',', ', ', ' ,\t', ',,')
    const list = fc.tuple(fc.array(fc.tuple(tag, fc.boolean())), separator)
    fc.assert(
      fc.property(list, tag, ([tags, comma], etag) => {
        const sent = tags.map(([text, weak]) => (weak ? `W/${text}` : text)).join(comma)
        const now = { ...current, etag }
        const weakly = tags.some(([text]) => text === etag)
        const strongly = tags.some(([text, weak]) => text === etag && !weak)
        expect(checkConditions({ ifNoneMatch: sent }, now)).toBe(weakly ? 'not-modified' : 'proceed')
        expect(checkConditions({ ifMatch: sent }, now)).toBe(strongly ? 'proceed' : 'precondition-failed')
      }),
    )
  })

  it.each([',', '"', '" ', ', "', 'W/"', ' '])(
    'takes no more time than its length even full of %j',
    (part) => {
      const hostile = (length: number) => check({ ifNoneMatch: `${part.repeat(length)}x` })
      expect(growth(hostile, 16_000)).toBeLessThan(FAR_FROM_SQUARE)
    },
  )
})

describe('If-Range', () => {
  it('lets a range through when absent or when it names what would be sent', () => {
    expect(rangeStillValid(undefined, current)).toBe(true)
    expect(rangeStillValid(ETAG, current)).toBe(true)
    expect(rangeStillValid(SAME, current)).toBe(true)
  })

  it.each([`W/${ETAG}`, '"x"', `${ETAG}, "x"`, '*', '', BEFORE, AFTER, 'nonsense'])(
    '%j does not',
    (ifRange) => {
      expect(rangeStillValid(ifRange, current)).toBe(false)
    },
  )
})
