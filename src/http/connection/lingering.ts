import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ProcessClock } from './process-clock.ts'

export interface LingeringLimits {
  /** After so long without a byte nobody is sending any more. In milliseconds. */
  silenceMs: number
  /** For the rest of one body, in milliseconds. */
  totalMs: number
  /** Of the rest of one body, in bytes. */
  bytes: number
  /** Connections at once. One more ends the oldest. */
  connections: number
}

/** The times are those of nginx (lingering_timeout, lingering_time). */
export const LINGERING_LIMITS: LingeringLimits = {
  silenceMs: 5000,
  totalMs: 30_000,
  bytes: 1024 ** 3,
  connections: 1000,
}

interface Left {
  startedAt: number
  /** What the connection had brought by then, in bytes. */
  before: number
  /** When it last brought something, and what it had brought by then. */
  heardAt: number
  bytes: number
}

/**
 * Lets answers arrive whose clients are still sending. A connection that is closed with bytes unread is reset by the
 * kernel, and a reset can overtake the answer: the client, or the proxy before us, finds a broken connection instead of
 * the reason (RFC 9112 §9.6). So what is left of a body is read and dropped, until the client ends, or is silent, or
 * has had enough of our time. Such a connection is without a request to all others: it holds no place, is closed to make
 * room for a new one, and a shutdown does not wait for it.
 */
export class Lingering {
  readonly #limits: LingeringLimits
  /** The oldest first. */
  readonly #open = new Map<Socket, Left>()
  readonly #intervalMs: number
  readonly #clock: ProcessClock
  #timer: NodeJS.Timeout | undefined

  constructor(limits: LingeringLimits) {
    this.#limits = limits
    this.#intervalMs = Math.ceil(Math.min(limits.silenceMs, limits.totalMs) / 5)
    this.#clock = new ProcessClock(2 * this.#intervalMs)
  }

  /** Lingers if a request's body is answered before all of it is there. */
  watch(incoming: IncomingMessage, outgoing: ServerResponse): void {
    // Before Node's own listener, which closes the connection when this was its last answer.
    outgoing.prependOnceListener('finish', () => {
      if (!incoming.complete && !incoming.destroyed) this.#dropRest(incoming)
    })
  }

  has(socket: Socket): boolean {
    return this.#open.has(socket)
  }

  /** Reads on a connection on which the last word has been said. Whoever parses it drops what comes. */
  begin(socket: Socket): void {
    if (socket.destroyed || this.#open.has(socket)) return
    const [oldest] = this.#open.keys()
    if (oldest && this.#open.size >= this.#limits.connections) this.#end(oldest)
    const now = this.#clock.now()
    const { bytesRead } = socket
    this.#open.set(socket, { startedAt: now, before: bytesRead, heardAt: now, bytes: bytesRead })
    this.#timer ??= setInterval(() => this.#look(), this.#intervalMs).unref()
  }

  #dropRest(incoming: IncomingMessage): void {
    const { socket } = incoming
    this.begin(socket)
    // This is how Node closes a connection after its last answer: here only our side of it.
    socket.destroySoon = () => socket.end()
    incoming.once('end', () => {
      this.#open.delete(socket)
      socket.destroySoon = Object.getPrototypeOf(socket).destroySoon
      if (socket.writableEnded) socket.destroySoon()
    })
    incoming.on('error', () => {})
    incoming.unpipe()
    incoming.removeAllListeners('data')
    incoming.resume()
  }

  #look(): void {
    const { silenceMs, totalMs, bytes } = this.#limits
    const now = this.#clock.now()
    for (const [socket, left] of this.#open) {
      const { bytesRead } = socket
      if (bytesRead > left.bytes) {
        left.bytes = bytesRead
        left.heardAt = now
      }
      const isOver = now - left.heardAt >= silenceMs || now - left.startedAt >= totalMs
      if (socket.destroyed || isOver || bytesRead - left.before > bytes) this.#end(socket)
    }
    if (this.#open.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #end(socket: Socket): void {
    this.#open.delete(socket)
    socket.destroy()
  }
}
