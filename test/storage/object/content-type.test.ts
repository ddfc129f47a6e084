import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StorageError } from '../../../src/model/errors.ts'
import {
  essence,
  guessContentType,
  isActiveContent,
  parseContentType,
  safeContentType,
} from '../../../src/storage/object/content-type.ts'
import { FAR_FROM_SQUARE, growth } from '../../support/growth.ts'

describe('a Content-Type header', () => {
  it.each([
    'text/plain',
    'text/plain;charset=UTF-8',
    'TEXT/Plain; charset="utf-8" ; a=b',
    'image/svg+xml',
    'application/vnd.a-b.c+json; q="\\"; \\\\"',
    'text/plain;',
    'text/plain; ;a=b;',
    '*/*',
  ])('is kept as sent: %s', (type) => expect(parseContentType(type)).toBe(type))

  it('is trimmed', () => expect(parseContentType(' \ttext/plain; a=b \t')).toBe('text/plain; a=b'))

  it('may be absent or blank', () => {
    expect(parseContentType(undefined)).toBeUndefined()
    expect(parseContentType('')).toBeUndefined()
    expect(parseContentType(' \t ')).toBeUndefined()
  })

  it.each([
    'text',
    'text/',
    '/plain',
    'text/plain/x',
    'text /plain',
    'text/plain charset=utf-8',
    'text/plain; charset',
    'text/plain; charset=',
    'text/plain; charset = utf-8',
    'text/plain; a="b',
    'text/plain; a="b"c',
    'text/plain, text/html',
    'text/plain\n',
    'text/plain\r\nx-evil: 1',
    'text/plain; a="\x01"',
    'text/plain; a="\x85"',
    'text/плаin',
  ])('is refused with InvalidMimeType when malformed: %j', (type) => {
    expect(() => parseContentType(type)).toThrow(expect.objectContaining({ code: 'InvalidMimeType' }))
    expect(() => parseContentType(type)).toThrow(/^[^\p{Cc}]* is malformed$/u)
  })

  it('is refused above 1000 characters', () => {
    expect(parseContentType(`text/${'a'.repeat(995)}`)).toHaveLength(1000)
    expect(() => parseContentType(`text/${'a'.repeat(996)}`)).toThrow(StorageError)
  })

  it('can always be sent back as a header, whatever was sent', () => {
    const piece = fc.constantFrom(
      'a',
      '/',
      ';',
      ' ',
      '\t',
      '=',
      '"',
      '\\',
      '\n',
      '\0',
      'é',
      '図',
      ',',
      '\x80',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.boolean(), (pieces, typed) => {
        let accepted: string | undefined
        try {
          accepted = parseContentType((typed ? 'text/plain;a=' : '') + pieces.join(''))
        } catch (error) {
          expect(error).toBeInstanceOf(StorageError)
          return
        }
        if (accepted !== undefined) expect(new Headers({ 'x-a': accepted }).get('x-a')).toBe(accepted)
      }),
      { numRuns: 2000 },
    )
  })

  it.each([
    ['; ', 160],
    [';  ', 160],
    ['; a=b', 160],
    [';a="\\a"', 160],
    ['\t;\t', 160],
    [' ', 1_000_000],
  ])('takes no more time than its length even full of %j', (part, length) => {
    const hostile = (length: number) =>
      expect(() => parseContentType(`a/b${part.repeat(length)}\0`)).toThrow(StorageError)
    expect(growth(hostile, length)).toBeLessThan(FAR_FROM_SQUARE)
  })
})

describe('the type guessed from a name', () => {
  it.each([
    ['a/b.png', 'image/png'],
    ['a.JPG', 'image/jpeg'],
    ['notes.txt', 'text/plain'],
    ['archive.tar.gz', 'application/gzip'],
    ['html', 'application/octet-stream'],
    ['folder.png/html', 'application/octet-stream'],
    ['.png', 'application/octet-stream'],
    ['a.', 'application/octet-stream'],
    ['', 'application/octet-stream'],
    ['a.no-such-extension', 'application/octet-stream'],
  ])('%j is %s', (name, type) => expect(guessContentType(name)).toBe(type))
})

describe('the type of a download', () => {
  it.each([
    ['text/html', 'text/plain'],
    ['Text/HTML; charset=utf-8', 'text/plain; charset=utf-8'],
    ['application/xhtml+xml', 'text/plain'],
    ['image/png', 'image/png'],
    ['text/plain; a="text/html"', 'text/plain; a="text/plain"'],
    ['', 'application/octet-stream'],
    ['nonsense', 'application/octet-stream'],
    ['text/html\n', 'application/octet-stream'],
  ])('%j is sent as %s', (stored, sent) => expect(safeContentType(stored)).toBe(sent))

  it('never mentions HTML, whatever is stored', () => {
    const piece = fc.constantFrom(
      'text/html',
      'TEXT/',
      'html',
      'tex',
      't/html',
      'application/xhtml+xml',
      '; a=',
      '"',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        expect(safeContentType(pieces.join(''))).not.toMatch(/text\/html|application\/xhtml/i)
      }),
    )
  })
})

describe('active content', () => {
  it.each([
    'image/svg+xml',
    'IMAGE/SVG+XML; charset=utf-8',
    'text/xml',
    'application/xml',
    'application/atom+xml',
  ])('%s may run scripts when opened', (type) => expect(isActiveContent(type)).toBe(true))
  it('includes multipart streams of pages', () => {
    expect(isActiveContent('multipart/x-mixed-replace; boundary=x')).toBe(true)
  })

  it.each([
    'image/png',
    'text/plain',
    'application/pdf',
    'application/vnd.openxmlformats-x',
    'video/mp4',
    '',
  ])('%s may not', (type) => expect(isActiveContent(type)).toBe(false))
})

it('compares types without case and parameters', () => {
  expect(essence('Text/Plain ; charset=utf-8')).toBe('text/plain')
})
