import { describe, expect, it, vi } from 'vitest'
import { FairQueue } from '../../src/model/fair-queue.ts'

const tooMany = expect.objectContaining({ name: 'StorageError', code: 'TooManyQuestions' })
const LIMITS = { placesEach: 2, depth: 1, waiting: 20, waitingEach: 10, waitMs: 60_000 }

const places = (count: number) => Array.from({ length: count }, (_, index) => index)

/** Works that end when they are told to, and who has begun one, in order. */
function works(turns: FairQueue<number>) {
  const begun: string[] = []
  const ends: (() => void)[] = []
  const ask = (name: string) =>
    turns.during(name, () => {
      begun.push(name)
      return new Promise<void>((resolve) => ends.push(resolve))
    })
  /** Ends the works that run, one after the other, until none is left. */
  const finish = async () => {
    for (let end = ends.shift(); end; end = ends.shift()) {
      end()
      await settled()
    }
  }
  return { begun, ask, finish }
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('turns in a fair queue', () => {
  it('leave places for others, however much one asks', async () => {
    const { begun, ask, finish } = works(new FairQueue(places(4), LIMITS))
    const greedy = Array.from({ length: 8 }, () => ask('greedy'))
    await settled()
    expect(begun).toEqual(['greedy', 'greedy'])
    const modest = ask('modest')
    await settled()
    expect(begun).toEqual(['greedy', 'greedy', 'modest'])
    await finish()
    await Promise.all([...greedy, modest])
    expect(begun).toHaveLength(9)
  })

  it('come round: who has just come does not wait behind all that another has asked', async () => {
    const { begun, ask, finish } = works(new FairQueue(places(1), { ...LIMITS, placesEach: 1 }))
    const asked = [ask('a'), ask('a'), ask('a'), ask('b'), ask('c'), ask('b')]
    await settled()
    await finish()
    await Promise.all(asked)
    expect(begun).toEqual(['a', 'a', 'b', 'c', 'a', 'b'])
  })

  it('are refused to who has too many that wait; when all together have, to who has most of them', async () => {
    const turns = new FairQueue(places(1), { ...LIMITS, waiting: 3, waitingEach: 2 })
    const { ask, finish } = works(turns)
    const asked = [ask('a'), ask('a'), ask('a')]
    await expect(ask('a')).rejects.toEqual(tooMany)
    asked.push(ask('b'))
    asked.push(ask('c')) // in the place of the newest of who has most that waits
    await expect(asked[2]).rejects.toEqual(tooMany)
    await expect(ask('d')).rejects.toEqual(tooMany)
    await settled()
    await finish()
    expect((await Promise.allSettled(asked)).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ])
  })

  it('are not waited for longer than is said, and go on for the others', async () => {
    const { begun, ask, finish } = works(new FairQueue(places(1), { ...LIMITS, waitMs: 1 }))
    const first = ask('a')
    const waited = await Promise.allSettled([ask('a'), ask('b')])
    for (const each of waited) expect(each).toEqual({ status: 'rejected', reason: tooMany })
    await finish()
    await first
    const later = ask('b')
    await settled()
    await finish()
    await later
    expect(begun).toEqual(['a', 'b'])
  })

  it('let quick works of one asker stand one behind the other, until somebody else waits', async () => {
    const { begun, ask, finish } = works(new FairQueue(places(1), { ...LIMITS, depth: 3 }))
    const asked = [ask('a'), ask('a'), ask('b'), ask('a')]
    await settled()
    expect(begun).toEqual(['a', 'a'])
    await finish()
    await Promise.all(asked)
    expect(begun).toEqual(['a', 'a', 'a', 'b'])
  })

  it('put nothing behind a work that takes long', async () => {
    const { begun, ask, finish } = works(new FairQueue(places(1), { ...LIMITS, depth: 3 }))
    vi.spyOn(performance, 'now').mockReturnValueOnce(0).mockReturnValue(1000)
    try {
      const asked = [ask('a'), ask('a')]
      await settled()
      expect(begun).toEqual(['a'])
      await finish()
      await Promise.all(asked)
    } finally {
      vi.restoreAllMocks()
    }
  })

  it('are given back by a work that fails', async () => {
    const turns = new FairQueue(places(1), LIMITS)
    const failing = turns.during('a', () => Promise.reject(new Error('broken')))
    await expect(failing).rejects.toThrow('broken')
    expect(await turns.during('b', async () => 'done')).toBe('done')
  })
})
