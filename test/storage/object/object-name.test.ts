import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { printable } from '../../../src/lib/printable.ts'
import { StorageError } from '../../../src/model/errors.ts'
import {
  isEmptyFolderPlaceholder,
  isStorableText,
  type NameRules,
  parseObjectName,
} from '../../../src/storage/object/object-name.ts'

const accepts = (text: string, rules: NameRules = 'default') => {
  try {
    return parseObjectName(text, rules) === text
  } catch (error) {
    if (error instanceof StorageError && error.code === 'InvalidKey') return false
    throw error
  }
}

/** Every UTF-16 text, lone surrogates included, rich in what a path may trip over. */
const anyText = fc
  .array(
    fc.oneof(
      fc.constantFrom('/', '.', '..', '/../', './', '\0', '\x7f', '\x85', '\ud800', '\udc00', 'a', 'é', '😀'),
      fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(''))

describe('an object name by default', () => {
  it.each([
    'a',
    'a//b',
    '[id].png',
    'naïve.txt',
    '图.png',
    'a b',
    ' a ',
    '...',
    '.a',
    'a/..b/c.',
    '%2e%2e',
    'x?y#z',
  ])('keeps %j exactly', (name) => expect(parseObjectName(name, 'default')).toBe(name))

  it('keeps both forms of é apart: nothing is normalised', () => {
    expect(parseObjectName('\u00e9', 'default')).not.toBe(parseObjectName('e\u0301', 'default'))
  })

  it.each(['', '/', '/a', 'a/', '.', '..', './a', 'a/.', '../a', 'a/../b', 'a/./b', 'a/..'])(
    'refuses %j',
    (name) => expect(accepts(name)).toBe(false),
  )

  it.each(['\0', '\n', '\x1f', '\x7f', '\x80', '\x9f', '\ud800', '\udc00', '\udc00\ud800'])(
    'refuses control characters and lone surrogates: %j',
    (text) => expect(accepts(`a${text}b`)).toBe(false),
  )

  it('takes 1024 bytes of UTF-8 and not one more', () => {
    expect(accepts('a'.repeat(1024))).toBe(true)
    expect(accepts('a'.repeat(1025))).toBe(false)
    expect(accepts('é'.repeat(512))).toBe(true)
    expect(accepts(`${'é'.repeat(512)}a`)).toBe(false)
    expect(accepts('😀'.repeat(256))).toBe(true)
    expect(accepts('😀'.repeat(257))).toBe(false)
  })

  it('never lets a dot segment, a control character, an outer slash or 1025 bytes through', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        if (!accepts(text)) return
        const segments = text.split('/')
        expect(segments).not.toContain('.')
        expect(segments).not.toContain('..')
        expect(segments[0]).not.toBe('')
        expect(segments.at(-1)).not.toBe('')
        for (const char of text) {
          const code = char.codePointAt(0) ?? 0
          expect(code < 0x20 || (code >= 0x7f && code <= 0x9f) || (code >= 0xd800 && code <= 0xdfff)).toBe(
            false,
          )
        }
        const bytes = new TextEncoder().encode(text)
        expect(bytes.length).toBeLessThanOrEqual(1024)
        expect(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)).toBe(text) // else it takes U+FEFF from the beginning
        expect(decodeURIComponent(encodeURIComponent(text))).toBe(text)
        expect(isStorableText(text)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('means the same to a URL parser: no accepted name moves elsewhere when it is requested', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        if (!accepts(text)) return
        const path = text.split('/').map(encodeURIComponent).join('/')
        const { pathname } = new URL(`http://host/object/bucket/${path}`)
        expect(decodeURIComponent(pathname.slice('/object/bucket/'.length))).toBe(text)
      }),
      { numRuns: 1000 },
    )
  })
})

describe("an object name by Supabase's rules", () => {
  it.each(['a b/c_d', "!-.*'()&$@=;:+,?", 'a///b', '..', '/a/'])('accepts %j', (name) => {
    expect(accepts(name, 'supabase')).toBe(true)
  })

  it('refuses every other printable ASCII character', () => {
    for (const char of '#%^~[]{}|\\<>"`') expect(accepts(`a${char}b`, 'supabase')).toBe(false)
  })

  it.each(['', 'é', '图.png', 'a\n', '\t', 'a'.repeat(1025)])('refuses %j', (name) => {
    expect(accepts(name, 'supabase')).toBe(false)
  })

  it('never accepts anything outside its ASCII set', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        if (accepts(text, 'supabase')) expect(text).toMatch(/^[\x20-\x7e]{1,1024}$/)
      }),
    )
  })
})

describe('the message of InvalidKey', () => {
  it('is "Invalid key: " and the key, as clients compare it', () => {
    expect(() => parseObjectName('a~b', 'supabase')).toThrow('Invalid key: a~b')
  })

  it('never carries a line break, a control character or half a character, and stays short', () => {
    expect(printable('a\r\nb\0\u2028\ud800')).toBe('a\\u000d\\u000ab\\u0000\\u2028\\ud800')
    fc.assert(
      fc.property(anyText, fc.nat(60), (text, times) => {
        const shown = printable(text.repeat(times))
        expect(shown).not.toMatch(/[\p{Cc}\p{Cs}]/u)
        expect(shown.length).toBeLessThanOrEqual(6 * 200 + 1)
      }),
    )
    expect(printable('😀'.repeat(201))).toBe(`${'😀'.repeat(200)}…`)
    expect(printable('😀'.repeat(200))).toBe('😀'.repeat(200))
  })
})

describe('a lenient lookup', () => {
  it('takes what PostgreSQL can hold, however odd', () => {
    for (const text of ['', '/', '..', 'a\nb', '\x9f', '图'.repeat(1365)])
      expect(isStorableText(text)).toBe(true)
  })

  it('passes over NUL, lone surrogates and texts above 4096 bytes', () => {
    for (const text of ['a\0', '\ud800', 'a\udc00', 'a'.repeat(4097), '图'.repeat(1366)]) {
      expect(isStorableText(text)).toBe(false)
    }
  })
})

it('knows the placeholder of an empty folder', () => {
  expect(isEmptyFolderPlaceholder('a/b/.emptyFolderPlaceholder')).toBe(true)
  expect(isEmptyFolderPlaceholder('.emptyFolderPlaceholder')).toBe(true)
  expect(isEmptyFolderPlaceholder('.emptyFolderPlaceholder/a')).toBe(false)
})
