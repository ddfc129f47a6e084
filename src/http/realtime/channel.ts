import { z } from 'zod'
import type { Claimant, StorageEvent } from '../../database/queries/events.ts'
import { EVENTS_LOST } from '../../events/event.ts'
import { type EventFilter, matches } from '../../events/event-filter.ts'
import type { Gap, Subscriber } from '../../events/subscribers/batch.ts'
import type { Subscriptions } from '../../events/subscribers/subscriptions.ts'
import { atExpiry, tokenExpiry } from '../../events/subscribers/token-expiry.ts'
import type { Identity } from '../../model/caller.ts'
import { checkShape } from '../message/json-body.ts'
import type { EventFrames } from './event-frames.ts'
import { encode, type Message, type Version } from './frames.ts'
import { askedChanges, type ChangesGroup, matchingIds, readChanges } from './postgres-changes.ts'
import type { SharedFilters } from './shared-filters.ts'
import { askedStorage, storageFilters } from './storage-filters.ts'
import { readTopic, type Topic } from './topics.ts'

/** What a channel needs of its connection. */
export interface ChannelOptions {
  version: Version
  subscriptions: Subscriptions
  frames: EventFrames
  /** Whom a token proves. Without one, whom the connection's own key does. @throws as TokenVerifier */
  identify(token: string | null): Promise<Identity>
  /** Takes a subscriber's place for somebody. Returns what gives it back. @throws TooManySubscribers, TooManyOfOneCaller */
  enter(identity: Identity): () => void
  /** Before what is told of a batch: drops the connection when its reader is too slow. */
  beginNews(batch: Gap): void
  send(frame: Buffer): void
  /** The token has expired. */
  onExpired(channel: Channel): void
}

/** Of one channel; a connection has a limit for all of its filters besides. */
const MAX_CHANGES = 100

/** Replays, presence and acknowledgements may be asked for too, by default even are, and mean nothing here. */
const joinPayload = z.object({
  config: z
    .object({
      postgres_changes: z.array(askedChanges).max(MAX_CHANGES).nullish(),
      storage: askedStorage.nullish(),
    })
    .nullish(),
  access_token: z.string().nullish(),
})

/** What a client asks for when it joins a channel. */
export interface Join extends ReturnType<typeof readChanges> {
  /** Which events, any of these; null narrows nothing. */
  storage: EventFilter[] | null
  token: string | null
}

/** @throws InvalidParameter, InvalidRequest */
export function readJoin(payload: unknown, filters: SharedFilters): Join {
  const { config, access_token: token = null } = checkShape('payload', payload, joinPayload)
  const changes = readChanges(config?.postgres_changes ?? [], filters)
  const storage = config?.storage ? storageFilters(config.storage) : null
  const comparisons = changes.comparisons + (storage?.length ?? 0)
  return { ...changes, storage, comparisons, token }
}

/** One channel that a client has joined, or is about to: what it hears, and as whom. */
export class Channel implements Subscriber {
  readonly topic: Topic
  /** Of the message that has asked for it. */
  readonly joinRef: string | null
  readonly #options: ChannelOptions
  readonly #groups: ChangesGroup[]
  readonly #storage: EventFilter[] | null
  /** Whether it hears events as such, and not changes of rows alone; and whether as broadcasts, too. */
  readonly #hearsEvents: boolean
  readonly #hearsBroadcasts: boolean
  #identity: Identity | null = null
  #expiresAt = 0
  #endExpiry: (() => void) | undefined
  #tokens = 0
  #leave: (() => void) | undefined
  #unsubscribe: (() => void) | undefined
  readonly #kept = new Map<'join' | 'token', () => void>()
  #isClosed = false

  /** @throws InvalidParameter */
  constructor(options: ChannelOptions, message: Message, { groups, storage }: Join) {
    this.#options = options
    this.topic = readTopic(message.topic)
    this.joinRef = message.joinRef ?? message.ref
    this.#groups = groups
    this.#storage = storage
    // Its client may have filters such as `{ bucket: 'avatars' }`, but it neither sends them nor applies them itself
    // (realtime-js 2.109): the name of a storage channel narrows raw names of events, and what its join carries.
    this.#hearsBroadcasts = this.topic.filter !== null || storage !== null
    this.#hearsEvents = this.#hearsBroadcasts || groups.length === 0
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /**
   * Resolves once everything that is committed from then on will be heard.
   *
   * @param token as for `authorize`
   * @throws as `authorize` and `enter`; DatabaseUnavailable
   */
  async open(token: string | null): Promise<void> {
    const identity = await this.authorize(token)
    if (this.#isClosed) return
    const { subscriptions, enter } = this.#options
    this.#leave = enter(identity)
    const unsubscribe = await subscriptions.add(this)
    this.#unsubscribe = unsubscribe
    if (this.#isClosed) unsubscribe()
  }

  /**
   * Goes on as whom this token proves, unless a newer one has come in the meantime.
   *
   * @param token null is the connection's own key
   * @returns whom it proves
   * @throws InvalidToken, AccessDenied, AuthenticationUnavailable
   */
  async authorize(token: string | null): Promise<Identity> {
    const turn = ++this.#tokens
    const identity = await this.#options.identify(token)
    // The newest token counts, not the one that took longest to verify.
    if (turn !== this.#tokens || this.#isClosed) return identity
    this.#identity = identity
    this.#expiresAt = tokenExpiry(identity)
    this.#endExpiry?.()
    this.#endExpiry = atExpiry(this.#expiresAt, () => this.#options.onExpired(this))
    return identity
  }

  /**
   * Gives back what a message has taken once nothing is left of it: when the channel is closed, or at once if it is; and
   * the token's, when there is a newer one.
   */
  keep(what: 'join' | 'token', release: () => void): void {
    this.#kept.get(what)?.()
    this.#kept.set(what, release)
    if (this.#isClosed) release()
  }

  close(): void {
    this.#isClosed = true
    for (const release of this.#kept.values()) release()
    this.#endExpiry?.()
    this.#unsubscribe?.()
    this.#leave?.()
  }

  get claimant(): Claimant | null {
    return Date.now() < this.#expiresAt ? this.#identity : null
  }

  wants(event: StorageEvent): boolean {
    return this.#hears(event) || this.#groups.some((group) => matchingIds(group, event).length > 0)
  }

  deliver(events: StorageEvent[], batch: Gap): void {
    const { version, frames, send, beginNews } = this.#options
    beginNews(batch)
    const { topic } = this.topic
    const to = { version, topic }
    for (const event of events) {
      if (this.#hears(event)) {
        if (this.#hearsBroadcasts) send(frames.broadcast(event, to))
        send(frames.raw(event, to))
      }
      for (const group of this.#groups) {
        const ids = matchingIds(group, event)
        if (ids.length > 0) send(frames.change(event, to, group, ids))
      }
    }
  }

  /** In each way in which this channel would have heard an event. */
  miss(gap: Gap): void {
    const { version, send, beginNews } = this.#options
    beginNews(gap)
    const { topic, name } = this.topic
    const tell = (event: string, payload: object) =>
      send(encode(version, { joinRef: null, ref: null, topic, event, payload }))
    tell(EVENTS_LOST, gap)
    if (this.#hearsBroadcasts) tell('broadcast', { type: 'broadcast', event: EVENTS_LOST, payload: gap })
    if (this.#groups.length > 0) {
      const message = `${EVENTS_LOST}: changes after ${gap.after} and before ${gap.oldest} may be missing`
      tell('system', { channel: name, extension: 'postgres_changes', status: 'error', message })
    }
  }

  /** Whether it is told of an event as such: by what its name says, and by any of what its join has asked for. */
  #hears(event: StorageEvent): boolean {
    const { filter } = this.topic
    if (!this.#hearsEvents || (filter !== null && !matches(filter, event))) return false
    return this.#storage === null || this.#storage.some((one) => matches(one, event))
  }
}
