import { describe, expect, it } from 'vitest'
import { UnderWay } from '../../src/storage/under-way.ts'

describe('answers under way', () => {
  it('are shared by all who ask meanwhile, and found anew for who asks later', async () => {
    const underWay = new UnderWay<number>()
    const asked: string[][] = []
    const answers: (() => void)[] = []
    const find = (keys: string[]) => {
      asked.push(keys)
      return new Promise<Map<string, number>>((resolve) =>
        answers.push(() =>
          resolve(new Map(keys.filter((key) => key !== 'none').map((key) => [key, asked.length]))),
        ),
      )
    }
    const first = underWay.of(['a', 'b', 'none'], find)
    const second = underWay.of(['b', 'c'], find)
    const third = underWay.of(['a'], find)
    expect(asked).toEqual([['a', 'b', 'none'], ['c']])
    for (const answer of answers.splice(0)) answer()
    expect([...(await first).keys()]).toEqual(['a', 'b'])
    expect((await second).has('b') && (await second).has('c')).toBe(true)
    expect((await third).has('a')).toBe(true)
    const later = underWay.of(['a'], find)
    for (const answer of answers.splice(0)) answer()
    await later
    expect(asked.at(-1)).toEqual(['a'])
  })

  it('that fail are asked for again', async () => {
    const underWay = new UnderWay<number>()
    const failing = underWay.of(['a'], () => Promise.reject(new Error('broken')))
    await expect(failing).rejects.toThrow('broken')
    expect(await underWay.of(['a'], async () => new Map([['a', 1]]))).toEqual(new Map([['a', 1]]))
  })
})
