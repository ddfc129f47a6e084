import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { WebSocketServer } from 'ws'
import type { Subscriptions } from '../../events/subscribers/subscriptions.ts'
import { StorageError } from '../../model/errors.ts'
import type { RateLimits } from '../auth/rate-limits.ts'
import { shareOf } from '../auth/share-of.ts'
import type { TokenVerifier } from '../auth/token-verifier.ts'
import { clientAddress } from '../connection/client-address.ts'
import type { Listeners } from '../connection/listeners.ts'
import type { RequestContext, WebSockets } from '../surface.ts'
import { Connection, type ConnectionLimits } from './connection.ts'
import { EventFrames } from './event-frames.ts'
import { SharedFilters } from './shared-filters.ts'
import { admit, isUpgradeToRealtime, WEBSOCKET_PATH } from './upgrade.ts'

export const REALTIME_LIMITS: ConnectionLimits = {
  channels: 100,
  comparisons: 200,
  memoryBytes: 1024 * 1024,
  idleMs: 75_000,
  bufferedBytes: 8 * 1024 * 1024,
  burstBytes: 64 * 1024 * 1024,
}

export interface RealtimeOptions {
  tokens: TokenVerifier
  subscriptions: Subscriptions
  logger: Logger
  corsOrigins: string[]
  /** Whether a client's address is what a proxy says. */
  trustProxy: boolean
  listeners: Listeners
  /** Undefined where no client has limits. */
  rates: RateLimits | undefined
  limits: ConnectionLimits
}

/** Room for a token with many claims, as in a header. In bytes. */
const MAX_MESSAGE_BYTES = 64 * 1024

/** Pieces of 2 KiB are smaller than what anybody cuts a message into; each piece costs about as much as a message. */
const MAX_FRAGMENTS = 32

/** Clients have so long to answer that they are gone. In milliseconds. */
const CLOSING_MS = 1000

/** Tells clients of Supabase's Realtime what happens to files (wire §10). */
export class Realtime implements WebSockets {
  readonly #options: RealtimeOptions
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false, // costs far more memory and time than these short messages are long
    maxPayload: MAX_MESSAGE_BYTES,
    maxFragments: MAX_FRAGMENTS,
  })
  readonly #frames = new EventFrames()
  readonly #filters = new SharedFilters()
  readonly #connections = new Set<Connection>()
  /** Asked for, and not answered yet. */
  #arriving = 0
  #isClosing = false

  constructor(options: RealtimeOptions) {
    this.#options = options
  }

  areAskedFor(request: RequestContext): boolean {
    return isUpgradeToRealtime(request)
  }

  async open(request: RequestContext, socket: Socket, head: Buffer): Promise<boolean> {
    const { incoming, requestId, startedAt, notes } = request
    const ignore = () => {} // 'close' follows
    socket.on('error', ignore)
    this.#arriving++
    try {
      if (this.#isClosing) throw new StorageError('ShuttingDown')
      const { listeners, corsOrigins, trustProxy, rates } = this.#options
      listeners.connections.admit(this.#arriving)
      const { identity, version } = await admit(request, corsOrigins).catch((error: unknown) => {
        rates?.demand(request, null, 'read')
        throw error
      })
      rates?.demand(request, identity, 'read')
      if (this.#isClosing) throw new StorageError('ShuttingDown')
      if (socket.destroyed) return false // nothing would say so again
      const address = clientAddress(incoming, trustProxy)
      socket.once('close', listeners.connections.acquire(shareOf(identity, address)))
      socket.off('error', ignore)
      let isOpen = false
      // Calls back at once, or has refused by itself what breaks RFC 6455.
      this.#sockets.handleUpgrade(incoming, socket, head, (webSocket) => {
        const connection = new Connection(webSocket, {
          ...this.#options,
          frames: this.#frames,
          filters: this.#filters,
          identity,
          address,
          version,
        })
        isOpen = true
        notes.role = identity.role
        notes.user = identity.subject
        this.#keep(connection, { requestId, role: identity.role, user: identity.subject, version, startedAt })
      })
      return isOpen
    } finally {
      this.#arriving--
    }
  }

  /** Says good-bye to all, and takes nobody in any more. */
  async close(): Promise<void> {
    this.#isClosing = true
    const all = [...this.#connections]
    for (const connection of all) connection.close(1001, 'the server is stopping')
    const limit = setTimeout(() => {
      for (const connection of all) connection.terminate()
    }, CLOSING_MS)
    await Promise.all(all.map((connection) => connection.closed))
    clearTimeout(limit)
  }

  #keep(
    connection: Connection,
    { startedAt, user, ...about }: { startedAt: number; user: string | null } & Record<string, unknown>,
  ): void {
    this.#connections.add(connection)
    void connection.closed.then((summary) => {
      this.#connections.delete(connection)
      const line = {
        ...about,
        user: user ?? undefined,
        url: WEBSOCKET_PATH,
        ...summary,
        ms: since(startedAt),
      }
      this.#options.logger.info(line, 'realtime connection')
    })
  }
}

/** In milliseconds, to a tenth. */
function since(startedAt: number): number {
  return Math.round((performance.now() - startedAt) * 10) / 10
}
