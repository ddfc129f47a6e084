import type { MiddlewareHandler } from 'hono'
import { StorageError } from '../../model/errors.ts'
import type { Connections } from '../connection/connections.ts'
import { YieldingCapacity } from '../connection/yielding-capacity.ts'
import type { AppContext, Env } from '../env.ts'
import { requestTarget } from '../message/request-path.ts'

/** A busy server is not a dead one: these are always answered. */
const HEALTH = new Set(['/status', '/version', '/health', '/health/live', '/health/ready'])

/**
 * Lets in so many requests at once; the others hear at once that they should come back, before anything is done for them.
 * What waits for the database, the disk or a client is a request under way, so that this bounds all of it.
 *
 * A request's place is free when its response has gone, or its client has, and its work is over; or when others need it,
 * and its client only dribbles.
 *
 * @param refuse answers who is not let in, or throws what it is given
 */
export function admission(
  { connections, most, minRate }: { connections: Connections; most: number; minRate: number },
  refuse: (c: AppContext, error: unknown) => Response,
): MiddlewareHandler<Env> {
  const capacity = new YieldingCapacity({ most, minRate, full: 'ServerBusy' })
  return async (c, next) => {
    const { incoming, outgoing } = c.env
    const { path } = requestTarget(incoming)
    if (HEALTH.has(path)) return next()
    try {
      if (connections.isSurplus(incoming.socket)) throw new StorageError('ServerBusy')
      capacity.acquire(incoming)
    } catch (error) {
      return refuse(c, error)
    }
    const release = () => capacity.release(incoming)
    let isGone = false
    let isOver = false
    outgoing.once('close', () => {
      isGone = true
      if (isOver) release()
    })
    c.set('leave', release)
    try {
      await next()
    } finally {
      isOver = true
      if (isGone) release()
    }
  }
}
