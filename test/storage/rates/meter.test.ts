import { describe, expect, it } from 'vitest'
import { Meter } from '../../../src/storage/rates/meter.ts'

/** Ten at once, and then one a second. */
const RATE = { requests: 10, windowMs: 10_000 }

/** How many requests of a client are let in, one after the other. */
function admitted(meter: Meter, client: string, asked: number, now: number): number {
  return Array.from({ length: asked }, () => meter.take(client, now).waitMs === 0).filter(Boolean).length
}

describe('a meter', () => {
  it('lets in as many at once as the rate has, and then one whenever the time for one has passed', () => {
    const meter = new Meter(RATE, 10)
    expect(admitted(meter, 'a', 100, 0)).toBe(10)
    expect(admitted(meter, 'a', 100, 999)).toBe(0)
    expect(admitted(meter, 'a', 100, 1000)).toBe(1)
    expect(admitted(meter, 'a', 100, 4500)).toBe(3)
    expect(admitted(meter, 'a', 100, 100_000)).toBe(10)
  })

  it('lets in no more than that in the long run, however requests are spread', () => {
    const meter = new Meter(RATE, 10)
    let total = 0
    for (let now = 0; now <= 100_000; now += 37) total += admitted(meter, 'a', 3, now)
    expect(total).toBeLessThanOrEqual(10 + 100)
    expect(total).toBeGreaterThanOrEqual(10 + 98)
  })

  it('says how many are left, when all are back, and how long to wait', () => {
    const meter = new Meter(RATE, 10)
    expect(meter.take('a', 0)).toEqual({ waitMs: 0, remaining: 9, emptyInMs: 1000 })
    admitted(meter, 'a', 8, 0)
    expect(meter.take('a', 0)).toEqual({ waitMs: 0, remaining: 0, emptyInMs: 10_000 })
    expect(meter.take('a', 400)).toEqual({ waitMs: 600, remaining: 0, emptyInMs: 9600 })
  })

  it('counts every request of a rate that no fraction holds', () => {
    const meter = new Meter({ requests: 7, windowMs: 1000 }, 10)
    for (let now = 1e9; now < 1e9 + 20_000; now += 1000) expect(admitted(meter, 'a', 20, now)).toBe(7)
  })

  it('keeps clients apart', () => {
    const meter = new Meter(RATE, 10)
    admitted(meter, 'hostile', 100, 0)
    expect(admitted(meter, 'innocent', 10, 0)).toBe(10)
  })

  it('knows so many clients, and forgets none who has asked for all that he may, however many come', () => {
    const meter = new Meter(RATE, 100)
    expect(admitted(meter, 'hostile', 100, 0)).toBe(10)
    // Each is new, and served.
    for (let index = 0; index < 10_000; index++) expect(meter.take(`one of many ${index}`, 1).waitMs).toBe(0)
    expect(admitted(meter, 'hostile', 100, 2)).toBe(0)
    expect(meter.takeUntold(100_000).length).toBeLessThanOrEqual(100)
  })

  it('adds what others have let in, and forgets nothing that it knows better', () => {
    const meter = new Meter(RATE, 10)
    admitted(meter, 'a', 3, 0)
    expect(meter.takeUntold(10)).toEqual([{ client: 'a', untold: 3, untoldSince: 0 }])
    admitted(meter, 'a', 1, 100) // while the others are asked
    meter.settle('a', 7000, 100) // four of others
    expect(admitted(meter, 'a', 100, 100)).toBe(2)
    meter.settle('a', 0, 100)
    expect(admitted(meter, 'a', 100, 100)).toBe(0)
  })

  it('tells each request once, or again when it could not be told', () => {
    const meter = new Meter(RATE, 10)
    admitted(meter, 'a', 2, 5)
    admitted(meter, 'b', 1, 6)
    const [first, ...none] = meter.takeUntold(1)
    expect([first, none]).toEqual([{ client: 'a', untold: 2, untoldSince: 5 }, []])
    admitted(meter, 'a', 1, 7)
    if (first) meter.putBack(first)
    expect(meter.takeUntold(10)).toEqual([
      { client: 'b', untold: 1, untoldSince: 6 },
      { client: 'a', untold: 3, untoldSince: 5 },
    ])
    expect(meter.hasUntold).toBe(false)
  })
})
