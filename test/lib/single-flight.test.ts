import { describe, expect, it } from 'vitest'
import { UnderWay } from '../../src/lib/single-flight.ts'

describe('answers under way', () => {
  it('are shared by all who ask the same meanwhile, and found anew for who asks later', async () => {
    const underWay = new UnderWay<number>()
    const answers: (() => void)[] = []
    const find = () => new Promise<number>((resolve) => answers.push(() => resolve(answers.length)))
    const [first, second] = [underWay.of('a', find), underWay.of('a', find)]
    expect(answers).toHaveLength(1)
    answers[0]?.()
    expect([await first, await second]).toEqual([1, 1])
    const later = underWay.of('a', find)
    answers[1]?.()
    expect(await later).toBe(2)
  })

  it('do not keep those waiting who ask for something else', async () => {
    const underWay = new UnderWay<string>()
    const slow = underWay.of('a, b', () => new Promise(() => {}))
    expect(await Promise.race([slow, underWay.of('a', async () => 'quick')])).toBe('quick')
  })

  it('that fail are asked for again', async () => {
    const underWay = new UnderWay<number>()
    await expect(underWay.of('a', () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    expect(await underWay.of('a', async () => 1)).toBe(1)
  })
})
