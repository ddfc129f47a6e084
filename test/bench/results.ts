import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { styleText } from 'node:util'
import { median } from './rounds.ts'

/** One row of the table: what we did beside what it is measured by. */
export interface Result {
  work: string
  unit: '/s' | 'MiB/s' | 'ms' | 'MiB'
  /** One figure a round. */
  ours: number[]
  /** Absent when the budget is a number of its own. */
  reference?: { name: string; figures: number[] }
  /** For the ratio of ours to the reference's; without one, for ours. Absent where design §11 has none. */
  budget?: Budget
}

export type Budget = ({ atLeast: number } | { atMost: number }) & {
  /** Missed only by so many of the rounds that chance is out (`isByChance`). */
  beyondNoise?: true
}

/** A budget that cannot be measured here. */
export interface Skipped {
  work: string
  skipped: string
}

/** A budget that could not be measured because the work itself failed. */
export interface Failed {
  work: string
  failed: string
}

export type Row = Result | Skipped | Failed

/** Of the medians; without a reference, our median. */
export function ratio({ ours, reference }: Result): number {
  return reference ? median(ours) / median(reference.figures) : median(ours)
}

/** Whether the budget is met; undefined when there is none. */
export function isMet(result: Result): boolean | undefined {
  const { budget } = result
  if (budget === undefined) return undefined
  if (fits(ratio(result), budget)) return true
  const ratios = ratiosOfRounds(result)
  const missed = ratios.filter((one) => !fits(one, budget))
  return budget.beyondNoise === true && isByChance(missed.length, ratios.length)
}

function fits(figure: number, budget: Budget): boolean {
  return 'atLeast' in budget ? figure >= budget.atLeast : figure <= budget.atMost
}

/** Fewer rounds cannot rule chance out, whatever they say. */
export const FEWEST_ROUNDS = 5

/** In more than one of twenty runs as many rounds, or more, would say so of a row that lies on the line (sign test). */
function isByChance(missed: number, rounds: number): boolean {
  let ways = 1 // to choose k of the rounds
  let chance = 0
  for (let k = 0; k <= rounds; k++) {
    if (k >= missed) chance += ways / 2 ** rounds
    ways = (ways * (rounds - k)) / (k + 1)
  }
  return chance > 0.05
}

function ratiosOfRounds({ ours, reference }: Result): number[] {
  return ours.map((figure, round) => figure / (reference?.figures[round] ?? Number.NaN))
}

/** The least and the greatest ratio that a single round had. */
function spread(result: Result): string {
  if (!result.reference || result.ours.length < 2) return ''
  const ratios = ratiosOfRounds(result)
  return `${short(Math.min(...ratios))}–${short(Math.max(...ratios))}`
}

function verdict(result: Result): string {
  const { budget } = result
  if (budget === undefined) return ''
  if (!isMet(result)) return budget.beyondNoise ? 'SLOWER' : 'MISSED'
  return fits(ratio(result), budget) ? 'met' : 'met, but for noise'
}

/** @param isColored whether rows that miss their budget are red, as on a terminal */
export function table(rows: Row[], isColored = false): string {
  const lines = rows.map((row) => {
    if ('skipped' in row) return [row.work, '', '', '', '', '', `skipped: ${row.skipped}`]
    if ('failed' in row) return [row.work, '', '', '', '', '', `FAILED: ${row.failed}`]
    const { work, ours, unit, reference, budget } = row
    const wanted = budget && ('atLeast' in budget ? `≥ ${budget.atLeast}` : `≤ ${budget.atMost}`)
    return [
      work,
      `${short(median(ours))} ${unit}`,
      reference ? `${short(median(reference.figures))} ${unit}  ${reference.name}` : '',
      reference ? short(ratio(row)) : '',
      spread(row),
      reference || !wanted ? (wanted ?? '') : `${wanted} ${unit}`,
      verdict(row),
    ]
  })
  const all = [['work', 'ours', 'reference', 'ratio', 'of rounds', 'budget', ''], ...lines]
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((line) => line[column]?.length ?? 0)))
  return all
    .map((line, index) => {
      const text = line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
      const row = rows[index - 1] // the first line names the columns
      const isMissed = row !== undefined && ('failed' in row || ('ours' in row && isMet(row) === false))
      return isColored && isMissed
        ? styleText('red', text.trimEnd(), { validateStream: false })
        : text.trimEnd()
    })
    .join('\n')
}

/** For machines: all rows with every round's figures, and what they were measured on. */
export interface Report {
  /** When, as ISO 8601 has it. */
  at: string
  machine: { node: string; processors: number; platform?: string; model?: string | undefined }
  rounds: number
  rows: (Summary | Skipped | Failed)[]
}

/** A result, and what the table makes of its rounds. */
export interface Summary {
  work: string
  unit: Result['unit']
  /** The median. */
  ours: number
  reference?: { name: string; value: number }
  /** Absent without a reference. */
  ratio?: number
  budget?: Budget
  met?: boolean | undefined
  rounds?: { ours: number[]; reference: number[] | undefined }
}

/** Keeps what was measured as JSON. */
export async function writeReport(
  path: string,
  rows: Row[],
  about: {
    quick: boolean
    rounds: number
    load: string
    target?: string | undefined
    against?: string | undefined
  },
): Promise<Report> {
  const machine = {
    node: process.version,
    platform: process.platform,
    processors: cpus().length,
    model: cpus()[0]?.model,
  }
  const report = { at: new Date().toISOString(), machine, ...about, rows: rows.map(summary) }
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`)
  return report
}

function summary(row: Row): Report['rows'][number] {
  if (!('ours' in row)) return row
  const { ours, reference, ...rest } = row
  return {
    ...rest,
    ours: median(ours),
    ...(reference && {
      reference: { name: reference.name, value: median(reference.figures) },
      ratio: ratio(row),
    }),
    met: isMet(row),
    rounds: { ours, reference: reference?.figures },
  }
}

function short(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
