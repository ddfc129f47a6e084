import type { Command } from 'commander'
import type { CleanupReport, Repair } from '../jobs/cleanup/pass.ts'
import { OrphanCleanup } from '../jobs/orphan-cleanup.ts'
import { maintain, TURN_WAIT_MS } from './maintenance.ts'
import { Progress } from './progress.ts'

export function registerCleanup(program: Command): void {
  program
    .command('cleanup')
    .description('repair drift between files and their rows, as a running server does by itself every hour')
    .option('--dry-run', 'only tell what it would do')
    .option('--bucket <id>', 'only this bucket')
    .addHelpText(
      'after',
      `
Uploads that nobody finishes, bytes that nothing names, and rows whose bytes are gone, if they were left alone for
STORAGE_CLEANUP_GRACE (5m). May run beside servers. One pass makes at most STORAGE_CLEANUP_BATCH (1000) repairs.`,
    )
    .action(cleanUp)
}

interface CleanupOptions {
  dryRun?: boolean
  bucket?: string
}

/** Makes one pass of the cleanup and tells what it did. */
async function cleanUp({ dryRun = false, bucket }: CleanupOptions): Promise<void> {
  const progress = new Progress()
  await maintain(async ({ config, signal, ...parts }) => {
    const cleanup = new OrphanCleanup({ ...config.cleanup, ...parts })
    const onProgress = (step: string, done: number) => progress.show(`${step}: ${done.toLocaleString('en')}`)
    const report = await cleanup
      .pass({ dryRun, bucket, signal, waitMs: TURN_WAIT_MS, onProgress })
      .finally(() => progress.clear())
    if (report === null) {
      process.stdout.write('Another server is cleaning up at this moment; nothing was done.\n')
      return
    }
    process.stdout.write(describe(report))
    if (report.failures > 0) process.exitCode = 1
  })
}

const LABELS: Record<Repair, string> = {
  staleUpload: 'uploads given up',
  removal: 'deleted or replaced versions whose bytes were removed',
  unfinished: 'writes that nobody finished, abandoned',
  unnamedBytes: 'files that nothing named, removed',
  missing: 'objects without bytes, marked; a later pass deletes them',
  released: 'marked objects whose bytes are back',
  deleted: 'objects deleted whose bytes stayed away',
  folders: 'deleted buckets whose folders were removed',
}

function describe({ dryRun, repairs, held, failures, isFull }: CleanupReport): string {
  const lines = Object.entries(LABELS).map(
    ([repair, label]) => `${String(repairs[repair as Repair]).padStart(8)}  ${label}`,
  )
  lines.unshift(dryRun ? 'Dry run, nothing was changed. It would be:' : 'Done:')
  for (const { bucket, reason } of held) lines.push(`Left alone, ${bucket}: ${reason}.`)
  if (failures > 0) lines.push(`${failures} repairs failed; the log says why, and the next pass tries again.`)
  if (isFull) lines.push('There may be more: a pass makes only so many repairs (STORAGE_CLEANUP_BATCH).')
  return `${lines.join('\n')}\n`
}
