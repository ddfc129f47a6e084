import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contentDisposition } from '../../../src/http/message/content-disposition.ts'

describe('?download', () => {
  it('without a name gives "attachment;"', () => expect(contentDisposition('')).toBe('attachment;'))

  it('with a name gives it twice, percent-encoded', () => {
    expect(contentDisposition('a b"ü.png')).toBe(
      "attachment; filename=a%20b%22%C3%BC.png; filename*=UTF-8''a%20b%22%C3%BC.png",
    )
  })

  it("encodes what may stand in neither place: '()*", () => {
    expect(contentDisposition("it's (1)*.txt")).toBe(
      "attachment; filename=it%27s%20%281%29%2A.txt; filename*=UTF-8''it%27s%20%281%29%2A.txt",
    )
  })

  it('with half a character gives U+FFFD, not an error', () => {
    expect(contentDisposition('a\ud800')).toContain('filename=a%EF%BF%BD;')
  })

  it('never lets a name out of the header, and stays short', () => {
    const text = fc
      .array(
        fc.oneof(
          fc.integer({ min: 0, max: 0xffff }),
          fc.constantFrom(0x22, 0x0d, 0x0a, 0x3b, 0xd83d, 0xde00),
        ),
      )
      .map((units) => String.fromCharCode(...units))
    fc.assert(
      fc.property(text, fc.nat(200), (name, times) => {
        const header = contentDisposition(name.repeat(times))
        expect(header).toMatch(/^attachment;(?: filename=([\w%.~!-]+); filename\*=UTF-8''\1)?$/)
        expect(header.length).toBeLessThan(3100)
      }),
    )
  })

  it('cuts between characters', () => {
    expect(contentDisposition(`a${'😀'.repeat(300)}`)).not.toContain('%EF%BF%BD')
  })
})
