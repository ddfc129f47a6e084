import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Backend } from '../backend/backend.ts'
import { openBackend, openExisting } from '../backend/open.ts'
import { type BackendKind, type Config, ConfigError } from '../config/config.ts'
import { BACKENDS } from '../config/table.ts'
import type { MoveState } from '../database/queries/backend-moves.ts'
import { BackendMove, type MoveReport } from '../jobs/backend-move.ts'
import { count, megabytes } from './amounts.ts'
import { maintainWith } from './maintenance.ts'
import { failureLines, runMove } from './move-run.ts'

export function registerMigrateBackend(program: Command): void {
  program
    .command('migrate-backend')
    .description('copy the bytes of all objects to another backend, while servers run')
    .addOption(backendOption('--from <backend>', 'where the bytes are'))
    .addOption(backendOption('--to <backend>', 'where they go'))
    .option('--parallel <n>', 'how many objects are copied at once', copies, 8)
    .addHelpText(
      'after',
      `
Copies what is not there yet, compares each object's SHA-256, and deletes nothing. Ctrl-C interrupts; the next run goes
on there. The exit code is 0 once everything is in the other backend. docs/s3-store.md tells how to switch over without
a gap.`,
    )
    .action(migrateBackend)
}

interface MigrateBackendOptions {
  from: BackendKind
  to: BackendKind
  /** How many objects are copied at once. */
  parallel: number
}

/** Copies the bytes of all objects from one backend to another, or until Ctrl-C, and tells what to do next. */
async function migrateBackend({ from, to, parallel }: MigrateBackendOptions): Promise<void> {
  if (from === to) throw new ConfigError(['--from and --to must be different backends'])
  const open = (config: Config) => openBoth(from, to, config)
  await maintainWith(open, async ({ config, database, backend: { source, target }, logger, signal }) => {
    const direction = { source: from, target: to }
    const move = new BackendMove({
      database,
      source,
      target,
      isTargetRead: config.backend === to,
      direction,
      logger,
    })
    const report = await runMove((show) => {
      const onProgress = (state: MoveState, pass: number) =>
        show(`${pass > 1 ? 'once more: ' : ''}${summary(state)}`, share(state))
      return move.run({ parallel, signal, onProgress })
    })
    if (report === null) return
    process.stdout.write(describe(report, { from, to, now: config.backend }))
    if (report.ending !== 'complete' || report.failures.count > 0) process.exitCode = 1
  })
}

interface BothBackends {
  source: Backend
  target: Backend
  close(): Promise<void>
}

async function openBoth(from: BackendKind, to: BackendKind, config: Config): Promise<BothBackends> {
  if (!config.s3)
    throw new ConfigError(['STORAGE_S3_BUCKET is needed for S3: set it in the environment or .env'])
  const source = await openExisting(from, config)
  const target = await openBackend(to, config)
  return { source, target, close: async () => void (await Promise.all([source.close(), target.close()])) }
}

function summary({ done, total, doneBytes, totalBytes }: MoveState): string {
  const left = megabytes(Math.max(0, totalBytes - doneBytes))
  return `${count(done)} of ${count(total)} objects, ${megabytes(doneBytes)} of ${megabytes(totalBytes)}, ${left} left`
}

function share({ done, total, doneBytes, totalBytes }: MoveState): number {
  // An object without bytes takes its time as well.
  return total === 0 ? 1 : (done / total + (totalBytes === 0 ? done / total : doneBytes / totalBytes)) / 2
}

function describe(
  { state, copied, copiedBytes, inTarget, ending, failures }: MoveReport,
  { from, to, now }: { from: BackendKind; to: BackendKind; now: BackendKind },
): string {
  const all = Math.max(inTarget, state.total)
  const were = (n: number) => `${count(n)} ${n === 1 ? 'object' : 'objects'}`
  const run = `${were(copied)} with ${megabytes(copiedBytes)} ${copied === 1 ? 'was' : 'were'} copied from ${from} to ${to}`
  const there = `${count(Math.max(0, inTarget - copied))} were there already`
  const lines: string[] = []
  if (ending !== 'complete') lines.push(`${run}.`)
  else if (failures.count === 0) lines.push(`${run}, ${there}; all ${count(inTarget)} are in ${to} now.`)
  else
    lines.push(
      `${run}, ${there}; ${count(inTarget)} of ${count(inTarget + failures.count)} are in ${to} now.`,
    )
  lines.push(...failureLines(failures))
  if (ending === 'interrupted') {
    lines.push(`Interrupted: ${count(inTarget)} of ${count(all)} objects are in ${to}. The next run goes on.`)
  } else if (ending === 'busy') {
    lines.push(`A server goes on writing to ${from}. Stop it, and run this again for the rest.`)
  } else if (failures.count > 0) {
    lines.push(
      `All other objects are in ${to}. Restore those above in ${from}, upload them again or delete them; then run this again.`,
    )
  } else if (now === to) {
    lines.push(`All objects are in ${to}. Restart the servers without STORAGE_BACKEND_PREVIOUS.`)
  } else {
    lines.push(
      `All objects are in ${to} that were there at this moment. If a server still writes to ${from}, stop it and run`,
      `this again for the rest; then start it with STORAGE_BACKEND=${to}.`,
    )
  }
  if (ending === 'complete') lines.push(`Nothing was deleted from ${from}: docs/s3-store.md tells how.`)
  return `${lines.join('\n')}\n`
}

function backendOption(flags: string, description: string): Option {
  return new Option(flags, description).choices(BACKENDS).makeOptionMandatory()
}

function copies(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError('Use a whole number from 1 to 999.')
  return Number(text)
}
