import type { Database } from '../../database/connection/client.ts'
import type { DeliveryCounts } from '../../events/delivery-counts.ts'
import type { Events } from '../../events/open.ts'
import type { Connections } from '../../http/connection/connections.ts'
import type { YieldingCapacity } from '../../http/connection/yielding-capacity.ts'
import type { BucketStorage } from '../../storage/buckets/bucket-storage.ts'
import type { LifecyclePolicies } from '../../storage/lifecycle/lifecycle-policies.ts'
import type { DownloadCounts } from '../../storage/links/download-counts.ts'
import type { LinkRevoker } from '../../storage/links/link-revoker.ts'
import type { SignedUrls } from '../../storage/links/signed-urls.ts'
import type { HotObjects } from '../../storage/reading/hot-objects.ts'
import type { SharedObjects } from '../../storage/shares/shared-objects.ts'
import type { Trash } from '../../storage/versions/trash.ts'
import { type Family, family, single } from '../../telemetry/metrics/catalog.ts'

export interface AnsweringParts {
  database: Database
  events: Events
  connections: Connections
  requests: YieldingCapacity
  uploads: YieldingCapacity
  hotObjects: HotObjects
  buckets: BucketStorage
  trash: Trash
  lifecycle: LifecyclePolicies
  urls: SignedUrls
  counts: DownloadCounts
  revoker: LinkRevoker
  sharedObjects: SharedObjects
}

/** How a process is that answers requests. */
export function familiesOfRequests(parts: AnsweringParts): Family[] {
  const {
    database,
    events,
    connections,
    requests,
    uploads,
    hotObjects,
    buckets,
    trash,
    lifecycle,
    urls,
    counts,
    revoker,
    sharedObjects,
  } = parts
  const { open, busy, waiting } = database.load()
  const caches = [
    { cache: 'rows', ...countsOf(hotObjects.rowCache) },
    { cache: 'bytes', ...countsOf(hotObjects.byteCache) },
  ]
  return [
    single('storage_processes', 1),
    single('storage_requests_in_flight', requests.taken),
    single('storage_uploads_in_flight', uploads.taken),
    single('storage_connections', connections.open),
    single('storage_subscribers', events.subscriptions.size),
    single('storage_database_connections', open),
    single('storage_database_connections_in_use', busy),
    single('storage_database_waiting', waiting),
    single('storage_trash_purged_total', trash.purged + buckets.purgedTrash),
    family('storage_link_refusals_total', [
      { labels: { reason: 'revoked' }, value: urls.refused.revoked },
      { labels: { reason: 'address' }, value: urls.refused.address },
      { labels: { reason: 'exhausted' }, value: counts.refused },
    ]),
    single('storage_link_revocations_total', revoker.revoked),
    family(
      'storage_share_access_total',
      [...sharedObjects.totals.counts].map(([result, value]) => ({ labels: { result }, value })),
    ),
    family(
      'storage_lifecycle_actions_total',
      [...lifecycle.totals].map(([action, value]) => ({ labels: { action }, value })),
    ),
    family(
      'storage_cache_hits_total',
      caches.map(({ cache, hits }) => ({ labels: { cache }, value: hits })),
    ),
    family(
      'storage_cache_misses_total',
      caches.map(({ cache, misses }) => ({ labels: { cache }, value: misses })),
    ),
    family(
      'storage_cache_bytes',
      caches.map(({ cache, bytes }) => ({ labels: { cache }, value: bytes })),
    ),
    family(
      'storage_deliveries_total',
      Object.entries(events.deliveries).flatMap(([sink, counts]) => deliveriesOf(sink, counts)),
    ),
  ]
}

interface CacheCounts {
  hits: number
  misses: number
  bytes: number
}

function countsOf(cache: CacheCounts | undefined): CacheCounts {
  return { hits: cache?.hits ?? 0, misses: cache?.misses ?? 0, bytes: cache?.bytes ?? 0 }
}

function deliveriesOf(sink: string, counts: DeliveryCounts) {
  return Object.entries(counts).map(([status, value]) => ({ labels: { sink, status }, value: Number(value) }))
}
