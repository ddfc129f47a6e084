import { resolve } from 'node:path'
import type { Command } from 'commander'
import { ConfigError, readConfig } from '../config/config.ts'
import { asService } from '../database/as-caller.ts'
import { findJob, type NewBackupJob } from '../database/queries/backup-jobs.ts'
import { forgetBackup } from '../database/queries/backup-work.ts'
import { BackupError } from '../jobs/backup/backup-error.ts'
import { inBackupTurn } from '../jobs/backup/backup-turn.ts'
import { deleteBackup, listBackups } from '../jobs/backup/backups.ts'
import { Deeds } from '../jobs/backup/deeds.ts'
import type { Manifest } from '../jobs/backup/manifest.ts'
import { runNow } from '../jobs/backup/runner.ts'
import type { BackupTarget } from '../jobs/backup/target.ts'
import type { Failures } from '../jobs/failures.ts'
import { uuidV7 } from '../lib/uuid.ts'
import { count } from './amounts.ts'
import { registerDrill } from './backup-drill.ts'
import { hasDatabase, openFrom, type TargetOptions, withTarget } from './backup-target.ts'
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
    .option('--without-versions', 'without the versions of before, and markers')
    .option('--with-trash', 'also what is in the trash')
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
  registerDrill(backup)
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
  withoutVersions?: boolean
  withTrash?: boolean
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
    withoutVersions = false,
    withTrash = false,
    withKeys = false,
    description,
    json = false,
  } = options
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
      includeVersions: !withoutVersions,
      includeTrash: withTrash,
      request: withKeys ? { withKeys } : {},
      retentionDays: null,
      createdBy: 'command',
    }
    const parts = { database, deeds, retentionDays: config.backup.retentionDays, logger }
    const run = await runNow(parts, wanted, { signal }).finally(() => progress.clear())
    if (run === null) throw new ConfigError([UNDER_WAY])
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
    let found = 0
    const onUnreadable = ({ error }: { error: Error }) =>
      void process.stderr.write(`strongroom: ${error.message}\n`)
    for await (const manifest of listBackups(target, onUnreadable)) {
      found++
      process.stdout.write(json ? `${JSON.stringify(manifest)}\n` : `${line(manifest)}\n`)
    }
    if (found === 0 && !json) process.stdout.write(`There are no backups in ${target.name}.\n`)
  })
}

/** Where there is a database, in the turn of backups: none is made meanwhile that could build on it. */
async function remove(id: string, options: TargetOptions): Promise<void> {
  const gone = (target: BackupTarget) => process.stdout.write(`Backup ${id} is gone from ${target.name}.\n`)
  if (!hasDatabase(readConfig(process.env))) {
    return withTarget(options, async (target) => {
      await deleteBackup(target, id)
      gone(target)
    })
  }
  await maintain(async ({ config, database, signal }) => {
    const target = await openFrom(options, config)
    try {
      const work = async () => {
        await deleteBackup(target, id)
        await forgetBackup(database, id)
        return true
      }
      const done = await inBackupTurn(database, work, { signal })
      if (done === null) throw new ConfigError([UNDER_WAY])
      gone(target)
    } finally {
      await target.close()
    }
  })
}

const UNDER_WAY = 'another backup or a restore is under way: try again when it has ended'

/** A folder may be named from elsewhere later, by a server. */
function absolute(target: string): string {
  return /^s3:/i.test(target) ? target : resolve(target)
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toLocaleString('en', { maximumFractionDigits: 1 })} MB`

function line({ id, type, moment, totals, buckets, with_keys, damaged, description }: Manifest): string {
  const about = [
    `${count(totals.objects)} objects`,
    `${megabytes(totals.bytes)} (${megabytes(totals.new_bytes)} new)`,
    ...(buckets ? [`of ${buckets.length} buckets`] : []),
    ...(with_keys ? ['with keys'] : []),
    ...(damaged > 0 ? [`${count(damaged)} objects damaged`] : []),
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
