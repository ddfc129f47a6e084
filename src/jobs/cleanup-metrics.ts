import { type Family, family, single } from '../telemetry/metrics/catalog.ts'
import type { OrphanCleanup } from './orphan-cleanup.ts'

/** What the cleanup of this server has done, and when. @param cleanup undefined where it makes no pass by itself */
export function cleanupFamilies(cleanup: OrphanCleanup | undefined, intervalMs: number): Family[] {
  const { counts, totals, last } = cleanup ?? { counts: undefined, totals: {}, last: null }
  const { failures = 0, ...passes } = counts ?? {}
  return [
    single('storage_cleanup_interval_seconds', intervalMs / 1000),
    single('storage_cleanup_last_success_timestamp_seconds', last ? last.at.getTime() / 1000 : 0),
    single('storage_orphan_files_total', last?.unnamed ?? 0),
    single('storage_cleanup_held_buckets', last?.held ?? 0),
    single('storage_cleanup_failures_total', failures),
    family(
      'storage_cleanup_passes_total',
      Object.entries(passes).map(([status, value]) => ({ labels: { status }, value })),
    ),
    family(
      'storage_cleanup_repairs_total',
      Object.entries(totals).map(([repair, value]) => ({ labels: { repair }, value })),
    ),
  ]
}
