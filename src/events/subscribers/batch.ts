import { setImmediate as yieldToOthers } from 'node:timers/promises'
import type { Claimant, StorageEvent } from '../../database/queries/events.ts'
import { formsOf } from '../event.ts'
import type { Visible } from './visible-events.ts'

/** Somebody who hears events as long as he is connected. Who fails in one of these fails alone, and is told `miss`. */
export interface Subscriber {
  /** Asked anew for every event, so a fresh token counts at once; null hears nothing. */
  readonly claimant: Claimant | null
  /** Whether this is one of the events asked for. Says nothing of rights. */
  wants(event: StorageEvent): boolean
  /**
   * Gets what may be heard, in order. Must not wait: who is too slow is to be dropped.
   *
   * @param batch where all are that are handed out at once: the same object for all subscribers, and for `miss`
   */
  deliver(events: StorageEvent[], batch: Gap): void
  /** Hears that some of these he could have heard, and will not. Must not wait. */
  miss(gap: Gap): void
}

/** Positions between two others. */
export interface Gap {
  /** The last one before it. */
  after: number
  /** The first one behind it: the oldest from which on all is told. */
  oldest: number
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

/** What went wrong with a batch. */
export interface Failures {
  count: number
  first: unknown
}

/** After so long at a stretch others have their turn. In milliseconds. */
const SLICE_MS = 5

/**
 * Some events on their way to subscribers. Gives way to other work again and again. Whatever throws concerns only the
 * one subscriber, or the one event, that it is about: who may miss something by that is told so, and the others go on.
 */
export class Batch {
  readonly #candidates: { event: StorageEvent; forms: StorageEvent[] }[] = []
  /** The last event of which it is not even known whose it is; 0 when there is none. */
  #lastUnknown = 0
  readonly #gap: Gap
  readonly #isSubscribed: (subscriber: Subscriber) => boolean
  /** How long this server itself was busy with it, in milliseconds. */
  workedMs = 0
  #failures: Failures = { count: 0, first: undefined }
  #sinceMs = 0

  /** @param gap between which positions the events are */
  constructor(events: StorageEvent[], gap: Gap, isSubscribed: (subscriber: Subscriber) => boolean) {
    this.#gap = gap
    this.#isSubscribed = isSubscribed
    const first = events[0]?.position ?? gap.oldest
    if (first > gap.after + 1) {
      this.#lastUnknown = first - 1
      this.#note(new Error('events were forgotten before they could be handed out'))
    }
    for (const event of events) {
      try {
        this.#candidates.push({ event, forms: formsOf(event) })
      } catch (error) {
        this.#lastUnknown = event.position
        this.#note(error)
      }
    }
  }

  /** Who wants something of it, by claims: for each group the policies are asked once. */
  async groups(members: Member[]): Promise<Group[]> {
    const groups = new Map<string, Group>()
    for (const member of members) {
      await this.#slice(() => this.#apart(member, () => this.#enter(member, groups)))
    }
    for (const group of groups.values()) {
      const wanted = new Set(group.wanted)
      group.wanted = this.#candidates.flatMap(({ event }) => (wanted.has(event) ? event : [])) // once, and in order
    }
    return [...groups.values()]
  }

  /**
   * Gives a group what it may hear, and tells those who wanted something that the policies could not be asked about.
   *
   * @returns those whose claims are others since the policies were asked: the answer is not theirs
   */
  async deliver(group: Group, answer: Visible): Promise<Member[]> {
    const changed: Member[] = []
    for (const member of group.members) {
      await this.#slice(() =>
        this.#apart(member, () => {
          if (!this.#deliverTo(member, group, answer)) changed.push(member)
        }),
      )
    }
    return changed
  }

  /** Tells these that they may have missed something, because of this failure. */
  async miss(members: Member[], error: unknown): Promise<void> {
    for (const member of members) await this.#slice(() => this.#tellGap(member, error))
  }

  #enter(member: Member, groups: Map<string, Group>): void {
    const { subscriber, after } = member
    const { claimant } = subscriber
    if (!this.#isSubscribed(subscriber) || claimant === null) return
    if (after < this.#lastUnknown) subscriber.miss(this.#gap)
    const wanted = this.#candidates.filter(
      ({ event, forms }) => event.position > after && forms.some((form) => subscriber.wants(form)),
    )
    if (wanted.length === 0) return
    const key = keyOf(claimant)
    const group = groups.get(key) ?? { key, claimant, members: [], wanted: [] }
    groups.set(key, group)
    group.members.push(member)
    group.wanted.push(...wanted.map(({ event }) => event))
  }

  /** Returns false when the answer is not his. */
  #deliverTo({ subscriber, after }: Member, group: Group, { visible, unasked }: Visible): boolean {
    const { claimant } = subscriber
    // He may have left, or lost his token.
    if (!this.#isSubscribed(subscriber) || claimant === null) return true
    if (claimant !== group.claimant && keyOf(claimant) !== group.key) return false
    const heard = visible.filter((event) => event.position > after && subscriber.wants(event))
    if (heard.length > 0) subscriber.deliver(heard, this.#gap)
    const isHis = (event: StorageEvent) =>
      event.position > after && formsOf(event).some((form) => subscriber.wants(form))
    if (unasked.some(isHis)) subscriber.miss(this.#gap)
    return true
  }

  /** Does what is about one subscriber, whose failure is his own. */
  #apart(member: Member, work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#tellGap(member, error)
    }
  }

  #tellGap({ subscriber, after }: Member, error: unknown): void {
    const hasAll = after >= this.#gap.oldest - 1
    if (hasAll || !this.#isSubscribed(subscriber)) return
    this.#note(error)
    try {
      subscriber.miss(this.#gap)
    } catch (failure) {
      this.#note(failure)
    }
  }

  /** Those since the last time. */
  takeFailures(): Failures {
    const failures = this.#failures
    this.#failures = { count: 0, first: undefined }
    return failures
  }

  #note(error: unknown): void {
    const { count, first } = this.#failures
    this.#failures = { count: count + 1, first: first ?? error }
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

/** Of claims that many share: those of a token are the same object as long as it is remembered. */
const keys = new WeakMap<Claimant['claims'], string>()

/** Equal for those who may hear the same. */
function keyOf({ role, claims }: Claimant): string {
  let key = keys.get(claims)
  if (key === undefined) {
    key = `${role} ${JSON.stringify(claims)}`
    keys.set(claims, key)
  }
  return key
}
