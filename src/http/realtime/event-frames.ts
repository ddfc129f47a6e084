import { LRUCache } from 'lru-cache'
import type { StorageEvent } from '../../database/queries/events.ts'
import { eventJson } from '../../events/event.ts'
import { encodeAround, type Version } from './frames.ts'
import { type ChangesGroup, changeData } from './postgres-changes.ts'

/** For whom a frame is. */
interface Addressee {
  version: Version
  topic: string
}

/** Memory for what has been made: for far more than a batch of events takes, if they have no megabytes of metadata. */
const MOST_BYTES = 32 * 1024 * 1024

/** What an entry takes besides its bytes and its name. */
const ENTRY_BYTES = 200

/**
 * The frames that tell of events. What is told is made once for all channels, whatever they are called; and a frame once
 * for all connections that get the same.
 */
export class EventFrames {
  /** By everything that they differ in. */
  readonly #made = new LRUCache<string, Buffer>({
    maxSize: MOST_BYTES,
    sizeCalculation: (bytes, name) => ENTRY_BYTES + 2 * name.length + bytes.length,
  })
  /** One position may be told in several ways, each of which is an event of its own. */
  readonly #numbers = new WeakMap<StorageEvent, number>()
  #count = 0

  /** For `.on('storage.object.created', …)`. */
  raw(event: StorageEvent, to: Addressee): Buffer {
    return this.#frame(event, to, 'raw', event.type, () => this.#json(event))
  }

  /** For `.on('broadcast', { event: 'storage.object.created' }, …)`. */
  broadcast(event: StorageEvent, to: Addressee): Buffer {
    return this.#frame(event, to, 'broadcast', 'broadcast', () =>
      Buffer.concat([
        Buffer.from(`{"type":"broadcast","event":"${event.type}","payload":`),
        this.#json(event),
        Buffer.from(`,"meta":{"id":"${event.position}"}}`),
      ]),
    )
  }

  /** For `.on('postgres_changes', …)`. @param ids of the subscriptions that match */
  change(event: StorageEvent, to: Addressee, { columns }: ChangesGroup, ids: number[]): Buffer {
    return this.#frame(event, to, `${ids} ${columns}`, 'postgres_changes', () =>
      Buffer.concat([
        Buffer.from(`{"ids":[${ids}],"data":`),
        this.#once(event, String(columns), () => Buffer.from(JSON.stringify(changeData(event, columns)))),
        Buffer.from('}'),
      ]),
    )
  }

  #json(event: StorageEvent): Buffer {
    return this.#once(event, 'json', () => Buffer.from(JSON.stringify(eventJson(event))))
  }

  #frame(
    event: StorageEvent,
    { version, topic }: Addressee,
    kind: string,
    name: string,
    payload: () => Buffer,
  ): Buffer {
    return this.#once(event, `${version} ${kind} ${topic}`, () =>
      encodeAround(version, { topic, event: name }, payload()),
    )
  }

  #once(event: StorageEvent, what: string, make: () => Buffer): Buffer {
    let number = this.#numbers.get(event)
    if (number === undefined) {
      number = this.#count++
      this.#numbers.set(event, number)
    }
    const name = `${number} ${what}`
    const known = this.#made.get(name)
    if (known) return known
    const made = make()
    this.#made.set(name, made)
    return made
  }
}
