import { type Command, InvalidArgumentError } from 'commander'
import { quarantined } from '../database/queries/objects-to-check.ts'
import type { ScrubState } from '../database/queries/scrubs.ts'
import { Scrub } from '../jobs/scrub.ts'
import { printable } from '../lib/printable.ts'
import { parseByteSize } from '../lib/units.ts'
import { count, megabytes } from './amounts.ts'
import { maintain, TURN_WAIT_MS } from './maintenance.ts'
import { Progress } from './progress.ts'

export function registerScrub(program: Command): void {
  program
    .command('scrub')
    .description('read every object and compare its SHA-256, to find what the disk has damaged')
    .option('--bucket <id>', 'only this bucket')
    .option('--rate <size>', 'read at most so much per second, such as 100MB', byteSize, 100_000_000)
    .option('--restart', 'begin anew, not where an interrupted scrub has stopped')
    .addHelpText(
      'after',
      `
Damaged objects are marked, listed at the end, and not served any more. Ctrl-C interrupts; the next scrub goes on
there. The exit code is 1 if anything is damaged or missing.`,
    )
    .action(scrub)
}

interface ScrubCommandOptions {
  bucket?: string
  /** Bytes per second. */
  rate: number
  restart?: boolean
}

/** How many damaged objects the report names. */
const NAMED = 1000

/** Scrubs to the end, or until Ctrl-C, and tells what is damaged. */
async function scrub({ bucket, rate, restart = false }: ScrubCommandOptions): Promise<void> {
  const progress = new Progress()
  await maintain(async ({ signal, database, ...parts }) => {
    const state = await new Scrub({ database, ...parts }).run({
      bucket,
      rate,
      restart,
      signal,
      waitMs: TURN_WAIT_MS,
      onResume: () =>
        process.stdout.write('Going on with the scrub that was interrupted; --restart begins anew.\n'),
      onProgress: (state) => progress.show(summary(state), state.total > 0 ? state.checked / state.total : 1),
    })
    progress.clear()
    if (state === null) {
      process.stdout.write('Another process is scrubbing at this moment; nothing was done.\n')
      return
    }
    process.stdout.write(`${summary(state)}\n`)
    if (!state.isFinished) process.stdout.write('Interrupted; the next scrub goes on here.\n')
    const damaged = await quarantined(database, bucket, NAMED)
    for (const { bucketId, name, version, reason } of damaged) {
      const which = version === null ? '' : `  version ${printable(version)}`
      process.stdout.write(`${reason.padEnd(9)}  ${printable(`${bucketId}/${name}`)}${which}\n`)
    }
    if (damaged.length > 0) process.exitCode = 1
  })
}

function summary({ checked, total, bytes, corrupted, missing }: ScrubState): string {
  return `${count(checked)} of ${count(total)} objects, ${megabytes(bytes)}; ${corrupted} corrupted, ${missing} missing`
}

function byteSize(text: string): number {
  const bytes = parseByteSize(text)
  if (bytes === null || bytes <= 0) throw new InvalidArgumentError('Use a size such as 100MB.')
  return bytes
}
