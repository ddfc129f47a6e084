import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ErrorCode } from '../../../src/model/errors.ts'
import {
  effectiveLimit,
  mimeTypeAllowed,
  parseBucketName,
  parseFileSizeLimit,
  parseMimePatterns,
} from '../../../src/storage/buckets/bucket-rules.ts'

const refusal = (code: ErrorCode) => expect.objectContaining({ name: 'StorageError', code })

describe('a bucket name', () => {
  it.each([
    'a',
    'A_b',
    'a b',
    "_!-.*'()&$@=;:+,?",
    'abc',
    'my-bucket',
    '...',
    '.a',
    'Public',
    'a'.repeat(100),
  ])('%j is fine in both modes, whether its bucket comes with policy or with public', (name) => {
    expect(parseBucketName(name, 'default')).toBe(name)
    expect(parseBucketName(name, 'supabase')).toBe(name)
  })

  it.each([
    ['', 'use 1 to 100'],
    [' a', 'without a space at the ends'],
    ['a ', 'best are'],
    [' ', 'use'],
    ['a/b', 'use'],
    ['a\tb', 'use'],
    ['a\n', 'use'],
    ['é', 'use'],
    ['a#', 'use'],
    ['a%', 'use'],
    ['a'.repeat(101), 'use'],
    ['.', 'it is reserved'],
    ['..', 'it is reserved'],
    ['x--table-s3', 'it is reserved'],
  ])(
    '%j is refused: by default with the rule, else with the message that clients of Supabase compare',
    (name, why) => {
      expect(() => parseBucketName(name, 'default')).toThrow(refusal('InvalidBucketName'))
      expect(() => parseBucketName(name, 'default')).toThrow(why)
      expect(() => parseBucketName(name, 'supabase')).toThrow(/^Bucket name invalid$/)
    },
  )

  it.each(['public', 'list-v2', 'copy', 'resumable', 's3', 'share', 'console', 'trash', 'versions'])(
    '%s, a word of a route, is refused by default alone',
    (name) => {
      expect(() => parseBucketName(name, 'default')).toThrow(`Bucket name invalid: ${name} is a word`)
      expect(parseBucketName(name, 'supabase')).toBe(name)
    },
  )
})

describe('file_size_limit', () => {
  const GLOBAL = 5_000_000_000

  it.each([
    [null, null],
    ['', null],
    [0, null],
    ['0', null],
    ['0MB', null],
    [1, 1],
    ['5MB', 5_000_000],
    ['1.5kb', 1500],
    ['5GB', GLOBAL],
    [GLOBAL, GLOBAL],
  ])('%j is %j bytes', (value, bytes) => expect(parseFileSizeLimit(value, GLOBAL)).toBe(bytes))

  it.each([GLOBAL + 1, '6GB', 1e300, '5000000001'])('%j is above the global limit', (value) => {
    expect(() => parseFileSizeLimit(value, GLOBAL)).toThrow(refusal('EntityTooLarge'))
  })

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '-1', '1.5', '5 apples', 'MB', '0.1B', '0.0001KB'])(
    '%j is malformed',
    (value) => expect(() => parseFileSizeLimit(value, GLOBAL)).toThrow(refusal('InvalidRequest')),
  )

  it('never gives more than the global limit, nor 0', () => {
    const value = fc.oneof(
      fc.double(),
      fc.integer(),
      fc.string(),
      fc.stringMatching(/^[\d.]{1,20}[kKmMgG]?[bB]$/),
    )
    fc.assert(
      fc.property(value, fc.integer({ min: 1, max: GLOBAL }), (limit, global) => {
        try {
          const bytes = parseFileSizeLimit(limit, global)
          if (bytes === null) return
          expect(Number.isSafeInteger(bytes) && bytes > 0 && bytes <= global).toBe(true)
          expect(effectiveLimit(bytes, global)).toBe(bytes)
        } catch (error) {
          expect(['EntityTooLarge', 'InvalidRequest']).toContain((error as { code?: string }).code)
        }
      }),
    )
  })

  it('follows the global limit down when that is lowered later', () => {
    expect(effectiveLimit(null, 10)).toBe(10)
    expect(effectiveLimit(5, 10)).toBe(5)
    expect(effectiveLimit(50, 10)).toBe(10)
  })
})

describe('allowed_mime_types', () => {
  it('is kept as sent, without empty texts; nothing means everything', () => {
    expect(parseMimePatterns(['image/*', '', 'Text/Plain; charset=utf-8', '*/*', '*'])).toEqual([
      'image/*',
      'Text/Plain; charset=utf-8',
      '*/*',
      '*',
    ])
    expect(parseMimePatterns(null)).toBeNull()
    expect(parseMimePatterns([])).toBeNull()
    expect(parseMimePatterns([''])).toBeNull()
  })

  it.each(['image', 'image/', '/png', 'a/b/c', ' image/png', 'image/png\n', 'é*', '\n*'])(
    'refuses %j',
    (pattern) => expect(() => parseMimePatterns(['a/b', pattern])).toThrow(refusal('InvalidMimeType')),
  )

  it('takes entries of up to 255 characters', () => {
    const longest = `a/${'b'.repeat(253)}`
    expect(parseMimePatterns([longest])).toEqual([longest])
    expect(() => parseMimePatterns([`${longest}b`])).toThrow(refusal('InvalidMimeType'))
  })

  it('takes up to 100 entries, without the empty texts', () => {
    const most = Array.from({ length: 100 }, (_, index) => `a/${index}`)
    expect(parseMimePatterns(['', ...most])).toEqual(most)
    expect(() => parseMimePatterns([...most, 'a/100'])).toThrow(refusal('InvalidRequest'))
  })

  it.each([
    ['image/png', ['image/png'], true],
    ['IMAGE/PNG', ['image/png'], true],
    ['image/png', ['Image/*'], true],
    ['text/plain;charset=UTF-8', ['text/plain'], true],
    ['text/plain', ['text/plain; charset=utf-8'], true],
    ['anything/else', ['*/*'], true],
    ['anything/else', ['*'], true],
    ['video/mp4', ['image/*', 'video/mp4'], true],
    ['image/png', [], true],
    ['image/png', null, true],
    ['imagex/png', ['image/*'], false],
    ['image/pngx', ['image/png'], false],
    ['image/png', ['image/pngx'], false],
    ['text/html;a=image/png', ['image/png'], false],
    ['application/json', ['image/*', 'text/plain'], false],
  ])('%s against %j: %j', (type, patterns, allowed) => expect(mimeTypeAllowed(type, patterns)).toBe(allowed))

  const token = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9.+-]{0,8}$/)
  const type = fc.tuple(token, token)

  it('takes a type by its own name, by its family and by stars, in any case and with any parameters', () => {
    fc.assert(
      fc.property(type, fc.constantFrom('', '; charset=utf-8', ';a="b/c"'), ([main, sub], parameters) => {
        const sent = `${main.toUpperCase()}/${sub}${parameters}`
        for (const pattern of [`${main}/${sub.toLowerCase()}`, `${main}/*`, '*/*', '*']) {
          expect(parseMimePatterns([pattern])).toEqual([pattern])
          expect(mimeTypeAllowed(sent, [pattern])).toBe(true)
        }
      }),
    )
  })

  it('takes exactly what one of its entries says', () => {
    fc.assert(
      fc.property(
        type,
        fc.array(fc.tuple(token, fc.oneof(token, fc.constant('*'))), { minLength: 1 }),
        (sent, list) => {
          const expected = list.some(
            ([main, sub]) =>
              main.toLowerCase() === sent[0].toLowerCase() &&
              (sub === '*' || sub.toLowerCase() === sent[1].toLowerCase()),
          )
          const patterns = list.map(([main, sub]) => `${main}/${sub}`)
          expect(mimeTypeAllowed(sent.join('/'), patterns)).toBe(expected)
        },
      ),
    )
  })
})
