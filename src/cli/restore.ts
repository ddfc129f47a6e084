import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { openBackends } from '../backend/open.ts'
import { ConfigError, readConfig } from '../config/config.ts'
import { connectDatabase } from '../database/opening/connect.ts'
import { openForRows } from '../database/opening/open-for-rows.ts'
import { newestWhole } from '../jobs/backup/backups.ts'
import { type Manifest, readManifest } from '../jobs/backup/manifest.ts'
import { findPointInTime } from '../jobs/backup/point-in-time.ts'
import { restoreObjects } from '../jobs/backup/restore-objects.ts'
import type { RestoreReport } from '../jobs/backup/restore-request.ts'
import { restoreWhole, type WholeRestoreReport } from '../jobs/backup/restore-whole.ts'
import type { BackupTarget } from '../jobs/backup/target.ts'
import { createLogger } from '../server/log.ts'
import { InlineBackend } from '../storage/inline/inline-backend.ts'
import { count, megabytes } from './amounts.ts'
import { openFrom, type TargetOptions } from './backup-target.ts'
import { interruption } from './interruption.ts'
import { invocation } from './invocation.ts'
import { maintain } from './maintenance.ts'
import { failureLines } from './move-run.ts'
import { Progress } from './progress.ts'
import { travel } from './time-travel.ts'

export function registerRestore(program: Command): void {
  program
    .command('restore [what]')
    .description(
      'make an empty place what a backup shows, put single objects back, or bring a folder back to what it was',
    )
    .option('--from <target>', 'where the backup lies; STORAGE_BACKUP_TARGET without it')
    .option('--identity <file>', 'the secret key of age, of a target that is encrypted for its recipient')
    .option('--at <time>', 'as it was at this time, such as 2026-11-28T10:15:00Z')
    .addOption(
      new Option(
        '--mode <mode>',
        'into a store that is at work: objects that are missing or damaged, or also those that are others by now',
      ).choices(['missing', 'replace']),
    )
    .option('--bucket <id...>', 'only these buckets, with --mode')
    .option('--prefix <prefix>', 'only objects whose names begin so, with --mode', '')
    .option('--into-bucket <id>', 'into this bucket instead, with --mode and one --bucket')
    .option(
      '--to <prefix>',
      'names that begin so become what <bucket>/<prefix> was, instead of those themselves',
    )
    .option('--dry-run', 'only tell what it would do, with --mode or <bucket>/<prefix>')
    .addHelpText(
      'after',
      `
  strongroom restore [id]                            a backup, to an empty place
  strongroom restore [id] --mode missing             single objects of a backup
  strongroom restore --at <time>                     a backup and the log since (STORAGE_BACKUP_LOG), to an empty place
  strongroom restore <bucket>/<prefix> --at <time>   names that begin so, by the bucket's versions or its trash

Without an id it is the newest backup of the target. Without --mode, STORAGE_DATA_DIR must be empty or not there, and becomes
a data folder: start the server then. An interrupted restore goes on when it is run again.

With --mode it may run beside servers. Nothing is deleted, and what is put back has its id, owner and times.

<bucket>/<prefix> needs no backup and may run beside servers, too: overwritten and deleted names come back, later ones are
deleted, and all of that becomes versions, or goes into the trash. <bucket>/ is the whole bucket.`,
    )
    .action(restore)
}

interface RestoreOptions extends TargetOptions {
  /** RFC 3339. */
  at?: string
  mode?: 'missing' | 'replace'
  bucket?: string[]
  prefix: string
  intoBucket?: string
  to?: string
  dryRun?: boolean
}

/** @param what a backup's id, or `<bucket>/<prefix>` */
async function restore(what: string | undefined, options: RestoreOptions): Promise<void> {
  if (what?.includes('/')) return restoreFolder(what, options)
  if (options.to !== undefined) throw new ConfigError(['--to goes with <bucket>/<prefix> and --at'])
  return restoreBackup(what, options)
}

async function restoreFolder(place: string, options: RestoreOptions): Promise<void> {
  const { at, to, dryRun, prefix, ...others } = options
  if (at === undefined) throw new ConfigError([`${place} is no backup; to bring it back to a time, say --at`])
  if (prefix !== '' || Object.keys(others).length > 0) {
    throw new ConfigError(['<bucket>/<prefix> goes with --at, --to and --dry-run alone'])
  }
  return travel(place, { at, to, dryRun })
}

async function restoreBackup(id: string | undefined, options: RestoreOptions): Promise<void> {
  if (options.mode === undefined) return restoreAll(id, options)
  if (options.at !== undefined)
    throw new ConfigError(['--at is for a whole data folder, and does not go with --mode'])
  if (options.intoBucket !== undefined && options.bucket?.length !== 1) {
    throw new ConfigError(['--into-bucket is for the objects of one --bucket'])
  }
  return restoreSome(id, options, options.mode)
}

async function restoreAll(id: string | undefined, options: RestoreOptions): Promise<void> {
  const single = options.bucket ?? options.intoBucket ?? options.dryRun ?? (options.prefix || undefined)
  if (single !== undefined)
    throw new ConfigError(['--bucket, --prefix, --into-bucket and --dry-run go with --mode'])
  const at = readTime(id, options.at)
  const config = readConfig(process.env)
  const logger = createLogger(process.stderr.isTTY ? 'error' : config.logLevel, { stream: process.stderr })
  const interrupted = interruption()
  const dataDir = resolve(config.dataDir)
  const { databaseUrl, databaseDirectUrl } = config
  const place = { databaseUrl, databaseDirectUrl, dataDir, logger, onLost: () => interrupted.abort() }
  const target = await openFrom(options, config)
  const progress = new Progress()
  try {
    const { signal } = interrupted
    const point = at && (await findPointInTime(target, at))
    const report = await restoreWhole({
      target,
      id: point ? point.backup.id : (await find(target, id)).id,
      point,
      dataDir,
      isOwnDatabase: databaseUrl !== undefined,
      openForRows: (schema) => openForRows(place, schema),
      openDatabase: () => connectDatabase({ ...place, connections: 10 }),
      openBackend: async (database) => new InlineBackend(await openBackends(config), database),
      logger,
      signal,
      onProgress: (what, done, total) =>
        progress.show(`${what}: ${count(done)} of ${count(total)}`, total === 0 ? 1 : done / total),
    })
    progress.clear()
    process.stdout.write(describeWhole(report, dataDir, at))
    if (report.failures.count > 0) process.exitCode = 1
  } catch (error) {
    progress.clear()
    if (!interrupted.signal.aborted) throw error
    process.stdout.write('Interrupted: run the same again, and it goes on.\n')
    process.exitCode = 1
  } finally {
    await target.close()
  }
}

/** @throws ConfigError for what is no time, or where a backup is named, too */
function readTime(id: string | undefined, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  if (id !== undefined)
    throw new ConfigError(['--at finds its backup by itself: leave the id out; or name a <bucket>/<prefix>'])
  if (z.iso.datetime({ offset: true }).safeParse(text).success) return new Date(text)
  throw new ConfigError([`--at: ${text} is not a time such as 2026-11-28T10:15:00Z`])
}

async function restoreSome(
  id: string | undefined,
  options: RestoreOptions,
  mode: 'missing' | 'replace',
): Promise<void> {
  const { bucket: buckets = null, prefix, intoBucket = null, dryRun = false } = options
  const progress = new Progress()
  await maintain(async ({ config, database, backend, logger, signal }) => {
    const target = await openFrom(options, config)
    try {
      const manifest = await find(target, id)
      const parts = { database, backend, target, inlineSize: config.inlineSize, logger }
      const request = { manifest, mode, buckets, prefix, intoBucket, dryRun, signal }
      const total = manifest.totals.objects
      const onProgress = (done: number) =>
        progress.show(`${count(done)} of ${count(total)} objects`, done / total)
      const report = await restoreObjects(parts, { ...request, onProgress }).finally(() => progress.clear())
      process.stdout.write(describeSome(report, dryRun))
      if (report.failures.count > 0) process.exitCode = 1
    } finally {
      await target.close()
    }
  })
}

function find(target: BackupTarget, id: string | undefined): Promise<Manifest> {
  return id === undefined ? newestWhole(target) : readManifest(target, id)
}

function describeWhole(
  { manifest, versions, bytes, hasKeys, failures }: WholeRestoreReport,
  dataDir: string,
  at: Date | undefined,
): string {
  const { id, moment, totals, with_keys: hadKeys, database } = manifest
  const lines = [
    (at === undefined
      ? `Restored backup ${id} of ${moment} to ${dataDir}: ${count(totals.objects)} objects; `
      : `Restored ${at.toISOString()} to ${dataDir}, from backup ${id} of ${moment} and the log since; `) +
      `the bytes of ${count(versions)} versions, ${megabytes(bytes)}, are in their places.`,
    ...failureLines(failures, 'Not restored'),
  ]
  if (database.kind === 'own')
    lines.push('What is outside of the schema storage is not in it: restore that from your own backup.')
  if (hadKeys && hasKeys)
    lines.push('The keys are those of the backup: tokens and signed URLs from before are valid.')
  else
    lines.push(
      'The backup has no keys: the first start makes new ones, unless the settings have the old secrets.',
    )
  lines.push(`Start it: ${invocation()} serve`)
  return `${lines.join('\n')}\n`
}

function describeSome({ created, replaced, kept, bytes, failures }: RestoreReport, dryRun: boolean): string {
  const would = dryRun ? 'Dry run, nothing was changed. It would be: ' : ''
  const lines = [
    `${would}${count(created)} objects created, ${count(replaced)} replaced, ${megabytes(bytes)}; ${count(kept)} kept as they are.`,
    ...failureLines(failures, 'Not restored'),
  ]
  return `${lines.join('\n')}\n`
}
