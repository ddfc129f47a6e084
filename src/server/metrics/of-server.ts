import type { StatsFs } from 'node:fs'
import { nextTime } from '../../config/backup.ts'
import type { Config } from '../../config/config.ts'
import type { BucketUsage, OperationalState } from '../../database/queries/metrics.ts'
import { packageVersion } from '../../lib/package-version.ts'
import { OTHER } from '../../telemetry/metrics/bucket-labels.ts'
import { type Family, family, single } from '../../telemetry/metrics/catalog.ts'
import type { Collector } from '../../telemetry/metrics/process-metrics.ts'
import type { Looks } from '../looks.ts'

/** How many runs of a schedule tell how far they may be apart: those of a month, if it is every day. */
const RUNS = 32

/** How the server is as a whole: what there is in the database, on the disk, and what it does by itself. */
export function collectorOfServer({ config, looks }: { config: Config; looks: Looks }): Collector {
  const backupIntervalSeconds = longestInterval(config.backup.enabled ? config.backup.schedule : undefined)
  return async () => {
    const [operations, usage, disk] = await Promise.all([
      looks.operations.find(),
      looks.usage.find(),
      looks.disk.find(),
    ])
    const found = Object.entries({ operations, usage, disk }).filter(([, look]) => look.found !== undefined)
    return [
      family('storage_build_info', [{ labels: { version: packageVersion() }, value: 1 }]),
      family('storage_up', [
        { labels: { part: 'database' }, value: Number(operations.isAnswered) },
        { labels: { part: 'disk' }, value: Number(disk.isAnswered) },
      ]),
      family(
        'storage_look_age_seconds',
        found.map(([look, { ageSeconds }]) => ({ labels: { look }, value: ageSeconds })),
      ),
      single('storage_backup_interval_seconds', backupIntervalSeconds),
      ...(operations.found ? operationalFamilies(operations.found, config) : []),
      ...(usage.found ? usageFamilies(usage.found) : []),
      ...(disk.found ? diskFamilies(disk.found) : []),
    ]
  }
}

function operationalFamilies(state: OperationalState, { nats }: Config): Family[] {
  const { scrub, backup, drill } = state
  const moment = (done: { completedAt: Date } | null) => (done ? done.completedAt.getTime() / 1000 : 0)
  // Its place stays when it is turned off, so that it may come back.
  const lags = state.lags.filter(({ sink }) => sink !== 'nats' || nats)
  return [
    family(
      'storage_outbox_lag_events',
      lags.map(({ sink, events }) => ({ labels: { sink }, value: events })),
    ),
    family(
      'storage_outbox_lag_seconds',
      lags.map(({ sink, seconds }) => ({ labels: { sink }, value: seconds })),
    ),
    single('storage_pending_deliveries', state.pending),
    single('storage_dead_letters', state.dead),
    single('storage_resumable_uploads', state.resumable),
    single('storage_resumable_upload_bytes', state.resumableSize),
    single('storage_scrub_last_success_timestamp_seconds', scrub?.finishedAt ?? 0),
    single('storage_scrub_progress_ratio', scrub && scrub.total > 0 ? scrub.checked / scrub.total : 0),
    family('storage_scrub_damaged_objects', [
      { labels: { reason: 'missing' }, value: scrub?.missing ?? 0 },
      { labels: { reason: 'corrupted' }, value: scrub?.corrupted ?? 0 },
    ]),
    single('storage_backup_last_success_timestamp_seconds', moment(backup)),
    single('storage_backup_duration_seconds', backup?.durationSeconds ?? 0),
    single('storage_backup_drill_last_success_timestamp_seconds', moment(drill)),
  ]
}

function usageFamilies(usage: BucketUsage[]): Family[] {
  const labels = (bucket: string | null) => ({ bucket: bucket ?? OTHER, tenant: 'none' })
  return [
    family(
      'storage_bytes',
      usage.map(({ bucket, size }) => ({ labels: labels(bucket), value: size })),
    ),
    family(
      'storage_objects',
      usage.map(({ bucket, objects }) => ({ labels: labels(bucket), value: objects })),
    ),
    family(
      'storage_version_bytes',
      usage.map(({ bucket, versionSize }) => ({ labels: labels(bucket), value: versionSize })),
    ),
    family(
      'storage_versions',
      usage.map(({ bucket, versions }) => ({ labels: labels(bucket), value: versions })),
    ),
    family(
      'storage_trash_bytes',
      usage.map(({ bucket, trashSize }) => ({ labels: labels(bucket), value: trashSize })),
    ),
  ]
}

function diskFamilies({ bavail, blocks, bsize }: StatsFs): Family[] {
  return [
    single('storage_disk_free_bytes', bavail * bsize),
    single('storage_disk_size_bytes', blocks * bsize),
  ]
}

/** In seconds; 0 without a schedule. */
function longestInterval(schedule: string | undefined): number {
  if (schedule === undefined) return 0
  let longest = 0
  let last = nextTime(schedule, new Date())
  for (let run = 0; run < RUNS && last; run++) {
    const next = nextTime(schedule, last)
    if (next) longest = Math.max(longest, (next.getTime() - last.getTime()) / 1000)
    last = next
  }
  return longest
}
