import { Hono } from 'hono'
import { z } from 'zod'
import { webhookFields } from '../../config/webhook-fields.ts'
import type { DeadLetter } from '../../database/queries/webhook-deliveries.ts'
import { eventJson } from '../../events/event.ts'
import type { WebhookRequest, WebhookState } from '../../events/webhooks/webhooks.ts'
import { requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { fields, flag, integer, optional, textList } from '../message/json-fields.ts'
import { MAX_PAGE, pageLimit } from '../message/page-limit.ts'
import { queryOf } from '../message/request-path.ts'
import type { Services } from '../services.ts'

const changes = {
  url: optional(webhookFields.url),
  secret: optional(webhookFields.secret),
  events: optional(textList(webhookFields.events)),
  bucket: webhookFields.bucket.nullish(), // null is all
  format: optional(webhookFields.format),
  allow_private: optional(flag()),
}

const changesSchema = fields(changes)

const createSchema = fields({ ...changes, url: webhookFields.url })

const updateSchema = changesSchema.refine(
  (body) => Object.values(body).some((value) => value !== undefined),
  'must name at least one of url, secret, events, bucket, format, allow_private',
)

/** An event's position. */
const EVENT_ID = /^\d{1,15}$/

const pageSchema = z.object({
  limit: pageLimit,
  after: z.string().regex(EVENT_ID, 'must be the id of an event').transform(Number).default(0),
})

const replaySchema = fields({
  ids: optional(
    z
      .array(
        integer(z.int('must be the id of an event').nonnegative('must be the id of an event')),
        'must be an array of ids',
      )
      .min(1, 'must name at least one event')
      .max(MAX_PAGE, `must name at most ${MAX_PAGE} events`),
  ),
})

/** Webhooks, for the service alone. */
export function webhookRoutes(services: Services) {
  const { webhooks } = services.events
  const readJson = jsonReader(services)
  const serviceOf = (c: AppContext, operation: string) =>
    requireCaller(c, services, `storage.webhook.${operation}`)
  const idOf = (c: AppContext) => c.req.path.split('/')[2]?.toLowerCase() ?? ''

  return new Hono<Env>()
    .get('/webhook', async (c) => {
      const states = await webhooks.list(await serviceOf(c, 'list'))
      return c.json(states.map(webhookJson))
    })
    .post('/webhook', async (c) => {
      const caller = await serviceOf(c, 'create')
      const body = await readJson(c.env.incoming, createSchema)
      const state = await webhooks.create(caller, { ...asRequest(body), url: body.url })
      // The one time that it is told.
      return c.json({ ...webhookJson(state), secret: state.secret }, 201)
    })
    .get('/webhook/:id', async (c) => {
      return c.json(webhookJson(await webhooks.get(await serviceOf(c, 'get'), idOf(c))))
    })
    .patch('/webhook/:id', async (c) => {
      const caller = await serviceOf(c, 'update')
      const body = await readJson(c.env.incoming, updateSchema)
      const state = await webhooks.update(caller, idOf(c), asRequest(body))
      return c.json({ ...webhookJson(state), ...(body.secret !== undefined && { secret: state.secret }) })
    })
    .delete('/webhook/:id', async (c) => {
      await webhooks.delete(await serviceOf(c, 'delete'), idOf(c))
      return c.body(null, 204)
    })
    .get('/webhook/:id/dead-letter', async (c) => {
      const caller = await serviceOf(c, 'dead_letters')
      const { limit, after } = checkShape('querystring', Object.fromEntries(queryOf(c.env)), pageSchema)
      const letters = await webhooks.deadLetters(caller, idOf(c), { after, limit: limit + 1 })
      const items = letters.slice(0, limit).map(deadLetterJson)
      return c.json({ items, next: letters.length > limit ? (items.at(-1)?.id ?? null) : null })
    })
    .post('/webhook/:id/dead-letter/replay', async (c) => {
      const caller = await serviceOf(c, 'replay')
      const { ids } = await readJson(c.env.incoming, replaySchema)
      return c.json({ replayed: await webhooks.replay(caller, idOf(c), ids ?? null) })
    })
    .delete('/webhook/:id/dead-letter/:event{\\d{1,15}}', async (c) => {
      const caller = await serviceOf(c, 'delete_dead_letter')
      await webhooks.deleteDeadLetter(caller, idOf(c), Number(c.req.param('event')))
      return c.body(null, 204)
    })
}

function asRequest({ allow_private: allowPrivate, ...body }: z.infer<typeof changesSchema>): WebhookRequest {
  return { ...body, allowPrivate }
}

/** Without its secret. */
function webhookJson(state: WebhookState) {
  return {
    id: state.id,
    url: state.url,
    events: state.events,
    bucket: state.bucket,
    format: state.format,
    allow_private: state.allowPrivate,
    source: state.source,
    created_at: state.createdAt,
    updated_at: state.updatedAt,
    pending: state.pending,
    dead: state.dead,
    last_status: state.lastStatus,
    last_error: state.lastError,
  }
}

function deadLetterJson({ event, attempts, lastStatus, lastError, failedAt }: DeadLetter) {
  return {
    id: event.position,
    event: eventJson(event),
    attempts,
    last_status: lastStatus,
    last_error: lastError,
    failed_at: failedAt,
  }
}
