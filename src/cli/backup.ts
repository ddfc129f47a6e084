import { resolve } from 'node:path'
import type { Command } from 'commander'
import { ConfigError } from '../config/config.ts'
import { asService } from '../database/as-caller.ts'
import { findJob, type NewBackupJob } from '../database/queries/backup-jobs.ts'
import { BackupError } from '../jobs/backup/backup-error.ts'
import { deleteBackup, listBackups, newestWhole } from '../jobs/backup/backups.ts'
import { Deeds } from '../jobs/backup/deeds.ts'
import { type Manifest, readManifest } from '../jobs/backup/manifest.ts'
import { runNow } from '../jobs/backup/runner.ts'
import type { Failures } from '../jobs/failures.ts'
import { giveWay } from '../lib/low-priority.ts'
import { printable } from '../lib/printable.ts'
import { uuidV7 } from '../lib/uuid.ts'
import { createLogger } from '../server/log.ts'
import { type DrillReport, drill } from './backup-drill.ts'
import { type TargetOptions, withTarget } from './backup-target.ts'
import { registerVerify } from './backup-verify.ts'
import { maintain } from './maintenance.ts'
import { failureLines } from './move-run.ts'
import { Progress } from './progress.ts'

export function registerBackup(program: Command): void {
  const backup = program.command('backup').description('make backups, while servers run, and look after them')
  backup
    .command('create')
    .description('make a backup: all rows of this moment, and exactly the bytes that they name')
    .option('--to <target>', 'a folder, or s3://bucket/prefix; STORAGE_BACKUP_TARGET without it')
    .option('--incremental', 'only what the newest backup of the target has not')
    .option('--bucket <id...>', 'only these buckets, without the database itself')
    .option(
      '--with-keys',
      'also keys.json and other secrets: whoever has the backup can act as the server then',
    )
    .option('--description <text>', 'what it is for', '')
    .option('--json', 'print the manifest')
    .action(create)
  backup
    .command('list')
    .description('list the backups of a target, the newest first')
    .option('--from <target>', 'the target; STORAGE_BACKUP_TARGET without it')
    .option('--json', 'print a manifest in each line')
    .action(list)
  registerVerify(backup)
  backup
    .command('drill [id]')
    .description(
      'restore a backup to a temporary folder, start a server on it, and ask that for every object',
    )
    .option('--from <target>', 'the target; STORAGE_BACKUP_TARGET without it')
    .option('--identity <file>', 'the secret key of age, of a target that is encrypted for its recipient')
    .option(
      '--folder <folder>',
      'where there is room for all of it; the folder for temporary files without it',
    )
    .option('--json', 'print the report')
    .action(tryOut)
  backup
    .command('delete <id>')
    .description('delete a backup upon which no other one is made')
    .option('--from <target>', 'the target; STORAGE_BACKUP_TARGET without it')
    .action(remove)
  backup.addHelpText(
    'after',
    `
verify and drill take the newest backup without an id. Their exit code is 1 when anything is wrong: both are for a cron job.`,
  )
}

interface CreateOptions {
  to?: string
  incremental?: boolean
  bucket?: string[]
  withKeys?: boolean
  description: string
  json?: boolean
}

/** Makes a backup here and now, beside servers or without one. */
async function create(options: CreateOptions): Promise<void> {
  const {
    to,
    incremental = false,
    bucket: buckets = null,
    withKeys = false,
    description,
    json = false,
  } = options
  giveWay()
  const progress = new Progress()
  await maintain(async ({ config, database, backend, logger, signal }) => {
    const target = absolute(to ?? config.backup.target)
    let made: { manifest: Manifest; failures: Failures } | undefined
    const onBackup = (manifest: Manifest, failures: Failures) => {
      made = { manifest, failures }
    }
    const deeds = new Deeds({ config, database, backend, logger, onBackup, onProgress: show })
    const wanted: NewBackupJob = {
      id: uuidV7(),
      kind: 'backup',
      type: incremental ? 'incremental' : 'full',
      target,
      parent: null,
      description,
      buckets,
      includeVersions: true,
      includeTrash: false,
      request: withKeys ? { withKeys } : {},
      retentionDays: null,
      createdBy: 'command',
    }
    const parts = { database, deeds, retentionDays: config.backup.retentionDays, logger }
    const run = await runNow(parts, wanted, signal).finally(() => progress.clear())
    if (run === null)
      throw new ConfigError(['another backup or a restore is under way: try again when it has ended'])
    if (!made) {
      const failed = await asService(database, (tx) => findJob(tx, wanted.id))
      throw new BackupError('Interrupted', failed?.error ?? 'The backup has failed: the log says why')
    }
    process.stdout.write(
      json ? `${JSON.stringify(made.manifest)}\n` : describe(made.manifest, made.failures, target),
    )
    if (made.failures.count > 0) process.exitCode = 1
  })

  function show(share: number): void {
    progress.show(`backup: ${Math.floor(share * 100)} %`, share)
  }
}

interface ListOptions extends TargetOptions {
  json?: boolean
}

function list({ json = false, ...options }: ListOptions): Promise<void> {
  return withTarget(options, async (target) => {
    let count = 0
    const onUnreadable = ({ error }: { error: Error }) =>
      void process.stderr.write(`strongroom: ${error.message}\n`)
    for await (const manifest of listBackups(target, onUnreadable)) {
      count++
      process.stdout.write(json ? `${JSON.stringify(manifest)}\n` : `${line(manifest)}\n`)
    }
    if (count === 0 && !json) process.stdout.write(`There are no backups in ${target.name}.\n`)
  })
}

interface DrillCommandOptions extends TargetOptions {
  folder?: string
  json?: boolean
}

function tryOut(
  id: string | undefined,
  { folder, json = false, ...options }: DrillCommandOptions,
): Promise<void> {
  const progress = new Progress()
  return withTarget(options, async (target, signal) => {
    const manifest = id === undefined ? await newestWhole(target) : await readManifest(target, id)
    const logger = createLogger('error', { stream: process.stderr })
    const onProgress = (step: string, share: number) => progress.show(step, share)
    const parts = { target, id: manifest.id, folder, logger, signal, onProgress }
    const report = await drill(parts).finally(() => progress.clear())
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : describeDrill(manifest, report))
    if (report.answered < report.objects) process.exitCode = 1
  })
}

function remove(id: string, options: TargetOptions): Promise<void> {
  return withTarget(options, async (target) => {
    await deleteBackup(target, id)
    process.stdout.write(`Backup ${id} is gone from ${target.name}.\n`)
  })
}

function describeDrill({ id }: Manifest, { objects, answered, bytes, wrong }: DrillReport): string {
  const lines = [
    `A server on what backup ${id} restores has answered ${number(answered)} of ${number(objects)} objects rightly, ${megabytes(bytes)}.`,
    ...wrong.map((object) => `Wrong: ${printable(object)}`),
  ]
  return `${lines.join('\n')}\n`
}

/** A folder may be named from elsewhere later, by a server. */
function absolute(target: string): string {
  return /^s3:/i.test(target) ? target : resolve(target)
}

const number = (n: number) => n.toLocaleString('en')
const megabytes = (bytes: number) => `${(bytes / 1e6).toLocaleString('en', { maximumFractionDigits: 1 })} MB`

function line({ id, type, moment, totals, buckets, with_keys, damaged, description }: Manifest): string {
  const about = [
    `${number(totals.objects)} objects`,
    `${megabytes(totals.bytes)} (${megabytes(totals.new_bytes)} new)`,
    ...(buckets ? [`of ${buckets.length} buckets`] : []),
    ...(with_keys ? ['with keys'] : []),
    ...(damaged > 0 ? [`${number(damaged)} objects damaged`] : []),
    ...(description ? [description] : []),
  ]
  return `${id}  ${moment.slice(0, 19)}Z  ${type.padEnd(11)}  ${about.join(', ')}`
}

function describe(manifest: Manifest, failures: Failures, target: string): string {
  const lines = [
    `Backup ${manifest.id} is in ${target}:`,
    line(manifest),
    ...failureLines(failures, 'Not in it'),
  ]
  if (manifest.with_keys) lines.push('It has the secrets of the server: keep it as you keep those.')
  else lines.push('It has no secrets: keep keys.json elsewhere, or the settings that have them.')
  if (manifest.database.kind === 'own') {
    lines.push(
      'Of the database it has the schema storage alone. What else is there, you back up yourself (pg_dump).',
    )
  }
  return `${lines.join('\n')}\n`
}
