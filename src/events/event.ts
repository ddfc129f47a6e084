import type { Sight, StorageEvent } from '../database/queries/events.ts'

/** Tells listeners, in place of events, that some are missing. */
export const EVENTS_LOST = 'storage.events.lost'

/** An event as every surface sends it. */
export type EventJson = PlacedEventJson | AnyEventJson

/** Of what concerns no bucket it is all. */
interface AnyEventJson {
  /** Its position: it counts up, and can be given as `Last-Event-ID`. */
  id: number
  type: string
  /** ISO 8601, of the change's transaction. */
  timestamp: string
  /** What its type tells besides. */
  data?: Record<string, unknown>
  /** Of the request that it comes of, where that was traced (https://www.w3.org/TR/trace-context/). */
  traceparent?: string
}

/** Of an object or a bucket. */
export interface PlacedEventJson extends AnyEventJson {
  bucket: string
  /** That of its column in `storage.objects`, which is the bucket's name. */
  bucket_id: string
  path: string | null
  /** What stays when the object is overwritten or moved. Null for a bucket's events, and where an old event has none. */
  object_id: string | null
  old_bucket: string | null
  old_path: string | null
  /** In bytes. */
  size: number | null
  content_type: string | null
  checksum: string | null
  version: string | null
  owner_id: string | null
}

export function eventJson(event: StorageEvent): EventJson {
  return {
    id: event.position,
    type: event.type,
    ...(event.bucket !== null && {
      bucket: event.bucket,
      bucket_id: event.bucket,
      path: event.path,
      object_id: event.record?.id ?? null,
      old_bucket: event.oldBucket,
      old_path: event.oldPath,
      size: event.size,
      content_type: event.contentType,
      checksum: event.checksum,
      version: event.version,
      owner_id: event.ownerId,
    }),
    timestamp: event.createdAt.toISOString(),
    ...(event.data && { data: event.data }),
    ...(event.traceparent !== null && { traceparent: event.traceparent }),
  }
}

/** By which whoever gets an event more than once knows it again. */
export function messageId({ position }: StorageEvent): string {
  return `evt_${position}`
}

/**
 * Where an event happened. One object's events share a place from each to the next, whatever it is called meanwhile,
 * and so do those of objects that have had the same name. What concerns no bucket waits for nothing.
 */
export function placesOf({ bucket, path, oldBucket, oldPath }: StorageEvent): string[] {
  if (bucket === null) return []
  const here = JSON.stringify([bucket, path])
  return oldPath === null ? [here] : [here, JSON.stringify([oldBucket, oldPath])]
}

/** What somebody hears of an event who may know so much of it; null is nothing. */
export function eventFor(event: StorageEvent, { sees, saw }: Sight): StorageEvent | null {
  if (event.oldPath === null) return sees ? event : null
  if (sees) return saw ? event : arrived(event)
  return saw ? gone(event) : null
}

/** All that an event can be to anybody. */
export function formsOf(event: StorageEvent): StorageEvent[] {
  return event.oldPath === null ? [event] : [event, arrived(event), gone(event)]
}

/** A move for those who may not know where the object was. */
function arrived(event: StorageEvent): StorageEvent {
  return { ...event, oldBucket: null, oldPath: null }
}

/** A move for those who may not know where the object is now: to them it was deleted. */
function gone(event: StorageEvent): StorageEvent {
  const { record, oldBucket, oldPath } = event
  const bucket = oldBucket ?? event.bucket ?? ''
  const path = oldPath ?? ''
  return {
    ...event,
    type: 'storage.object.deleted',
    bucket,
    path,
    oldBucket: null,
    oldPath: null,
    // Of the mover, and of what is at the new place: it may have been written anew there.
    ownerId: null,
    size: null,
    contentType: null,
    checksum: null,
    version: null,
    oldVersion: null,
    data: null,
    record: record && { id: record.id, bucket_id: bucket, name: path },
  }
}
