import type { StorageEvent } from '../database/queries/events.ts'
import type { EventType } from '../model/event-types.ts'

/** Which events somebody wants to hear; what is absent does not narrow. */
export interface EventFilter {
  types?: ReadonlySet<EventType> | undefined
  /** With one, what concerns no bucket is not wanted. */
  bucket?: string | undefined
  /** The beginning of the path. With one, only events of objects are wanted. */
  prefix?: string | undefined
  /** An object, and all that is below it as a folder. With one, only events of objects are wanted. */
  folder?: string | undefined
}

/** Whether a filter lets an event through: by the object's place now, or by the one that a move has left. */
export function matches(filter: EventFilter, event: StorageEvent): boolean {
  const { types } = filter
  if (types && !types.has(event.type)) return false
  return (
    isAt(filter, event.bucket, event.path) ||
    (event.oldBucket !== null && isAt(filter, event.oldBucket, event.oldPath))
  )
}

function isAt(
  { bucket, prefix, folder }: EventFilter,
  eventBucket: string | null,
  path: string | null,
): boolean {
  if (bucket !== undefined && bucket !== eventBucket) return false
  if (prefix !== undefined && !path?.startsWith(prefix)) return false
  return folder === undefined || path === folder || path?.startsWith(`${folder}/`) === true
}
