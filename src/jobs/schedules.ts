import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { forgetKeys } from '../database/queries/idempotency-keys.ts'
import { forgetLinks } from '../database/queries/links.ts'
import { forgetShares } from '../database/queries/shares.ts'
import type { HealthChecks } from '../telemetry/health/health-checks.ts'
import { family, single } from '../telemetry/metrics/catalog.ts'
import type { ProcessMetrics } from '../telemetry/metrics/process-metrics.ts'
import { keepAuditMonths } from './audit-months.ts'
import { AutoDelete } from './auto-delete.ts'
import type { BackupDeeds } from './backup/job-run.ts'
import { scheduleLog } from './backup/log-schedule.ts'
import { BackupRunner } from './backup/runner.ts'
import { cleanupTrouble } from './cleanup-health.ts'
import { cleanupFamilies } from './cleanup-metrics.ts'
import { forgetExpired } from './expired-rows.ts'
import { Lifecycle, lifecycleFamilies } from './lifecycle.ts'
import { OrphanCleanup } from './orphan-cleanup.ts'
import { type Schedule, schedule } from './schedule.ts'
import { Scrub } from './scrub.ts'
import { VersionRetention } from './version-retention.ts'

/** A pass that was full has left something to do. In milliseconds. */
const SOON_MS = 10_000

/** Starts what a server does by itself from time to time, as the settings say. */
export function startSchedules({
  config,
  backend,
  database,
  backups,
  metrics,
  health,
  logger,
}: {
  config: Config
  backend: Backend
  database: Database
  /** How backups are made; without it there are none. */
  backups?: BackupDeeds
  /** Where it is said what they have done. */
  metrics?: ProcessMetrics
  /** Where it is said whether they get on. */
  health?: HealthChecks
  logger: Logger
}): Schedule[] {
  const schedules: Schedule[] = []
  const { intervalMs, graceMs } = config.cleanup
  const cleanup =
    intervalMs > 0 ? new OrphanCleanup({ ...config.cleanup, database, backend, logger }) : undefined
  metrics?.add(() => cleanupFamilies(cleanup, intervalMs))
  if (cleanup) {
    const pace = { intervalMs, since: new Date() }
    health?.add('cleanup', async () => cleanupTrouble(cleanup, pace))
    const pass = async (signal: AbortSignal) => {
      const report = await cleanup.pass({ signal })
      return report?.isFull ? Math.min(SOON_MS, intervalMs) : intervalMs
    }
    // What a crash has left is old enough then.
    const firstAfterMs = Math.min(graceMs, intervalMs)
    schedules.push(schedule('orphan-cleanup', pass, { firstAfterMs, afterFailureMs: intervalMs, logger }))
  }
  const months = () => keepAuditMonths(database, config.audit.retentionDays)
  schedules.push(schedule('audit-months', months, { firstAfterMs: 60_000, afterFailureMs: 600_000, logger }))
  const forgotten = { links: forgetLinks, 'idempotency-keys': forgetKeys, shares: forgetShares }
  for (const [name, forget] of Object.entries(forgotten)) {
    const work = (signal: AbortSignal) => forgetExpired(forget, database, signal)
    schedules.push(schedule(name, work, { firstAfterMs: 60_000, afterFailureMs: 600_000, logger }))
  }
  const retention = new VersionRetention({ database, backend, logger })
  metrics?.add(() => [
    single('storage_versions_purged_total', retention.purged),
    single('storage_trash_purged_total', retention.purgedTrash),
    family('storage_lock_refusals_total', [{ labels: { by: 'retention' }, value: retention.locked }]),
  ])
  const round = (signal: AbortSignal) => retention.round(signal)
  schedules.push(
    schedule('version-retention', round, { firstAfterMs: 60_000, afterFailureMs: 600_000, logger }),
  )
  const lifecycle = new Lifecycle({ database, backend, logger })
  metrics?.add(() => lifecycleFamilies(lifecycle))
  const pass = (signal: AbortSignal) => lifecycle.pass(signal)
  schedules.push(schedule('lifecycle', pass, { firstAfterMs: 120_000, afterFailureMs: 600_000, logger }))
  const autoDelete = new AutoDelete({ database, backend, logger })
  metrics?.add(() => [single('storage_auto_deleted_total', autoDelete.deleted)])
  const deleteDue = (signal: AbortSignal) => autoDelete.round(signal)
  schedules.push(
    schedule('auto-delete', deleteDue, { firstAfterMs: 60_000, afterFailureMs: 600_000, logger }),
  )
  const { scrubIntervalMs } = config
  if (scrubIntervalMs > 0) {
    const scrub = new Scrub({ database, backend, logger })
    const step = (signal: AbortSignal) => scrub.step(scrubIntervalMs, signal)
    schedules.push(schedule('scrub', step, { firstAfterMs: 60_000, afterFailureMs: 600_000, logger }))
  }
  if (backups && config.backup.enabled) {
    const runner = new BackupRunner({ database, deeds: backups, settings: config.backup, logger })
    const step = (signal: AbortSignal) => runner.step(signal)
    schedules.push(schedule('backups', step, { firstAfterMs: 1000, afterFailureMs: 10_000, logger }))
  }
  if (backups && config.databaseUrl === undefined) {
    schedules.push(scheduleLog({ config, database, backend, logger }))
  }
  return schedules
}
