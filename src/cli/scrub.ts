import { quarantined } from '../database/queries/drift.ts'
import type { ScrubState } from '../database/queries/scrubs.ts'
import { Scrub } from '../jobs/scrub.ts'
import { printable } from '../lib/printable.ts'
import { maintain, TURN_WAIT_MS } from './maintenance.ts'
import { Progress } from './progress.ts'

export interface ScrubCommandOptions {
  bucket?: string
  /** Bytes per second. */
  rate: number
  restart?: boolean
}

/** How many damaged objects the report names. */
const NAMED = 1000

/** Scrubs to the end, or until Ctrl-C, and tells what is damaged. */
export async function scrubCommand({ bucket, rate, restart = false }: ScrubCommandOptions): Promise<void> {
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
    for (const { bucketId, name, reason } of damaged) {
      process.stdout.write(`${reason.padEnd(9)}  ${printable(`${bucketId}/${name}`)}\n`)
    }
    if (damaged.length > 0) process.exitCode = 1
  })
}

function summary({ checked, total, bytes, corrupted, missing }: ScrubState): string {
  const count = (n: number) => n.toLocaleString('en')
  return `${count(checked)} of ${count(total)} objects, ${count(Math.round(bytes / 1e6))} MB; ${corrupted} corrupted, ${missing} missing`
}
