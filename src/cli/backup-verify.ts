import type { Command } from 'commander'
import { ConfigError } from '../config/config.ts'
import { listBackups } from '../jobs/backup/backups.ts'
import type { VerifyProgress } from '../jobs/backup/compared-files.ts'
import type { Finding } from '../jobs/backup/findings.ts'
import type { BackupTarget } from '../jobs/backup/target.ts'
import { type VerifyReport, verifyBackup } from '../jobs/backup/verify.ts'
import { type LogReport, verifyLog } from '../jobs/backup/verify-log.ts'
import { printable } from '../lib/printable.ts'
import { count, megabytes } from './amounts.ts'
import { type TargetOptions, withTarget } from './backup-target.ts'
import { Progress } from './progress.ts'

export function registerVerify(backup: Command): void {
  backup
    .command('verify')
    .argument('[id]', 'which backup; the newest without it')
    .description('read all of a backup again, and the log beside it, and compare them with what was written')
    .option('--from <target>', 'where the backup lies; STORAGE_BACKUP_TARGET without it')
    .option('--identity <file>', 'the secret key of age, of a target that is encrypted for its recipient')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      `
What is missing, changed or too much is named, with the objects that it concerns. The exit code is 1 if anything is.`,
    )
    .action(verify)
}

interface VerifyCommandOptions extends TargetOptions {
  json?: boolean
}

/** No server and no database is asked: what is in the target is enough. */
function verify(id: string | undefined, { json = false, ...options }: VerifyCommandOptions): Promise<void> {
  const progress = new Progress()
  return withTarget(options, async (target, signal) => {
    const chosen = id ?? (await newestIn(target))
    const report = await verifyBackup(target, chosen, {
      signal,
      onProgress: (read) => progress.show(`verify: ${amount(read)}`),
    }).finally(() => progress.clear())
    const log = await verifyLog(target, signal)
    const text = describe(chosen, report, target) + (log === null ? '' : describeLog(log))
    process.stdout.write(json ? `${JSON.stringify({ ...report, log })}\n` : text)
    if (report.count + (log?.count ?? 0) > 0) process.exitCode = 1
  })
}

async function newestIn(target: BackupTarget): Promise<string> {
  for await (const { id } of listBackups(target)) return id
  throw new ConfigError([`There is no whole backup in ${target.name}`])
}

function amount({ files, bytes }: VerifyProgress): string {
  return `${count(files)} files, ${megabytes(bytes)}`
}

function describe(id: string, report: VerifyReport, { name }: BackupTarget): string {
  const { backups, objects, findings, count: faults, damaged } = report
  const lines = [...findings.map(line), ...damaged.map((object) => `lost before  ${printable(object)}`)]
  if (faults > findings.length) lines.push(`… and ${count(faults - findings.length)} more`)
  const upon = backups.length > 1 ? ` and the ${backups.length - 1} that it builds on` : ''
  const result = faults === 0 ? 'is whole' : `has ${count(faults)} faults`
  lines.push(`Backup ${id}${upon} in ${name} ${result}: ${count(objects)} objects, ${amount(report)} read.`)
  return `${lines.join('\n')}\n`
}

function describeLog({ findings, count: faults, files, bytes }: LogReport): string {
  const lines = findings.map(line)
  if (faults > findings.length) lines.push(`… and ${count(faults - findings.length)} more`)
  const result = faults === 0 ? 'is whole' : `has ${count(faults)} faults`
  lines.push(`The log ${result}: ${amount({ files, bytes })} read.`)
  return `${lines.join('\n')}\n`
}

function line({ kind, path, why, objects }: Finding): string {
  const concerned = objects.length > 0 ? ` (${objects.map((object) => printable(object)).join(', ')})` : ''
  return `${kind.padEnd(11)}  ${path} ${why}${concerned}`
}
