import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Part } from '../../../../src/backend/resumable-backend.ts'
import { planPieces } from '../../../../src/backend/s3/resumable/assembly-plan.ts'

const LEAST = 5
const MOST = 20

const partsOf = (sizes: number[]): Part[] =>
  sizes.map((size, index) => ({ number: index + 1, size, sha256: '', notes: String(index) }))

/** As `<number>:<start>-<end>`. */
const plan = (...sizes: number[]) =>
  [...planPieces(partsOf(sizes), { least: LEAST, most: MOST })].map((piece) =>
    piece.map(({ part, start, end }) => `${part.number}:${start}-${end}`).join('+'),
  )

it('copies what is large enough, and gathers what is not with the beginning of the next', () => {
  expect(plan(10, 5, 7)).toEqual(['1:0-10', '2:0-5', '3:0-7'])
  expect(plan(10, 2, 10)).toEqual(['1:0-10', '2:0-2+3:0-3', '3:3-10'])
  expect(plan(2, 6)).toEqual(['1:0-2+2:0-3', '2:3-6'])
  expect(plan(1, 1, 1, 1, 1, 1)).toEqual(['1:0-1+2:0-1+3:0-1+4:0-1+5:0-1', '6:0-1'])
})

it('copies the last one however small it is, and nothing of empty ones', () => {
  expect(plan(10, 0, 1, 0)).toEqual(['1:0-10', '3:0-1'])
  expect(plan(0, 0)).toEqual([])
})

it('copies a very large one in pieces of about the same length', () => {
  expect(plan(41)).toEqual(['1:0-14', '1:14-28', '1:28-41'])
})

it('takes every byte once, in order, within the limits, of any parts', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 100 }), { maxLength: 40 }), (sizes) => {
      const parts = partsOf(sizes)
      const pieces = [...planPieces(parts, { least: LEAST, most: MOST })]
      const bytes = pieces.flat().flatMap(({ part, start, end }) => {
        expect(end).toBeGreaterThan(start)
        return Array.from({ length: end - start }, (_, index) => `${part.number}:${start + index}`)
      })
      expect(bytes).toEqual(
        parts.flatMap(({ number, size }) => Array.from({ length: size }, (_, index) => `${number}:${index}`)),
      )
      for (const [index, piece] of pieces.entries()) {
        const length = piece.reduce((sum, { start, end }) => sum + end - start, 0)
        if (index < pieces.length - 1) expect(length).toBeGreaterThanOrEqual(LEAST)
        expect(length).toBeLessThanOrEqual(piece.length > 1 ? LEAST : MOST)
      }
      const total = sizes.reduce((sum, size) => sum + size, 0)
      expect(pieces.length).toBeLessThanOrEqual(parts.length + Math.floor(total / MOST))
    }),
  )
})
