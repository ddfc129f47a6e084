import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseRange } from '../../../src/http/message/ranges.ts'

describe('a Range header', () => {
  it.each([
    ['bytes=0-0', { start: 0, end: 0 }],
    ['bytes=0-9', { start: 0, end: 9 }],
    ['bytes=0-10', { start: 0, end: 9 }],
    ['bytes=3-', { start: 3, end: 9 }],
    ['bytes=9-', { start: 9, end: 9 }],
    ['bytes=-5', { start: 5, end: 9 }],
    ['bytes=-10', { start: 0, end: 9 }],
    ['bytes=-11', { start: 0, end: 9 }],
    ['BYTES=0-1', { start: 0, end: 1 }],
    ['bytes= 0-1 ', { start: 0, end: 1 }],
    ['bytes=000-0001', { start: 0, end: 1 }],
  ])('%s of ten bytes', (header, range) => expect(parseRange(header, 10)).toEqual(range))

  it.each(['bytes=10-', 'bytes=10-12', 'bytes=10-10', 'bytes=-0'])('%s of ten bytes is 416', (header) => {
    expect(parseRange(header, 10)).toBe('unsatisfiable')
  })

  it.each([
    'bytes=5-4',
    'bytes=12-10',
    'bytes=-',
    'bytes=',
    'bytes',
    'bytes 0-1',
    'bytes=a-b',
    'bytes=0-1,3-4',
    'bytes=10-11,12-13',
    'bytes=0-1,',
    'bytes=0x1-5',
    'bytes=+1-5',
    'bytes=1.0-5',
    'bytes=--5',
    'bytes=0 - 5',
    '',
  ])('%j of ten bytes is ignored', (header) => expect(parseRange(header, 10)).toBeNull())

  it.each(['bytes=0-0', 'bytes=0-', 'bytes=-1'])('%s of an empty object is 416', (header) => {
    expect(parseRange(header, 0)).toBe('unsatisfiable')
  })

  it.each([undefined, 'items=0-5', 'seconds=1-2,5-6'])('%s asks for the whole object', (header) => {
    expect(parseRange(header, 10)).toBeNull()
  })

  it('may have more digits than a number can hold', () => {
    const huge = '9'.repeat(400)
    expect(parseRange(`bytes=0-${huge}`, 10)).toEqual({ start: 0, end: 9 })
    expect(parseRange(`bytes=-${huge}`, 10)).toEqual({ start: 0, end: 9 })
    expect(parseRange(`bytes=${huge}-`, 10)).toBe('unsatisfiable')
    expect(parseRange(`bytes=${huge}-${huge}`, 10)).toBe('unsatisfiable')
    expect(parseRange(`bytes=${huge}-5`, 10)).toBeNull()
  })

  it('stays within the object and selects what a slice would', () => {
    const bytes = Array.from({ length: 64 }, (_, index) => index)
    const position = fc.nat(80)
    fc.assert(
      fc.property(fc.nat(64), fc.option(position), fc.option(position), (size, first, last) => {
        const body = bytes.slice(0, size)
        const range = parseRange(`bytes=${first ?? ''}-${last ?? ''}`, size)
        let wanted: number[] = []
        if (first !== null) wanted = last === null ? body.slice(first) : body.slice(first, last + 1)
        else if (last !== null && last > 0) wanted = body.slice(-last)
        if ((first === null && last === null) || (first !== null && last !== null && last < first)) {
          expect(range).toBeNull()
          return
        }
        if (wanted.length === 0) {
          expect(range).toBe('unsatisfiable')
          return
        }
        if (range === null || range === 'unsatisfiable') throw new Error('a range was wanted')
        expect(range.start).toBeGreaterThanOrEqual(0)
        expect(range.end).toBeLessThan(size)
        expect(body.slice(range.start, range.end + 1)).toEqual(wanted)
      }),
      { numRuns: 2000 },
    )
  })

  it('gives a legal answer to any text', () => {
    const piece = fc.constantFrom('bytes', '=', '-', '0', '9', ' ', ',', '99999999999999999999', 'x')
    fc.assert(
      fc.property(fc.array(piece), fc.nat(20), (pieces, size) => {
        const range = parseRange(pieces.join(''), size)
        if (range === null || range === 'unsatisfiable') return
        expect(Number.isInteger(range.start) && Number.isInteger(range.end)).toBe(true)
        expect(0 <= range.start && range.start <= range.end && range.end < size).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})
