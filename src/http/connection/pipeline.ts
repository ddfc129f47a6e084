import type { Socket } from 'node:net'
import type { Exchange } from '../surface.ts'

/** Methods that change nothing (RFC 9110 §9.2.1). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** The newest request of a connection. */
export interface Newest {
  exchange: Exchange
  /** Whether it and all that are unanswered before it change nothing. */
  isSafe: boolean
  /** Whether a refusal of what is no request follows its answer. */
  isFollowed: boolean
}

const newest = new WeakMap<Socket, Newest>()

export function newestOn(socket: Socket): Newest | undefined {
  return newest.get(socket)
}

/** The newest request of a connection if it has not been answered to its end. */
export function unansweredOn(socket: Socket): Newest | undefined {
  const found = newest.get(socket)
  return found?.exchange.outgoing.writableFinished ? undefined : found
}

/**
 * Begins with a request when its turn has come. Requests that a client sends without waiting for the answers before may
 * run beside each other only if all of them are safe (RFC 9112 §9.3.2): the others run one after the other, so that each
 * finds what those before it have done. One whose connection is gone by then never runs.
 */
export function inTurn(exchange: Exchange, run: () => void): void {
  const { socket, method = '' } = exchange.incoming
  const before = unansweredOn(socket)
  const isSafe = SAFE.has(method) && (before?.isSafe ?? true)
  newest.set(socket, { exchange, isSafe, isFollowed: false })
  if (before && !isSafe) {
    before.exchange.outgoing.once('close', () => {
      if (!socket.destroyed) run()
    })
  } else run()
}
