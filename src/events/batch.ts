import { setImmediate as yieldToOthers } from 'node:timers/promises'
import type { Claimant, StorageEvent } from '../database/events.ts'
import { formsOf } from './event.ts'

/** Somebody who hears events as long as he is connected. */
export interface Subscriber {
  /** Asked anew for every event, so a fresh token counts at once; null hears nothing. */
  readonly claimant: Claimant | null
  /** Whether this is one of the events asked for. Says nothing of rights. */
  wants(event: StorageEvent): boolean
  /** Gets what may be heard, in order. Must not fail and must not wait: who is too slow is to be dropped. */
  deliver(events: StorageEvent[]): void
}

/** A subscriber, and the position after which he hears events. */
export interface Member {
  subscriber: Subscriber
  after: number
}

/** Members with equal claims, and the events that any of them wants. */
export interface Group {
  key: string
  claimant: Claimant
  members: Member[]
  wanted: StorageEvent[]
}

/** After so long at a stretch others have their turn. In milliseconds. */
const SLICE_MS = 5

/** Some events on their way to subscribers. Gives way to other work again and again. */
export class Batch {
  readonly #events: StorageEvent[]
  readonly #isSubscribed: (subscriber: Subscriber) => boolean
  /** How long this server itself was busy with it, in milliseconds. */
  workedMs = 0
  #sinceMs = 0

  constructor(events: StorageEvent[], isSubscribed: (subscriber: Subscriber) => boolean) {
    this.#events = events
    this.#isSubscribed = isSubscribed
  }

  /** Who wants something of it, by claims: for each group the policies are asked once. */
  async groups(members: Member[]): Promise<Group[]> {
    const groups = new Map<string, Group>()
    const candidates = this.#events.map((event) => ({ event, forms: formsOf(event) }))
    for (const { subscriber, after } of members) {
      const { claimant } = subscriber
      if (claimant === null) continue
      const wanted = await this.#slice(() =>
        candidates.filter(
          ({ event, forms }) => event.position > after && forms.some((form) => subscriber.wants(form)),
        ),
      )
      if (wanted.length === 0) continue
      const key = keyOf(claimant)
      const group = groups.get(key) ?? { key, claimant, members: [], wanted: [] }
      groups.set(key, group)
      group.members.push({ subscriber, after })
      group.wanted.push(...wanted.map(({ event }) => event))
    }
    for (const group of groups.values()) {
      const wanted = new Set(group.wanted)
      group.wanted = this.#events.filter((event) => wanted.has(event)) // once, and in order
    }
    return [...groups.values()]
  }

  /**
   * Gives a group what it may hear.
   *
   * @returns those whose claims are others since the policies were asked: the answer is not theirs
   */
  async deliver({ key, claimant: asked, members }: Group, visible: StorageEvent[]): Promise<Member[]> {
    const changed: Member[] = []
    for (const member of members) {
      const { subscriber, after } = member
      await this.#slice(() => {
        const { claimant } = subscriber
        // He may have left, or lost his token.
        if (!this.#isSubscribed(subscriber) || claimant === null) return
        if (claimant !== asked && keyOf(claimant) !== key) {
          changed.push(member)
          return
        }
        const heard = visible.filter((event) => event.position > after && subscriber.wants(event))
        if (heard.length > 0) subscriber.deliver(heard)
      })
    }
    return changed
  }

  /** Does a part of the work, which cannot be interrupted. */
  #slice<T>(part: () => T): T | Promise<T> {
    const startedAt = performance.now()
    const result = part()
    const tookMs = performance.now() - startedAt
    this.workedMs += tookMs
    this.#sinceMs += tookMs
    if (this.#sinceMs < SLICE_MS) return result
    this.#sinceMs = 0
    return yieldToOthers(result)
  }
}

/** Equal for those who may hear the same. */
function keyOf({ role, claims }: Claimant): string {
  return `${role} ${JSON.stringify(claims)}`
}
