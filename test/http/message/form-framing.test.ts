import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FormFraming } from '../../../src/http/message/form-framing.ts'
import { BOUNDARY, field, file, form } from '../../support/multipart.ts'

/** Whether a form is taken when it comes in pieces of these lengths. */
function isTaken(body: Buffer, lengths: number[]): boolean {
  const framing = new FormFraming(`multipart/form-data; boundary=${BOUNDARY}`, 10)
  try {
    let at = 0
    for (let piece = 0; at < body.length; piece++) {
      const length = lengths[piece % lengths.length] ?? 1
      framing.write(body.subarray(at, at + length))
      at += length
    }
    framing.end()
    return true
  } catch {
    return false
  }
}

/** Text of what delimiters are made of. */
const nearly = fc
  .array(
    fc.constantFrom('\r', '\n', '-', '--', '\r\n', `\r\n--${BOUNDARY.slice(0, -1)}`, BOUNDARY.slice(2), 'x'),
  )
  .map((parts) => parts.join(''))
const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 })

describe('a form', () => {
  it('is taken whatever is in its file but the boundary, and however it is cut', () => {
    fc.assert(
      fc.property(nearly, nearly, cuts, (value, bytes, lengths) => {
        expect(isTaken(form(field('a', value), file(bytes)), lengths)).toBe(true)
      }),
    )
  })

  it('is not taken with a line that begins like the boundary, however it is cut', () => {
    fc.assert(
      fc.property(nearly, nearly, cuts, (before, behind, lengths) => {
        const bytes = `${before}\r\n--${BOUNDARY}${behind}`
        expect(isTaken(form(field('a', 'b'), file(bytes)), lengths)).toBe(false)
      }),
    )
  })

  it.each(['boundary="a b"', 'Boundary=x', 'charset=utf-8; boundary=x'])(
    'has its boundary named: %s',
    (parameter) => {
      const framing = new FormFraming(`multipart/form-data; ${parameter}`, 10)
      const boundary = parameter.includes('"') ? 'a b' : 'x'
      framing.write(Buffer.from(`--${boundary}\r\nContent-Disposition: form-data\r\n\r\n\r\n--${boundary}--`))
      framing.end()
    },
  )
})
