import type { EventFilter } from '../../events/event-filter.ts'
import { StorageError } from '../../model/errors.ts'

export interface Topic {
  /** As it travels, such as `realtime:storage:avatars`. */
  topic: string
  /** As an app calls the channel: without `realtime:`. */
  name: string
  /** What a storage channel is about; null for channels with other names. */
  filter: EventFilter | null
}

/** Room for the longest bucket and path. In characters. */
const MAX_LENGTH = 1200

const PREFIX = 'realtime:'

/**
 * What a channel is about, by its name: `storage` is everything, `storage:avatars` a bucket, `storage:avatars/users/1`
 * an object or all that is below it.
 *
 * @throws InvalidParameter
 */
export function readTopic(topic: string): Topic {
  if (topic.length > MAX_LENGTH) throw refusal(`The name of a channel has at most ${MAX_LENGTH} characters`)
  if (!topic.startsWith(PREFIX)) throw refusal(`The topic of a channel begins with ${PREFIX}`)
  const name = topic.slice(PREFIX.length)
  return { topic, name, filter: filterOf(name) }
}

function filterOf(name: string): EventFilter | null {
  if (name === 'storage') return {}
  if (!name.startsWith('storage:')) return null
  const place = name.slice('storage:'.length).replace(/\/$/, '')
  const slash = place.indexOf('/')
  const bucket = slash < 0 ? place : place.slice(0, slash)
  if (bucket === '') throw refusal('storage: is followed by the name of a bucket')
  return { bucket, ...(slash >= 0 && { folder: place.slice(slash + 1) }) }
}

function refusal(message: string): StorageError {
  return new StorageError('InvalidParameter', { message })
}
