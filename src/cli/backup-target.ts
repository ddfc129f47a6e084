import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Config, readConfig } from '../config/config.ts'
import { openTarget } from '../jobs/backup/open-target.ts'
import type { BackupTarget } from '../jobs/backup/target.ts'
import { interruption } from './interruption.ts'

/** Which target a command is about, and how it is read. */
export interface TargetOptions {
  /** Without it that of the settings. */
  from?: string
  /** A file with the secret key of age; without it that of the settings. */
  identity?: string
}

/** @throws as `openTarget` */
export async function openFrom({ from, identity }: TargetOptions, config: Config): Promise<BackupTarget> {
  return openTarget(from ?? config.backup.target, config, { identityFile: identity })
}

/** Opens a target without any server or database, works with it until Ctrl-C, and closes it. @throws as `openFrom` and `work` */
export async function withTarget(
  options: TargetOptions,
  work: (target: BackupTarget, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { signal } = interruption()
  const target = await openFrom(options, readConfig(process.env))
  try {
    await work(target, signal)
  } catch (error) {
    if (!signal.aborted) throw error
    process.stdout.write('Interrupted.\n')
    process.exitCode = 1
  } finally {
    await target.close()
  }
}

/** Whether the settings name a database that is there: a target may be looked after on another machine than the server's. */
export function hasDatabase({ databaseUrl, dataDir }: Config): boolean {
  return databaseUrl !== undefined || existsSync(join(resolve(dataDir), 'postgres'))
}
