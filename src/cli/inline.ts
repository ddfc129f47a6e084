import { type Command, InvalidArgumentError } from 'commander'
import { ConfigError } from '../config/config.ts'
import { InlineMove, type InlineMoveReport, type InlineMoveState, type Way } from '../jobs/inline-move.ts'
import { count } from './amounts.ts'
import { maintainWith, openOutside, TURN_WAIT_MS } from './maintenance.ts'
import { failureLines, runMove } from './move-run.ts'

export function registerInline(program: Command): void {
  program
    .command('inline')
    .description('move the bytes of small objects into the database, or out of it, while servers run')
    .option('--in', 'objects of up to STORAGE_INLINE_SIZE bytes go into the database')
    .option('--out', 'all bytes in the database go to the files, or to the store')
    .option('--bucket <id>', 'only this bucket')
    .option('--dry-run', 'only count what it would move')
    .option('--rate <n>', 'move at most so many objects per second', objectsPerSecond, 500)
    .addHelpText(
      'after',
      `
Compares each object's SHA-256. Nothing changes for clients, and whoever replaces or deletes an object meanwhile has the
last word. Ctrl-C interrupts; the next run goes on there. The exit code is 0 once nothing is left to be moved. Before
--out, set STORAGE_INLINE_SIZE=0 for the servers: else new objects go into the database.`,
    )
    .action(inline)
}

interface InlineCommandOptions {
  in?: boolean
  out?: boolean
  bucket?: string
  dryRun?: boolean
  /** Objects per second. */
  rate: number
}

/** Moves small objects into the database or out of it, or until Ctrl-C, and tells what is left. */
async function inline({
  in: isIn = false,
  out: isOut = false,
  bucket,
  dryRun = false,
  rate,
}: InlineCommandOptions) {
  if (isIn === isOut) throw new ConfigError(['use either --in or --out'])
  const way = isIn ? 'in' : 'out'
  await maintainWith(openOutside, async ({ config, backend, signal, ...parts }) => {
    const { inlineSize } = config
    if (isIn && inlineSize === 0) {
      throw new ConfigError(['STORAGE_INLINE_SIZE is 0, so that no object is for the database'])
    }
    const move = new InlineMove({ ...parts, backend, inlineSize })
    const report = await runMove((show) => {
      const onProgress = (state: InlineMoveState) =>
        show(summary(state), state.total === 0 ? 1 : state.moved / state.total)
      return move.run(way, { bucket, dryRun, rate, signal, waitMs: TURN_WAIT_MS, onProgress })
    })
    if (report === null) return
    if (dryRun) {
      process.stdout.write(
        `Dry run, nothing was changed. It would move ${objects(report.total, report.totalBytes)} ${TO[way]}.\n`,
      )
      return
    }
    process.stdout.write(describe(report, way))
    if (report.ending !== 'complete' || report.left > 0) process.exitCode = 1
  })
}

const TO: Record<Way, string> = { in: 'into the database', out: 'out of the database' }

function objects(n: number, bytes: number): string {
  return `${count(n)} ${n === 1 ? 'object' : 'objects'} with ${(bytes / 1e6).toLocaleString('en', { maximumFractionDigits: 1 })} MB`
}

function summary({ moved, total, movedBytes }: InlineMoveState): string {
  return `${objects(moved, movedBytes)} of ${count(total)}`
}

function describe({ moved, movedBytes, left, failures, ending }: InlineMoveReport, way: Way): string {
  const lines = [`${objects(moved, movedBytes)} ${moved === 1 ? 'was' : 'were'} moved ${TO[way]}.`]
  lines.push(...failureLines(failures))
  const others = Math.max(0, left - failures.count)
  if (ending === 'interrupted') lines.push(`Interrupted: ${count(left)} are left. The next run goes on.`)
  else if (ending === 'cleaning') {
    lines.push(`A cleanup is under way for long: ${count(left)} are left. Run this again when it has ended.`)
  } else if (others > 0) lines.push(`${count(others)} have come meanwhile. Run this again.`)
  else if (failures.count === 0) lines.push('Nothing is left.')
  return `${lines.join('\n')}\n`
}

function objectsPerSecond(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('Use a whole number from 1 to 9999999.')
  return Number(text)
}
