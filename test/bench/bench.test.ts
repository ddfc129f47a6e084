import { describe, expect, it } from 'vitest'
import { OptionError, readOptions } from './options.ts'
import { table } from './results.ts'
import { alternate } from './rounds.ts'

describe('the table', () => {
  const lines = table([
    {
      ...{ work: 'get', unit: '/s', ours: [100, 300, 120] },
      reference: { name: 'bare', figures: [200, 200, 200] },
      budget: { atLeast: 0.5 },
    },
    { ...{ work: 'list', unit: 'ms', ours: [3] }, reference: { name: 'few', figures: [2] } },
    { work: 'memory', unit: 'MiB', ours: [390], budget: { atMost: 380 } },
    { work: 'nginx', skipped: 'not installed' },
  ])
    .split('\n')
    .map((line) => line.split(/ {2,}/))

  it('compares the medians with the budget, and shows how far the rounds lie apart', () => {
    expect(lines[1]).toEqual(['get', '120 /s', '200 /s', 'bare', '0.60', '0.50–1.50', '≥ 0.5', 'met'])
  })

  it('gives no verdict where there is no budget', () => {
    expect(lines[2]).toEqual(['list', '3.00 ms', '2.00 ms', 'few', '1.50'])
  })

  it('measures by the budget itself where there is no reference, and says what was skipped', () => {
    expect(lines[3]).toEqual(['memory', '390 MiB', '≤ 380 MiB', 'MISSED'])
    expect(lines[4]).toEqual(['nginx', 'skipped: not installed'])
  })
})

it('lets contestants take turns, the last of a round first in the next, and does not count the warm-up', async () => {
  const turns: string[] = []
  const contestant = (name: string) => ({
    measure: async (round: number) => {
      turns.push(`${name}${round}`)
      return round
    },
  })
  expect(await alternate([contestant('a'), contestant('b')], 2)).toEqual([
    [0, 1],
    [0, 1],
  ])
  expect(turns).toEqual(['b-1', 'a-1', 'a0', 'b0', 'b1', 'a1'])
})

describe('the options', () => {
  const names = ['info', 'list']
  const read = (args: string[], env = {}) => readOptions(args, env, names)

  it('measure everything, five times', () => {
    expect(read([])).toEqual({ help: false, quick: false, rounds: 5, only: names })
  })

  it('take the keys of a target from the environment', () => {
    const env = { BENCH_SERVICE_KEY: 'key', BENCH_USER_TOKEN: '' }
    expect(read(['--target', 'http://127.0.0.1:5000/', '--only', 'list'], env)).toMatchObject({
      only: ['list'],
      target: { url: 'http://127.0.0.1:5000', serviceKey: 'key', userToken: undefined },
    })
  })

  it.each([
    [['--only', 'info,lst'], 'lst'],
    [['--rounds', '0'], '--rounds'],
    [['--fast'], '--fast'],
    [['info'], 'info'],
    [['--target', 'localhost:5000'], 'URL'],
    [['--target', 'http://127.0.0.1:5000'], 'BENCH_SERVICE_KEY'],
  ])('refuse %j and name what is wrong', (args, said) => {
    expect(() => read(args)).toThrow(OptionError)
    expect(() => read(args)).toThrow(said)
  })
})
