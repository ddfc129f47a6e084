import { resolve } from 'node:path'
import type { Command } from 'commander'
import { readConfig } from '../config/config.ts'
import { connectBeside } from '../database/opening/connect.ts'
import { noteDrill } from '../database/queries/backup-outcomes.ts'
import { newestWhole } from '../jobs/backup/backups.ts'
import { type Manifest, readManifest } from '../jobs/backup/manifest.ts'
import { printable } from '../lib/printable.ts'
import { uuidV7 } from '../lib/uuid.ts'
import { createLogger } from '../server/log.ts'
import { count, megabytes } from './amounts.ts'
import { hasDatabase, type TargetOptions, withTarget } from './backup-target.ts'
import { type DrillReport, drill } from './drill.ts'
import { Progress } from './progress.ts'

export function registerDrill(backup: Command): void {
  backup
    .command('drill [id]')
    .description(
      'restore a backup to a temporary folder, start a server on it, and ask that for every object and version',
    )
    .option('--from <target>', 'the target; STORAGE_BACKUP_TARGET without it')
    .option('--identity <file>', 'the secret key of age, of a target that is encrypted for its recipient')
    .option(
      '--folder <folder>',
      'where there is room for all of it; the folder for temporary files without it',
    )
    .option('--json', 'print the report')
    .action(tryOut)
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
    const startedAt = new Date()
    const manifest = id === undefined ? await newestWhole(target) : await readManifest(target, id)
    const logger = createLogger('error', { stream: process.stderr })
    const onProgress = (step: string, share: number) => progress.show(step, share)
    const parts = { target, id: manifest.id, folder, logger, signal, onProgress }
    const about = { backup: manifest.id, target: target.name, startedAt }
    let report: DrillReport
    try {
      report = await drill(parts).finally(() => progress.clear())
    } catch (error) {
      if (!signal.aborted) await note({ ...about, report: NOTHING, error: String(error) })
      throw error
    }
    const wrong = wrongIn(report)
    await note({
      ...about,
      report,
      error: wrong === 0 ? null : `${count(wrong)} objects or versions were answered wrongly`,
    })
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : describe(manifest, report))
    if (wrong > 0) process.exitCode = 1
  })
}

const NOTHING: DrillReport = { objects: 0, versions: 0, answered: 0, bytes: 0, wrong: [] }

interface Drilled {
  /** Its id. */
  backup: string
  target: string
  startedAt: Date
  report: DrillReport
  /** Null when all was right. */
  error: string | null
}

/** Where servers tell how old the last drill is, if their database is here. It was one, whether that can be noted or not. */
async function note({ report, ...drilled }: Drilled): Promise<void> {
  const config = readConfig(process.env)
  if (!hasDatabase(config)) return
  try {
    const database = await connectBeside({
      ...config,
      dataDir: resolve(config.dataDir),
      connections: 1,
      logger: createLogger('error', { stream: process.stderr }),
      onLost: () => {},
    })
    try {
      await noteDrill(database, {
        ...drilled,
        id: uuidV7(drilled.startedAt),
        objectCount: report.objects,
        totalBytes: report.bytes,
        damaged: wrongIn(report),
      })
    } finally {
      await database.close()
    }
  } catch (error) {
    process.stderr.write(`strongroom: servers will not tell of this drill: ${String(error)}\n`)
  }
}

function wrongIn({ objects, versions, answered }: DrillReport): number {
  return objects + versions - answered
}

function describe({ id }: Manifest, { objects, versions, answered, bytes, wrong }: DrillReport): string {
  const asked =
    versions === 0 ? `${count(objects)} objects` : `${count(objects + versions)} objects and versions`
  const lines = [
    `A server on what backup ${id} restores has answered ${count(answered)} of ${asked} rightly, ${megabytes(bytes)}.`,
    ...wrong.map((object) => `Wrong: ${printable(object)}`),
  ]
  return `${lines.join('\n')}\n`
}
