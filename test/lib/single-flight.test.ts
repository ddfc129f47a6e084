import { describe, expect, it } from 'vitest'
import { SingleFlight } from '../../src/lib/single-flight.ts'

describe('answers under way', () => {
  it('are shared by all who ask the same meanwhile, and found anew for who asks later', async () => {
    const flights = new SingleFlight<number>()
    const answers: (() => void)[] = []
    const find = () => new Promise<number>((resolve) => answers.push(() => resolve(answers.length)))
    const [first, second] = [flights.of('a', find), flights.of('a', find)]
    expect(answers).toHaveLength(1)
    answers[0]?.()
    expect([await first, await second]).toEqual([1, 1])
    const later = flights.of('a', find)
    answers[1]?.()
    expect(await later).toBe(2)
  })

  it('do not keep those waiting who ask for something else', async () => {
    const flights = new SingleFlight<string>()
    const slow = flights.of('a, b', () => new Promise(() => {}))
    expect(await Promise.race([slow, flights.of('a', async () => 'quick')])).toBe('quick')
  })

  it('that fail are asked for again', async () => {
    const flights = new SingleFlight<number>()
    await expect(flights.of('a', () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    expect(await flights.of('a', async () => 1)).toBe(1)
  })
})
