import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  countParts,
  eachPart,
  objectParts,
  partAt,
  rangeOf,
  storedParts,
} from '../../src/model/object-parts.ts'

const MIB = 1024 * 1024
const total = (sizes: number[]) => sizes.reduce((sum, size) => sum + size, 0)
const sized = (sizes: number[]) => sizes.map((size) => ({ size }))

it('ten thousand equal parts and the rest are two runs', () => {
  const parts = objectParts(sized([...Array(9999).fill(5 * MIB), 17]))
  expect(parts).toEqual({
    sizes: [
      [9999, 5 * MIB],
      [1, 17],
    ],
  })
  expect(countParts(parts)).toBe(10_000)
  expect(partAt(parts, 10_000)).toEqual({
    number: 10_000,
    start: 9999 * 5 * MIB,
    size: 17,
    checksum: null,
  })
  expect(partAt(parts, 10_001)).toBeNull()
})

it('parts are told as they came, from any of them on', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3), { minLength: 1, maxLength: 30 }),
      fc.nat(31),
      fc.boolean(),
      (sizes, after, areChecked) => {
        const checksum = (n: number) => Buffer.from([n, 0, 0, 1]).toString('base64')
        const parts = objectParts(
          sizes.map((size, n) => ({ size, checksum: areChecked ? checksum(n) : undefined })),
        )
        expect(storedParts(JSON.parse(JSON.stringify(parts)), total(sizes))).toEqual(parts)
        const expected = sizes.map((size, n) => ({
          number: n + 1,
          start: total(sizes.slice(0, n)),
          size,
          checksum: areChecked ? checksum(n) : null,
        }))
        expect([...eachPart(parts, after)]).toEqual(expected.slice(after))
        expect(partAt(parts, after + 1)).toEqual(expected[after] ?? null)
      },
    ),
  )
})

it('a part without bytes has no range', () => {
  expect([...eachPart(objectParts(sized([5, 0, 2])))].map(rangeOf)).toEqual([
    { start: 0, end: 4 },
    null,
    { start: 5, end: 6 },
  ])
})

it('checksums are left out when one is missing, or when they are too many for a row', () => {
  const one = { size: 1, checksum: 'y/Q5Jg==' }
  expect(objectParts([one, { size: 1 }]).checksums).toBeUndefined()
  expect(objectParts(Array(700).fill(one)).checksums?.length).toBeLessThanOrEqual(4096)
  expect(objectParts(Array(1000).fill(one)).checksums).toBeUndefined()
})

describe('of a row', () => {
  it.each([
    null,
    'x',
    {},
    { sizes: [] },
    { sizes: [[1, 9]] },
    { sizes: [[1, 10, 0]] },
    { sizes: [[0, 10]] },
    { sizes: [[1.5, 10]] },
    { sizes: [['1', 10]] },
    {
      sizes: [
        [1, 11],
        [1, -1],
      ],
    },
    {
      sizes: [
        [10_001, 0],
        [1, 10],
      ],
    },
    { sizes: { length: 1 } },
  ])('%j is none, of ten bytes', (value) => {
    expect(storedParts(value, 10)).toBeNull()
  })
})
