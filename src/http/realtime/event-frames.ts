import type { StorageEvent } from '../../database/events.ts'
import { eventJson } from '../../events/event.ts'
import { encode, type Version } from './frames.ts'
import { type ChangesGroup, changePayload } from './postgres-changes.ts'

/** For whom a frame is. */
interface Addressee {
  version: Version
  topic: string
}

/** The frames that tell of events: each is made once, and shared by all connections that get the same. */
export class EventFrames {
  /** By everything that they differ in, as long as their event is being handed out. */
  readonly #frames = new WeakMap<StorageEvent, Map<string, Buffer>>()

  /** For `.on('storage.object.created', …)`. */
  raw(event: StorageEvent, to: Addressee): Buffer {
    return this.#frame(event, to, 'raw', () => ({ event: event.type, payload: eventJson(event) }))
  }

  /** For `.on('broadcast', { event: 'storage.object.created' }, …)`. */
  broadcast(event: StorageEvent, to: Addressee): Buffer {
    return this.#frame(event, to, 'broadcast', () => ({
      event: 'broadcast',
      payload: {
        type: 'broadcast',
        event: event.type,
        payload: eventJson(event),
        meta: { id: String(event.position) },
      },
    }))
  }

  /** For `.on('postgres_changes', …)`. @param ids of the subscriptions that match */
  change(event: StorageEvent, to: Addressee, group: ChangesGroup, ids: number[]): Buffer {
    return this.#frame(event, to, `${ids} ${group.columns}`, () => ({
      event: 'postgres_changes',
      payload: changePayload(event, ids, group.columns),
    }))
  }

  #frame(
    event: StorageEvent,
    { version, topic }: Addressee,
    kind: string,
    content: () => { event: string; payload: unknown },
  ): Buffer {
    let frames = this.#frames.get(event)
    if (!frames) {
      frames = new Map()
      this.#frames.set(event, frames)
    }
    const key = `${version} ${kind} ${topic}`
    let frame = frames.get(key)
    if (!frame) {
      // Not of one join: `join_ref` may be null.
      frame = encode(version, { joinRef: null, ref: null, topic, ...content() })
      frames.set(key, frame)
    }
    return frame
  }
}
