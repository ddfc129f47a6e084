import type { MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import { StorageError } from '../../model/errors.ts'
import type { Connections } from '../connection/connections.ts'
import { YieldingPlaces } from '../connection/yielding-places.ts'
import type { Env } from '../env.ts'
import { requestTarget } from '../message/request-path.ts'
import { isTusPath, tusError } from '../tus/protocol.ts'

/** A busy server is not a dead one: these are always answered. */
const HEALTH = new Set(['/status', '/version', '/health', '/health/live', '/health/ready'])

/**
 * Lets in so many requests at once; the others hear at once that they should come back, before anything is done for them.
 * What waits for the database, the disk or a client is a request under way, so that this bounds all of it.
 *
 * A request's place is free when its response has gone, or its client has, and its work is over; or when others need it,
 * and its client only dribbles.
 */
export function admission(
  { connections, most, minRate }: { connections: Connections; most: number; minRate: number },
  logger: Logger,
): MiddlewareHandler<Env> {
  const places = new YieldingPlaces({ most, minRate, full: 'ServerBusy' })
  return async (c, next) => {
    const { incoming, outgoing } = c.env
    const { path } = requestTarget(incoming)
    if (HEALTH.has(path)) return next()
    try {
      if (connections.isSurplus(incoming.socket)) throw new StorageError('ServerBusy')
      places.take(incoming)
    } catch (error) {
      if (isTusPath(path)) return tusError(c, error, logger, incoming.method === 'HEAD')
      throw error
    }
    const giveBack = () => places.giveBack(incoming)
    let isGone = false
    let isOver = false
    outgoing.once('close', () => {
      isGone = true
      if (isOver) giveBack()
    })
    c.set('leave', giveBack)
    try {
      await next()
    } finally {
      isOver = true
      if (isGone) giveBack()
    }
  }
}
