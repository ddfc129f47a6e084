import type { Logger } from 'pino'
import type { RawData, WebSocket } from 'ws'
import type { Subscriptions } from '../../events/subscribers/subscriptions.ts'
import type { Identity } from '../../model/caller.ts'
import { Capacity } from '../../model/capacity.ts'
import { StorageError } from '../../model/errors.ts'
import { shareOf } from '../auth/share-of.ts'
import type { TokenVerifier } from '../auth/token-verifier.ts'
import type { Listeners } from '../connection/listeners.ts'
import { isOurFault } from '../middleware/error-response.ts'
import { Channel, type ChannelOptions, readJoin } from './channel.ts'
import type { EventFrames } from './event-frames.ts'
import { FramePace } from './frame-pace.ts'
import { MalformedFrame, type Message, readBinary, readText, type Version } from './frames.ts'
import { Outlet, type OutletLimits } from './outlet.ts'
import type { SharedFilters } from './shared-filters.ts'

export interface ConnectionLimits extends OutletLimits {
  /** Heard nothing of for so long, a client is gone: one sends a heartbeat each 25 s (wire §10.1). */
  idleMs: number
  channels: number
  /** Values that the filters of all channels compare each row or event with; what takes every row counts as one. */
  comparisons: number
  /** What joins and tokens take that are kept, or not finished yet. In bytes, as estimated when they come. */
  memoryBytes: number
}

export interface ConnectionOptions {
  tokens: TokenVerifier
  subscriptions: Subscriptions
  listeners: Listeners
  frames: EventFrames
  filters: SharedFilters
  logger: Logger
  limits: ConnectionLimits
  version: Version
  /** Whom the key of the connection proves; channels may have tokens of their own. */
  identity: Identity
  /** Where the client is, for limits. */
  address: string
}

/** Joins and fresh tokens that one client may leave waiting for the database or for keys. */
const MAX_UNFINISHED = 200

/** What a channel takes, and what becomes of each byte of a join or of a token: text, objects, functions. In bytes. */
const CHANNEL_BYTES = 1024
const MEMORY_PER_BYTE = 2

/** What a closed connection leaves for the log. */
export interface ConnectionSummary {
  code: number
  /** Why this side has ended it. */
  reason: string | undefined
  joins: number
  sent: number
}

/** One client's WebSocket: what it says, and its channels (wire §10). */
export class Connection {
  readonly #socket: WebSocket
  readonly #options: ConnectionOptions
  readonly #channelOptions: ChannelOptions
  readonly #channels = new Map<string, Channel>()
  readonly #memory: Capacity
  readonly #comparisons: Capacity
  readonly #idle: NodeJS.Timeout
  readonly #outlet: Outlet
  readonly #pace = new FramePace()
  #unfinished = 0
  #reason: string | undefined
  #joins = 0

  /** Resolves once it is closed. */
  readonly closed: Promise<ConnectionSummary>

  constructor(socket: WebSocket, options: ConnectionOptions) {
    this.#socket = socket
    this.#options = options
    const { version, subscriptions, listeners, frames, limits, identity, address } = options
    const share = shareOf(identity, address)
    this.#memory = new Capacity(
      limits.memoryBytes,
      () => refusal('The channels and tokens of a connection are too large'),
      { acquire: (bytes) => listeners.joinBytes.acquire(share, bytes) },
    )
    this.#comparisons = new Capacity(limits.comparisons, () =>
      refusal(`The filters of a connection compare with at most ${limits.comparisons} values`),
    )
    this.#outlet = new Outlet(socket, {
      version,
      unread: listeners.unread,
      limits,
      onBehind: (reason) => this.#cutOff(reason),
    })
    this.#channelOptions = {
      version,
      subscriptions,
      frames,
      enter: (identity) => listeners.subscribers.acquire(shareOf(identity, address)),
      identify: (token) => this.#identify(token),
      beginNews: (batch) => this.#outlet.beginNews(batch),
      send: (frame) => this.#outlet.sendFrame(frame),
      onExpired: (channel) => this.#end(channel, 'Token has expired: send a fresh one in time'),
    }
    this.#idle = setTimeout(() => this.close(1008, 'no heartbeat'), limits.idleMs).unref()
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary))
    socket.on('ping', () => this.#isAllowed(0))
    socket.on('pong', () => this.#isAllowed(0))
    // What breaks the protocol of WebSockets; `ws` has answered it, and closes.
    socket.on('error', (error) => {
      this.#reason ??= error.message
    })
    this.closed = new Promise((resolve) => {
      socket.on('close', (code) => {
        clearTimeout(this.#idle)
        for (const channel of this.#channels.values()) channel.close()
        this.#channels.clear()
        resolve({ code, reason: this.#reason, joins: this.#joins, sent: this.#outlet.sent })
      })
    })
  }

  /** Hears and says no more. A client that does not answer is cut off after half a minute. @param code RFC 6455 §7.4 */
  close(code: number, reason: string): void {
    this.#reason ??= reason
    for (const channel of this.#channels.values()) channel.close()
    this.#channels.clear()
    this.#socket.close(code, reason)
  }

  /** Cuts the line. */
  terminate(): void {
    this.#socket.terminate()
  }

  #receive(data: RawData, isBinary: boolean): void {
    const bytes = data as Buffer // its type unless `binaryType` says otherwise
    if (!this.#isAllowed(bytes.length)) return
    try {
      const { version } = this.#options
      const message = isBinary ? readBinary(version, bytes) : readText(version, bytes.toString())
      this.#handle(message, bytes.length)
    } catch (error) {
      if (!(error instanceof MalformedFrame)) throw error
      this.close(error.closeCode, error.message)
    }
  }

  /** Counts a frame. One too many, and the client is sent away; if it does not hear that either, it is cut off. */
  #isAllowed(bytes: number): boolean {
    const isInPace = this.#pace.take(bytes)
    const isOpen = this.#socket.readyState === this.#socket.OPEN
    if (isOpen && isInPace) this.#idle.refresh()
    else if (isOpen) this.close(1008, FramePace.excess)
    else if (this.#pace.isHopeless) this.terminate()
    return isOpen && isInPace
  }

  /** @param bytes how long the message was */
  #handle(message: Message, bytes: number): void {
    const { topic, event } = message
    const channel = this.#channels.get(topic)
    // Of a join that another has replaced.
    const isOutdated = channel && message.joinRef !== null && message.joinRef !== channel.joinRef
    if (topic === 'phoenix' && event === 'heartbeat') {
      this.#outlet.reply(message, 'ok', {})
    } else if (event === 'phx_join') {
      this.#finish(this.#join(message, bytes))
    } else if (event === 'phx_leave') {
      if (channel && !isOutdated) this.#forget(channel)
      this.#outlet.reply(message, 'ok', {})
    } else if (!channel || isOutdated) {
      this.#outlet.reply(message, 'error', { reason: 'unmatched topic' })
    } else if (event === 'access_token') {
      this.#finish(this.#refresh(channel, message.payload, bytes))
    } else {
      this.#refuse(channel, message)
    }
  }

  async #join(message: Message, bytes: number): Promise<void> {
    const previous = this.#channels.get(message.topic)
    if (previous) this.#closeChannel(previous)
    let channel: Channel | undefined
    const taken: (() => void)[] = []
    const release = () => {
      for (const one of taken) one()
    }
    let changes: object[]
    try {
      const { limits, filters } = this.#options
      if (this.#channels.size >= limits.channels) {
        throw refusal(`A connection has at most ${limits.channels} channels`)
      }
      taken.push(this.#memory.acquire(CHANNEL_BYTES + MEMORY_PER_BYTE * bytes))
      const join = readJoin(message.payload, filters)
      taken.push(this.#comparisons.acquire(join.comparisons))
      changes = join.reply
      channel = new Channel(this.#channelOptions, message, join)
      this.#channels.set(message.topic, channel)
      await channel.open(join.token)
      channel.keep('join', release)
      if (channel.isClosed) return
    } catch (error) {
      release()
      if (channel?.isClosed) return
      if (channel) this.#forget(channel)
      this.#outlet.reply(message, 'error', { reason: this.#sentence(error) })
      return
    }
    this.#joins++
    this.#outlet.reply(message, 'ok', { postgres_changes: changes })
    if (changes.length > 0) {
      this.#outlet.tell(channel.topic, 'postgres_changes', 'ok', 'Subscribed to changes of storage.objects')
    }
  }

  async #refresh(channel: Channel, payload: unknown, bytes: number): Promise<void> {
    const token = (payload as { access_token?: unknown } | null)?.access_token ?? null
    let release: (() => void) | undefined
    try {
      if (token !== null && typeof token !== 'string') throw new StorageError('InvalidToken')
      release = this.#memory.acquire(MEMORY_PER_BYTE * bytes)
      await channel.authorize(token)
      channel.keep('token', release)
    } catch (error) {
      release?.()
      if (channel.isClosed) return
      const sentence = this.#sentence(error)
      // The one it has holds until it expires.
      const isRefused = error instanceof StorageError && error.status < 500
      if (isRefused) this.#end(channel, sentence)
      else this.#outlet.tell(channel.topic, 'system', 'error', sentence)
    }
  }

  /** What clients say to each other is not our business. */
  #refuse(channel: Channel, message: Message): void {
    const { event } = message
    const isKnown = event === 'broadcast' || event === 'presence'
    const reason = isKnown
      ? `This server does not pass on a client's ${event}: its channels only tell what happens to files`
      : `There is no event ${event} for clients to send`
    this.#outlet.reply(message, 'error', { reason })
    this.#outlet.tell(channel.topic, isKnown ? event : 'system', 'error', reason)
  }

  /** Ends a channel for a reason that its client is told. */
  #end(channel: Channel, reason: string): void {
    this.#outlet.tell(channel.topic, 'system', 'error', reason)
    this.#closeChannel(channel)
  }

  #closeChannel(channel: Channel): void {
    this.#forget(channel)
    const { joinRef, topic } = channel
    this.#outlet.send({ joinRef, ref: joinRef, topic: topic.topic, event: 'phx_close', payload: {} })
  }

  #forget(channel: Channel): void {
    channel.close()
    const { topic } = channel.topic
    if (this.#channels.get(topic) === channel) this.#channels.delete(topic)
  }

  async #identify(token: string | null): Promise<Identity> {
    const { tokens, identity } = this.#options
    return (token !== null && (await tokens.identify({ authorization: token }))) || identity
  }

  #cutOff(reason: string): void {
    this.#reason ??= reason
    this.terminate()
  }

  #sentence(error: unknown): string {
    const ours = error instanceof StorageError ? error : new StorageError('InternalError', { cause: error })
    if (isOurFault(ours)) {
      this.#options.logger.error({ err: ours.cause ?? ours, code: ours.code }, ours.message)
    }
    return ours.message
  }

  /** Lets work go on while other messages come in, but not more and more of it. */
  #finish(work: Promise<void>): void {
    this.#unfinished++
    if (this.#unfinished > MAX_UNFINISHED) this.close(1008, 'too many messages at once')
    void work.finally(() => this.#unfinished--)
  }
}

function refusal(message: string): StorageError {
  return new StorageError('InvalidParameter', { message })
}
