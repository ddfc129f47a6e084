import { resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Config } from '../../config/config.ts'
import type { Database } from '../../database/connection/client.ts'
import type { VersionRow } from '../../database/dump/snapshot.ts'
import { type Schedule, schedule } from '../schedule.ts'
import { listBackups } from './backups.ts'
import { findCluster } from './deeds.ts'
import { LOG, trimLog } from './log-folder.ts'
import { forgetLog, LogFollower } from './log-follower.ts'
import type { Manifest } from './manifest.ts'
import { openTarget } from './open-target.ts'
import type { BackupTarget } from './target.ts'
import { VersionBytes } from './version-bytes.ts'

export interface LogScheduleOptions {
  config: Config
  database: Database
  backend: Backend
  logger: Logger
}

/** Between two rounds, in milliseconds. */
const ROUND_MS = 10_000

/** How often what no backup needs any more is removed, in milliseconds. */
const TRIM_MS = 3_600_000

/** Follows the log of the built-in PostgreSQL while the settings want it, and ends that once they do not any more. */
export function scheduleLog(options: LogScheduleOptions): Schedule {
  const { config, logger } = options
  const step = config.backup.log ? followSteps(options) : { run: forgetOnce(options), close: async () => {} }
  const timing = { firstAfterMs: 1000, afterFailureMs: 30_000, logger }
  const running = schedule('backup-log', step.run, timing)
  return {
    stop: async () => {
      await running.stop()
      await step.close()
    },
  }
}

type Step = (signal: AbortSignal) => Promise<number>

/** Again only with the next start. */
const NEVER_MS = Number.POSITIVE_INFINITY

function forgetOnce({ config, ...parts }: LogScheduleOptions): Step {
  return async (signal) => {
    await forgetLog({ ...parts, findCluster: () => findCluster(resolve(config.dataDir)) }, signal)
    return NEVER_MS
  }
}

function followSteps(options: LogScheduleOptions): { run: Step; close(): Promise<void> } {
  const { config, database, backend, logger } = options
  const open = () => openTarget(config.backup.target, config, { forWriting: true })
  let follower: LogFollower | undefined
  let trimAt = performance.now()
  const run: Step = async (signal) => {
    if (!follower) {
      const cluster = await findCluster(resolve(config.dataDir))
      if (cluster === null) return NEVER_MS // somebody has given another database
      const copyBytes = async (target: BackupTarget, row: VersionRow) => {
        const [copied] = await new VersionBytes({ database, backend, target, id: LOG, signal }).copyAll([row])
        return copied && 'entry' in copied ? copied.entry : null
      }
      follower = new LogFollower({ database, backend, cluster, openTarget: open, copyBytes, logger })
    }
    const hasMore = await follower.round(signal)
    if (performance.now() >= trimAt) {
      const target = await open()
      await trim(target).finally(() => target.close())
      trimAt = performance.now() + TRIM_MS
    }
    return hasMore ? 0 : ROUND_MS
  }
  return { run, close: async () => follower?.close() }
}

/** All that is older than the oldest backup. Without any there is nothing to go by. */
async function trim(target: BackupTarget): Promise<void> {
  let oldest: Manifest | undefined
  for await (const backup of listBackups(target)) if (backup.database.start_lsn !== undefined) oldest = backup
  const from = oldest?.database.start_lsn
  if (oldest && from !== undefined) await trimLog(target, { oldest: new Date(oldest.created_at), from })
}
