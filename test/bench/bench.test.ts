import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { chart } from './chart.ts'
import { findCommit, knownOf, unpackCommit } from './earlier-build.ts'
import { OptionError, readOptions } from './options.ts'
import { isMet, type Report, table } from './results.ts'
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

describe('beside another commit', () => {
  const five = (ratios: number[]) => ({
    ...{ work: 'get', unit: '/s', ours: ratios },
    reference: { name: 'HEAD~1', figures: ratios.map(() => 1) },
  })
  const budget = { atLeast: 0.95, beyondNoise: true } as const
  it.each([
    [true, [0.94, 0.96, 0.97, 0.99, 1], 'which is not slower'],
    [true, [0.8, 0.9, 0.91, 0.92, 1.1], 'of which a round says otherwise'],
    [false, [0.8, 0.9, 0.91, 0.92, 0.94], 'of which all rounds say so'],
    [true, [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1, 1], 'of which two in ten say otherwise'],
    [false, [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1], 'of which one in ten says otherwise'],
  ])('the verdict is %s of a row with the rounds %j, %s', (met, ratios) => {
    expect(isMet({ ...five(ratios), unit: '/s', budget })).toBe(met)
  })

  it('a slower row is said to be so, and is red where there are colours', () => {
    const slower = { ...five([0.8, 0.9, 0.91, 0.92, 0.94]), unit: '/s', budget } as const
    const rows = [slower, { ...slower, ours: five([1, 1, 1, 1, 1]).ours }]
    const [, plain = '', ...others] = table(rows).split('\n')
    expect(plain).toMatch(/SLOWER$/)
    expect(table(rows, true).split('\n').slice(1)).toEqual([`\u001b[31m${plain}\u001b[39m`, ...others])
  })

  it('a time is to be no longer', () => {
    const longer = { ...five([1.1, 1.2, 1.1, 1.2, 1.06]), unit: 'ms' } as const
    expect(isMet({ ...longer, budget: { atMost: 1.05, beyondNoise: true } })).toBe(false)
  })

  it('tells an earlier build nothing that it does not know', async () => {
    const settings = await readFile(new URL('../../docs/settings.md', import.meta.url), 'utf8')
    const known = { STORAGE_CACHE_SIZE: '0', LD_PRELOAD: 'slow-flush.so' }
    expect(knownOf({ ...known, STORAGE_CACHE: '0', STORAGE_NOT_YET: '1' }, settings)).toEqual(known)
    expect(knownOf(known, '')).toEqual({ LD_PRELOAD: 'slow-flush.so' })
  })

  it('stands a commit that git knows, with all its files', async () => {
    const commit = await findCommit('HEAD')
    expect(commit).toMatch(/^[0-9a-f]{40}$/)
    const folder = await mkdtemp(join(tmpdir(), 'strongroom-commit-'))
    try {
      await unpackCommit(commit, join(folder, 'earlier'), join(folder, 'log'))
      const { name } = JSON.parse(await readFile(join(folder, 'earlier/package.json'), 'utf8'))
      expect(name).toBe('strongroom')
    } finally {
      await rm(folder, { recursive: true })
    }
    await expect(findCommit('--no-such-commit')).rejects.toThrow(OptionError)
  })
})

describe('the chart', () => {
  const machine = { node: 'v22.12.0', processors: 8 }
  const row = {
    unit: '/s',
    reference: { name: 'a < b & c', value: 200_000 },
    budget: { atLeast: 0.5 },
  } as const
  const report: Report = {
    ...{ at: '2026-11-21T20:50:07.000Z', machine, rounds: 5 },
    rows: [
      { ...row, work: 'half', ours: 100_000, ratio: 0.5 },
      { ...row, work: 'twice <b>', ours: 400_000, ratio: 2 },
      { ...row, work: 'list', unit: 'ms', ours: 3, ratio: 1, budget: { atMost: 2 } },
      { work: 'no budget', unit: '/s', ours: 3, reference: row.reference, ratio: 1 },
      { work: 'memory', unit: 'MiB', ours: 390, budget: { atMost: 380 } },
      { work: 'nginx', skipped: 'not installed' },
    ],
  }
  const svg = chart(report)
  const widths = [...svg.matchAll(/<rect class="(?:met|missed)" [^>]*width="([\d.]+)"/g)].map(([, width]) =>
    Number(width),
  )

  it('has a bar for each row whose budget is a share of a speed, as long as its ratio, and room for the longest', () => {
    expect(widths).toHaveLength(2)
    expect((widths[1] ?? 0) / (widths[0] ?? 0)).toBeCloseTo(4)
    expect(widths[1]).toBeLessThan(800)
    expect(svg).toContain('50 %')
    expect(svg).not.toMatch(/list|no budget|memory|nginx/)
  })

  it('tells a missed budget from one that is met', () => {
    const missed = chart({ ...report, rows: [{ ...row, work: 'a', ours: 1, ratio: 0.4 }] })
    expect([svg, missed].map((text) => text.includes('class="missed"'))).toEqual([false, true])
  })

  it('has its words as text, whatever they are, and for those who hear it', () => {
    expect(svg).toContain('twice &lt;b&gt;')
    expect(svg).toContain('100\u00a0000/s beside 200\u00a0000/s, a &lt; b &amp; c')
    expect(svg).toMatch(/<desc id="desc">half: 50 % of the speed of a &lt; b &amp; c; the budget is 50 %\./)
    expect(svg).toContain('Medians of 5 rounds, 8 cores, Node 22, 2026-11-21.')
  })

  it('is in the README as it is drawn from the figures beside it', async () => {
    const images = new URL('../../docs/images/', import.meta.url)
    const kept = JSON.parse(await readFile(new URL('bench.json', images), 'utf8'))
    expect(await readFile(new URL('bench.svg', images), 'utf8')).toBe(chart(kept))
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

  it('say how many a large bucket has, as far as names can be told', () => {
    expect(read(['--objects', '10000000'])).toMatchObject({ objects: 10_000_000 })
    for (const wrong of ['0', '99999', '10000001', '1e5.5', 'many']) {
      expect(() => read(['--objects', wrong]), wrong).toThrow('--objects wants a whole number')
    }
  })

  it('stand beside another commit in more rounds, or else chance could not be told', () => {
    expect(read(['--against', 'HEAD~1'])).toMatchObject({ against: 'HEAD~1', rounds: 12 })
    expect(read(['--against', 'HEAD~1', '--quick'])).toMatchObject({ rounds: 6 })
  })

  it('draw what was measured before', () => {
    expect(read(['--from', 'a.json', '--chart', 'a.svg'])).toMatchObject({ from: 'a.json', chart: 'a.svg' })
  })

  it.each([
    [['--only', 'info,lst'], 'lst'],
    [['--rounds', '0'], '--rounds'],
    [['--fast'], '--fast'],
    [['info'], 'info'],
    [['--target', 'localhost:5000'], 'URL'],
    [['--target', 'http://127.0.0.1:5000'], 'BENCH_SERVICE_KEY'],
    [['--against', 'HEAD~1', '--rounds', '4'], 'from 5'],
    [['--against', 'HEAD~1', '--target', 'http://127.0.0.1:5000'], '--target'],
    [['--from', 'bench-results.json'], '--chart'],
  ])('refuse %j and name what is wrong', (args, said) => {
    expect(() => read(args)).toThrow(OptionError)
    expect(() => read(args)).toThrow(said)
  })
})
