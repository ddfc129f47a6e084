import type { StorageEvent } from '../../database/queries/events.ts'
import { messageId } from '../event.ts'
import type { WebhookMessage } from './message.ts'

/** What the format tells about the server. */
export interface Origin {
  region: string
  /** Host and port where clients find it, or empty. */
  host: string
}

/** As Supabase's own server sends events (wire §9). A move is two, and buckets have none. */
export function supabaseMessages(
  secret: string | null,
  event: StorageEvent,
  { region, host }: Origin,
  now: Date,
): WebhookMessage[] {
  const lifecycle = lifecycleEvents(event)
  return lifecycle.map(({ type, payload }, index) => {
    const tenant = { ref: 'strongroom', host }
    const body = {
      type: 'Webhook',
      sentAt: now.toISOString(),
      tenant,
      event: {
        $version: 'v1',
        type,
        region,
        applyTime: event.createdAt.getTime(),
        payload: { ...payload, tenant },
      },
    }
    return {
      headers: {
        'webhook-id': lifecycle.length > 1 ? `${messageId(event)}-${index + 1}` : messageId(event),
        ...(secret !== null && { authorization: `Bearer ${secret}` }),
      },
      body: JSON.stringify(body),
    }
  })
}

interface Lifecycle {
  type: string
  payload: Record<string, unknown>
}

function lifecycleEvents(event: StorageEvent): Lifecycle[] {
  const { path, oldPath, version, operation, record } = event
  // Supabase tells of neither.
  if (path === null || event.type === 'storage.version.created' || event.type === 'storage.object.purged')
    return []
  const metadata = record?.metadata ?? null
  const place = { name: path, bucketId: event.bucket, version, metadata }
  const created = { ...place, uploadType: uploadType(operation) }
  if (oldPath !== null) {
    const old = { name: oldPath, bucketId: event.oldBucket, version }
    return [
      { type: 'ObjectRemoved:Move', payload: { ...old, metadata } },
      { type: 'ObjectCreated:Move', payload: { ...created, oldObject: old } },
    ]
  }
  if (event.type === 'storage.object.deleted') return [{ type: 'ObjectRemoved:Delete', payload: place }]
  if (event.type === 'storage.object.updated' && version === event.oldVersion) {
    return [{ type: 'ObjectUpdated:Metadata', payload: place }]
  }
  const upload = event.type === 'storage.object.created' ? 'ObjectCreated:Post' : 'ObjectCreated:Put'
  return [{ type: isCopy(operation) ? 'ObjectCreated:Copy' : upload, payload: created }]
}

/** Wire §3.2, §6.10. */
function isCopy(operation: string | null): boolean {
  return operation === 'storage.object.copy' || operation === 'storage.s3.object.copy'
}

/** Wire §5.1, §6.10. */
function uploadType(operation: string | null): string {
  if (operation?.startsWith('storage.tus.')) return 'resumable'
  return operation?.startsWith('storage.s3.') ? 's3' : 'standard'
}
