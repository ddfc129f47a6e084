import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeCursor, encodeCursor, type ListCursor } from '../../../src/storage/object/list-cursor.ts'

const invalid = expect.objectContaining({ name: 'StorageError', code: 'InvalidParameter' })
const encodeAny = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const CURSOR: ListCursor = { after: 'a/b.txt', order: 'asc', column: 'name' }
const stamped = (timestamp: unknown) => encodeAny({ ...CURSOR, column: 'created_at', timestamp })

/** The same bytes, with an unused bit of the last character set. */
function respelled(text: string): string {
  const other = `${text.slice(0, -1)}${String.fromCharCode(text.charCodeAt(text.length - 1) + 1)}`
  expect([other, Buffer.from(other, 'base64url')]).toEqual([other, Buffer.from(text, 'base64url')])
  return other
}

describe('a list cursor', () => {
  it('comes back as it was made, for every storable name and time', () => {
    const cursor = fc.oneof(
      fc.record({
        after: fc.string({ unit: 'binary', maxLength: 500 }).filter((text) => !text.includes('\0')),
        order: fc.constantFrom('asc' as const, 'desc' as const),
        column: fc.constantFrom('name' as const, 'updated_at' as const, 'created_at' as const),
      }),
      fc.record({
        after: fc.constant('a'),
        order: fc.constantFrom('asc' as const, 'desc' as const),
        column: fc.constant('updated_at' as const),
        timestamp: fc
          .date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
          .map((date) => date.toISOString()),
      }),
    )
    fc.assert(
      fc.property(cursor, (made) => {
        const text = encodeCursor(made)
        expect(text).toMatch(/^[\w-]+$/) // needs no escaping in a query
        expect(decodeCursor(text)).toEqual(made)
      }),
    )
  })

  it('fits the longest name, however it is escaped', () => {
    const made = { ...CURSOR, after: '\x01'.repeat(4096) }
    expect(decodeCursor(encodeCursor(made))).toEqual(made)
  })

  it.each([
    '2026-11-21 03:21:00.123456+00',
    '2026-11-21T03:21:00Z',
    '2024-02-29 00:00:00+05:30',
    '2026-11-21 03:21:00',
  ])('carries %s, which PostgreSQL can read', (timestamp) =>
    expect(decodeCursor(stamped(timestamp)).timestamp).toBe(timestamp),
  )

  it.each([
    '',
    'now',
    'infinity',
    '2026-02-30 00:00:00',
    '2026-13-01 00:00:00',
    '0000-01-01 00:00:00',
    '2026-11-21',
    5,
    null,
  ])('is refused with the time %j', (timestamp) =>
    expect(() => decodeCursor(stamped(timestamp))).toThrow(invalid),
  )

  it.each([
    ['nothing', ''],
    ['a space', ' '],
    ['padding', `${encodeCursor(CURSOR)}=`],
    ['a line break', `${encodeCursor(CURSOR)}\n`],
    ['the other base64 alphabet', '+/+/'],
    ['unused bits set', respelled(encodeCursor(CURSOR))],
    ['white space in its JSON', Buffer.from(JSON.stringify(CURSOR, null, 1)).toString('base64url')],
    ['fields in another order', encodeAny({ column: 'name', after: 'a', order: 'asc' })],
    [
      'a field twice',
      Buffer.from(JSON.stringify(CURSOR).replace('{', '{"after":"b",')).toString('base64url'),
    ],
    ['text', 'nonsense'],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe]).toString('base64url')],
    ['null', encodeAny(null)],
    ['an array', encodeAny([])],
    ['a missing field', encodeAny({ after: 'a', order: 'asc' })],
    ['an unknown field', encodeAny({ ...CURSOR, bucket: 'b' })],
    ['an unknown column', encodeAny({ ...CURSOR, column: 'id; drop table' })],
    ['an unknown order', encodeAny({ ...CURSOR, order: 'ASC' })],
    ['a NUL', encodeAny({ ...CURSOR, after: '\0' })],
    ['a lone surrogate', encodeAny({ ...CURSOR, after: '\ud800' })],
    ['too long a name', encodeAny({ ...CURSOR, after: 'a'.repeat(4097) })],
    ['too much text', 'A'.repeat(100_000)],
    ['deep nesting', Buffer.from('['.repeat(25_000)).toString('base64url')],
  ])('is refused when it is %s', (_, text) => expect(() => decodeCursor(text)).toThrow(invalid))

  it('never fails otherwise, whatever is sent', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.stringMatching(/^[\w-]+$/),
      fc.json().map((json) => Buffer.from(json).toString('base64url')),
      fc
        .record({ after: fc.jsonValue(), order: fc.constantFrom('asc', 'up'), column: fc.constant('name') })
        .map(encodeAny),
    )
    fc.assert(
      fc.property(text, (sent) => {
        let cursor: ListCursor
        try {
          cursor = decodeCursor(sent)
        } catch (error) {
          expect(error).toEqual(invalid)
          return
        }
        expect(decodeCursor(encodeCursor(cursor))).toEqual(cursor)
      }),
      { numRuns: 1000 },
    )
  })
})
