import { describe, expect, it } from 'vitest'
import {
  historyOf,
  parseHistory,
  parsePosition,
  segmentsBetween,
  timelineOf,
} from '../../../src/database/embedded/log-segments.ts'

const MiB = 1024 * 1024

describe('segments of the log', () => {
  it('are named as pg_walfile_name names them', () => {
    // select pg_walfile_name('16/B374D848') on timeline 1
    expect(segmentsBetween('16/B374D848', '16/B374D849', 1, 16 * MiB)).toEqual(['0000000100000016000000B3'])
    expect(segmentsBetween('16/B374D848', '16/B374D849', 1, 64 * MiB)).toEqual(['00000001000000160000002C'])
    expect(timelineOf('0000000A00000016000000B3')).toBe(10)
  })

  it('are all that hold one of the bytes, over the end of the last number too', () => {
    expect(segmentsBetween('0/FE000028', '1/1000001', 2, 16 * MiB)).toEqual([
      '0000000200000000000000FE',
      '0000000200000000000000FF',
      '000000020000000100000000',
      '000000020000000100000001',
    ])
    expect(segmentsBetween('0/2000028', '0/3000000', 1, 16 * MiB)).toEqual(['000000010000000000000002'])
  })

  it('lie at positions that are numbers', () => {
    expect(parsePosition('1/0')).toBe(2n ** 32n)
    expect(parsePosition('16/B374D848')).toBe(0x16b374d848n)
  })
})

describe('the history of a timeline', () => {
  it('has a name, and says where those before it were left', () => {
    expect(historyOf(26)).toBe('0000001A.history')
    const text =
      '1\t0/3000150\tno recovery target specified\n\n# a remark\n2\t16/B374D848\tbefore 2026-11-28 10:15:00+00\n'
    expect([...parseHistory(text)]).toEqual([
      [1, parsePosition('0/3000150')],
      [2, parsePosition('16/B374D848')],
    ])
  })
})
