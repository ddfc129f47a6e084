import type { MiddlewareHandler } from 'hono'
import { StorageError } from '../../model/errors.ts'
import type { Connections } from '../connection/connections.ts'
import type { YieldingCapacity } from '../connection/yielding-capacity.ts'
import type { Env } from '../env.ts'

/**
 * Lets in so many requests at once; the others hear at once that they should come back, before anything is done for them.
 * What waits for the database, the disk or a client is a request under way, so that this bounds all of it.
 *
 * A request's place is free when its response has gone, or its client has, and its work is over; or when others need it,
 * and its client only dribbles.
 */
export function admission(connections: Connections, capacity: YieldingCapacity): MiddlewareHandler<Env> {
  return async (c, next) => {
    const { incoming, outgoing, surface, target } = c.env
    if (surface.isVital?.(target.path)) return next()
    if (connections.isSurplus(incoming.socket)) throw new StorageError('ServerBusy')
    capacity.acquire(incoming)
    const release = () => capacity.release(incoming)
    let isGone = false
    let isOver = false
    outgoing.once('close', () => {
      isGone = true
      if (isOver) release()
    })
    c.env.leave = release
    try {
      await next()
    } finally {
      isOver = true
      if (isGone) release()
    }
  }
}
