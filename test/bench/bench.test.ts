import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { chart } from './chart.ts'
import { OptionError, readOptions } from './options.ts'
import { type Report, table } from './results.ts'
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
    [['--from', 'bench-results.json'], '--chart'],
  ])('refuse %j and name what is wrong', (args, said) => {
    expect(() => read(args)).toThrow(OptionError)
    expect(() => read(args)).toThrow(said)
  })
})
