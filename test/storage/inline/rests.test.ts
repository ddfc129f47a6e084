import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Rests } from '../../../src/storage/inline/rests.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Whether it rests for exactly so long, in milliseconds. */
function lasts(rests: Rests, name: string, ms: number): boolean {
  vi.advanceTimersByTime(ms - 1)
  const isThere = rests.has(name)
  vi.advanceTimersByTime(1)
  return isThere && !rests.has(name)
}

describe('a rest', () => {
  it('is of what has not worked, and of nothing else', () => {
    const rests = new Rests()
    rests.begin('this')
    expect([rests.has('this'), rests.has('that')]).toEqual([true, false])
  })

  it('is twice as long each time that it does not work soon after, up to a minute', () => {
    const rests = new Rests()
    for (const ms of [50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]) {
      rests.begin('this')
      expect(lasts(rests, 'this', ms), `${ms} ms`).toBe(true)
    }
  })

  it('is a short one again when it has worked for a while', () => {
    const rests = new Rests()
    for (let count = 0; count < 5; count++) rests.begin('this')
    vi.advanceTimersByTime(4 * 800)
    rests.begin('this')
    expect(lasts(rests, 'this', 50)).toBe(true)
  })

  it('is none where it has worked 16 times since the last trouble, and a short one where it has 4 times', () => {
    const rests = new Rests()
    const work = (times: number) => {
      for (let count = 0; count < times; count++) rests.worked('this')
    }
    for (const ms of [50, 100, 200]) {
      rests.begin('this')
      expect(lasts(rests, 'this', ms), `${ms} ms`).toBe(true)
    }
    work(16)
    rests.begin('this')
    expect(rests.has('this'), 'one among many').toBe(false)
    work(4)
    rests.begin('this')
    expect(lasts(rests, 'this', 50), 'one of a few').toBe(true)
    work(3)
    rests.begin('this')
    expect(lasts(rests, 'this', 100), 'soon again').toBe(true)
  })
})
