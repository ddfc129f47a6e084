import { readFile } from 'node:fs/promises'
import { type Config, ConfigError, readConfig } from '../config/config.ts'
import { openTarget } from '../jobs/backup/open-target.ts'
import type { BackupTarget } from '../jobs/backup/target.ts'
import { interruption } from './interruption.ts'

/** Which target a command is about, and how it is read. */
export interface TargetOptions {
  /** Without it that of the settings. */
  from?: string
  /** A file with the secret key of age. */
  identity?: string
}

/** @throws as `openTarget`, and ConfigError for an identity that is none */
export async function openFrom({ from, identity }: TargetOptions, config: Config): Promise<BackupTarget> {
  return openTarget(from ?? config.backup.target, config, { identity: await readIdentity(identity) })
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

/**
 * The secret key in a file that `age-keygen` has made.
 *
 * @param path undefined when none was given
 * @throws ConfigError when there is none in it
 */
async function readIdentity(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  const identity = (await readFile(path, 'utf8'))
    .split('\n')
    .find((line) => line.startsWith('AGE-SECRET-KEY-1'))
  if (identity === undefined) throw new ConfigError([`${path} has no secret key of age (AGE-SECRET-KEY-1…)`])
  return identity.trim()
}
