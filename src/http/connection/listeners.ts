import type { Logger } from 'pino'
import type { ListenerLimits } from '../../config/limits.ts'
import { Shares } from '../../model/shares.ts'
import { Unread } from './unread.ts'

/** For the joins and tokens of all WebSockets, in bytes: 20 000 channels with tokens of a kilobyte each take 108 million. */
const JOIN_BYTES = 128 * 1024 * 1024

/** The smallest share of these, in bytes: a connection with all that it may have. */
const LEAST_JOIN_BYTES = 1024 * 1024

/** What those who listen to events may take of this process, by WebSocket or as server-sent events. */
export class Listeners {
  readonly connections: Shares
  readonly subscribers: Shares
  /** What joins and tokens take, in bytes. */
  readonly joinBytes: Shares
  readonly unread: Unread

  /** @param connections that this process can have of all kinds: half of them are for what is over soon */
  constructor(
    { connections: wanted, subscribers, share, unreadBytes }: ListenerLimits,
    connections: number,
    logger: Logger,
  ) {
    const shares = (most: number, least = 1) =>
      new Shares(
        { most, each: Math.max(least, Math.floor(most * share)) },
        'TooManySubscribers',
        'TooManyOfOneCaller',
      )
    this.connections = shares(Math.max(1, Math.min(wanted, Math.floor(connections / 2))))
    this.subscribers = shares(subscribers)
    this.joinBytes = shares(JOIN_BYTES, LEAST_JOIN_BYTES)
    this.unread = new Unread(unreadBytes, logger)
  }

  /** Takes the places of a connection that is one subscriber. Returns what gives them back. @throws as Shares */
  enter(share: string | null): () => void {
    const leaveConnection = this.connections.acquire(share)
    try {
      const leaveSubscriber = this.subscribers.acquire(share)
      return () => {
        leaveSubscriber()
        leaveConnection()
      }
    } catch (error) {
      leaveConnection()
      throw error
    }
  }
}
