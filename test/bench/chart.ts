import type { Report, Summary } from './results.ts'

/** Of the picture, in pixels at its natural size. */
const WIDTH = 800
const MARGIN = 24
/** How far apart two bars are, and how thick. */
const ROW = 56
const BAR = 18
/** Above the first row, and below the last one. */
const HEAD = 78
const FOOT = 40

/** A row that can be a bar: more is better, and there is something that it is measured by. */
type Bar = Summary & {
  ratio: number
  reference: { name: string; value: number }
  budget: { atLeast: number }
}

/**
 * The rows whose budget is a share of their reference's speed, as bars of what that share is: an SVG for light pages and
 * dark ones.
 */
export function chart({ rows, at, machine, rounds }: Report): string {
  const bars = rows.filter(isBar)
  const most = Math.max(1, ...bars.map(({ ratio, budget }) => Math.max(ratio, budget.atLeast)))
  /** How far from the left edge of its bar a share of the reference's speed lies. */
  const length = (share: number) => Number(((share / most) * (WIDTH - 2 * MARGIN)).toFixed(1))
  const height = HEAD + bars.length * ROW + FOOT
  const node = machine.node.replace(/^v(\d+).*/, 'Node $1')
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title desc">
  <title id="title">What is left of the machine's own speed</title>
  <desc id="desc">${bars.map(spoken).map(escaped).join('\n    ')}</desc>
  <style>${STYLE}</style>
  <rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="10"/>
  <text class="name" x="${MARGIN}" y="34">What is left of the machine's own speed</text>
  <text class="soft" x="${MARGIN}" y="54">beside the least that the same work could cost, measured in the same run by turns</text>
${bars.map((bar, index) => drawn(bar, HEAD + index * ROW, length)).join('\n')}
  <text class="soft" x="${MARGIN}" y="${height - 18}">${escaped(
    `Medians of ${rounds} rounds, ${machine.processors} cores, ${node}, ${at.slice(0, 10)}.`,
  )} Dashed: the speed of what stands beside it; the mark: the budget.</text>
</svg>
`
}

function isBar(row: Report['rows'][number]): row is Bar {
  return 'ours' in row && row.ratio !== undefined && row.budget !== undefined && 'atLeast' in row.budget
}

function drawn(bar: Bar, top: number, length: (share: number) => number): string {
  const { work, ours, unit, reference, ratio, budget } = bar
  const figure = (value: number) => `${grouped(value)}${unit === '/s' ? '' : '\u00a0'}${unit}`
  const beside = `${figure(ours)} beside ${figure(reference.value)}, ${reference.name}`
  const y = top + 20
  const mark = (share: number) => `M${MARGIN + length(share)} ${y - 3}v${BAR + 6}`
  return `  <text x="${MARGIN}" y="${top + 12}">${escaped(work)}</text>
  <text class="soft end" x="${WIDTH - MARGIN}" y="${top + 12}">${escaped(beside)}</text>
  <rect class="${ratio >= budget.atLeast ? 'met' : 'missed'}" x="${MARGIN}" y="${y}" width="${length(ratio)}" height="${BAR}" rx="3"/>
  <path class="whole" d="${mark(1)}"/>
  <path class="budget" d="${mark(budget.atLeast)}"/>
  <text class="share" x="${MARGIN + 8}" y="${y + 13}">${Math.round(ratio * 100)} %</text>`
}

function spoken({ work, ratio, reference, budget }: Bar): string {
  const share = `${work}: ${Math.round(ratio * 100)} % of the speed of ${reference.name}`
  return `${share}; the budget is ${Math.round(budget.atLeast * 100)} %.`
}

/** As a reader takes it in: 29400 is `29 400`. */
function grouped(value: number): string {
  const digits = value >= 10 ? value.toFixed(0) : value.toFixed(1)
  return digits.replace(/\B(?=(\d{3})+$)/g, '\u00a0')
}

function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }
  return text.replace(/[&<>]/g, (character) => entities[character] ?? '')
}

const STYLE = `
    svg { --page: #ffffff; --edge: #d1d9e0; --ink: #1f2328; --soft: #59636e; --met: #0969da; --missed: #bc4c00; --on: #ffffff }
    @media (prefers-color-scheme: dark) {
      svg { --page: #0d1117; --edge: #3d444d; --ink: #f0f6fc; --soft: #9aa4af; --met: #1f6feb; --missed: #bd561d; --on: #ffffff }
    }
    text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: var(--ink) }
    .name { font-weight: 600; font-size: 15px }
    .soft { fill: var(--soft); font-size: 12px }
    .end { text-anchor: end }
    .share { fill: var(--on); font-weight: 600; font-size: 12px }
    .page { fill: var(--page); stroke: var(--edge) }
    .met { fill: var(--met) }
    .missed { fill: var(--missed) }
    .budget { stroke: var(--ink); stroke-width: 2 }
    .whole { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 3 3 }
  `
