import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'

/** One row of the table: what we did beside what it is measured by. */
export interface Result {
  work: string
  unit: '/s' | 'MiB/s' | 'ms' | 'MiB'
  ours: number
  /** Absent when the budget is a number of its own. */
  reference?: { name: string; value: number }
  /** For the ratio of ours to the reference's; without one, for ours. */
  budget: { atLeast: number } | { atMost: number }
}

/** A budget that cannot be measured on this machine. */
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

export function ratio({ ours, reference }: Result): number {
  return reference ? ours / reference.value : ours
}

export function isMet(result: Result): boolean {
  const { budget } = result
  return 'atLeast' in budget ? ratio(result) >= budget.atLeast : ratio(result) <= budget.atMost
}

export function table(rows: Row[]): string {
  const lines = rows.map((row) => {
    if ('skipped' in row) return [row.work, '', '', '', '', `skipped: ${row.skipped}`]
    if ('failed' in row) return [row.work, '', '', '', '', `FAILED: ${row.failed}`]
    const { work, ours, unit, reference, budget } = row
    const wanted = 'atLeast' in budget ? `≥ ${budget.atLeast}` : `≤ ${budget.atMost}`
    return [
      work,
      `${short(ours)} ${unit}`,
      reference ? `${short(reference.value)} ${unit}  ${reference.name}` : '',
      reference ? ratio(row).toFixed(2) : '',
      reference ? wanted : `${wanted} ${unit}`,
      isMet(row) ? 'met' : 'MISSED',
    ]
  })
  const all = [['work', 'ours', 'reference', 'ratio', 'budget', ''], ...lines]
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((line) => line[column]?.length ?? 0)))
  return all
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** For machines: the same, with what it was measured on. */
export async function writeResults(
  path: string,
  rows: Row[],
  about: { quick: boolean; rounds: number | undefined; load: string },
): Promise<void> {
  const described = rows.map((row) => ('ours' in row ? { ...row, ratio: ratio(row), met: isMet(row) } : row))
  const machine = {
    node: process.version,
    platform: process.platform,
    processors: cpus().length,
    model: cpus()[0]?.model,
  }
  const at = new Date().toISOString()
  await writeFile(path, `${JSON.stringify({ at, machine, ...about, rows: described }, null, 2)}\n`)
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
