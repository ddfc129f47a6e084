import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseRobotsTag } from '../../../src/http/message/robots-tag.ts'
import { StorageError } from '../../../src/model/errors.ts'

describe('an X-Robots-Tag header', () => {
  it.each([
    'none',
    'NoIndex, nofollow',
    'noindex,nosnippet',
    'max-snippet:20, max-video-preview: -1',
    'max-image-preview: large',
    'googlebot: noindex, otherbot: max-snippet: 5',
    'unavailable_after: 25 Jun 2027 15:00:00 PST',
    'unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT, noindex',
    'googlebot: unavailable_after: 2027-06-25T15:00:00+02:00',
    'noai, noimageai',
    'NOINDEX ,  GoogleBot  :  Max-Snippet  :  5',
    'unavailable_after: noindex',
  ])('%j is kept', (value) => expect(parseRobotsTag(value)).toBe(value))

  it('is trimmed', () => expect(parseRobotsTag(' none ')).toBe('none'))

  it.each([
    '',
    ' ',
    'hello',
    'none,',
    'none noindex',
    'max-snippet',
    'max-snippet: lots',
    'max-image-preview: huge',
    'unavailable_after: tomorrow',
    'unavailable_after:',
    'goo gle: none',
    'none\r\nset-cookie: a=b',
    'none,\nnone',
    'nöne',
  ])('%j is refused', (value) => {
    expect(() => parseRobotsTag(value)).toThrow(expect.objectContaining({ code: 'InvalidRobotsTag' }))
  })

  // Twenty of them: one takes four seconds if each space is tried as an end of the name, the date and the rule.
  it('is refused soon, however many spaces it holds', () => {
    for (let n = 0; n < 20; n++) {
      const value = `unavailable_after:${' '.repeat(960 + n)}!`
      expect(() => parseRobotsTag(value)).toThrow(expect.objectContaining({ code: 'InvalidRobotsTag' }))
    }
  })

  it('is kept with as many spaces before its date', () => {
    const value = `bot:${' '.repeat(400)}unavailable_after:${' '.repeat(400)}25 Jun 2027 15:00:00 PST`
    expect(parseRobotsTag(value)).toBe(value)
  })

  it('is refused above 1000 characters', () => {
    expect(parseRobotsTag(`none${',none'.repeat(199)}`)).toHaveLength(999)
    expect(() => parseRobotsTag(`none${',none'.repeat(200)}`)).toThrow(StorageError)
  })

  it('can always be sent back as a header', () => {
    const piece = fc.constantFrom(
      'none',
      'noindex',
      ',',
      ' ',
      ':',
      '\n',
      '\t',
      'bot',
      'max-snippet:1',
      'é',
      '\0',
      '1',
    )
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          expect(parseRobotsTag(pieces.join(''))).toMatch(/^[\x20-\x7e]+$/)
        } catch (error) {
          if (!(error instanceof StorageError)) throw error
        }
      }),
    )
  })
})
