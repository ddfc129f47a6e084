import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import { requireCaller } from '../auth/caller.ts'
import { clientOf } from '../auth/share-of.ts'
import type { AppContext, Env } from '../env.ts'
import { checkShape } from '../message/json-body.ts'
import { queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { EVENT_STREAM_HEADERS, EventStream } from './event-stream.ts'
import { querySchema, readEvents } from './operations/events.ts'

/** A position; `open` looks whether there is such a one. */
const idSchema = z
  .string()
  .regex(/^\d{1,15}$/, 'must be the id of an event')
  .transform(Number)

/** Server-sent events, for curl and browsers' EventSource. */
export function eventRoutes(services: Services, logger: Logger) {
  const { events, buckets, keepAliveMs, listeners, trustProxy } = services
  const options = { ...events, keepAliveMs, listeners, logger }
  return new Hono<Env>().get(
    '/events',
    operation(readEvents, async (c) => {
      const query = queryOf(c.env)
      const headers = { ...c.env.incoming.headers }
      // An EventSource can set no header; where there is one, it wins.
      headers.apikey ??= query.get('apikey') ?? undefined
      const caller = await requireCaller(c, services, 'storage.event.read', 'AuthenticationRequired', headers)
      const { bucket, prefix, type } = checkShape('querystring', Object.fromEntries(query), querySchema)
      const after = lastEventId(c)
      // Who comes back may hear that it is gone.
      if (bucket !== undefined && after === null) await buckets.demand(bucket)
      if (c.req.method === 'HEAD') return c.body(null, 200, EVENT_STREAM_HEADERS)
      const filter = { bucket, prefix, types: type && new Set(type) }
      const share = clientOf(c.env, caller, trustProxy)
      await new EventStream(c.env.outgoing, caller, filter, options).open(after, share)
      c.env.leave() // subscribers have a limit of their own
      return RESPONSE_ALREADY_SENT
    }),
  )
}

/** What a reader who comes back has had last, or null. @throws InvalidRequest */
function lastEventId(c: AppContext): number | null {
  const sent = c.req.header('last-event-id') ?? ''
  return sent === '' ? null : checkShape('last-event-id', sent, idSchema)
}
