import { Hono } from 'hono'
import type { z } from 'zod'
import type { DeadLetter } from '../../database/queries/webhook-deliveries.ts'
import { eventJson } from '../../events/event.ts'
import type { WebhookRequest, WebhookState } from '../../events/webhooks/webhooks.ts'
import { requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { queryOf } from '../message/request-path.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  type changesSchema,
  createSchema,
  createWebhook,
  deleteDeadLetter,
  deleteWebhook,
  getWebhook,
  listDeadLetters,
  listWebhooks,
  pageSchema,
  replayDeadLetters,
  replaySchema,
  updateSchema,
  updateWebhook,
} from './operations/webhook.ts'

/** Webhooks, for the service alone. */
export function webhookRoutes(services: Services) {
  const { webhooks } = services.events
  const readJson = jsonReader(services)
  const serviceOf = (c: AppContext, operation: string) =>
    requireCaller(c, services, `storage.webhook.${operation}`)
  const idOf = (c: AppContext) => {
    const id = c.req.path.split('/')[2]?.toLowerCase() ?? ''
    c.env.notes.resourceId = id
    return id
  }

  return new Hono<Env>()
    .get(
      '/webhook',
      operation(listWebhooks, async (c) => {
        const states = await webhooks.list(await serviceOf(c, 'list'))
        return c.json(states.map(webhookJson))
      }),
    )
    .post(
      '/webhook',
      operation(createWebhook, async (c) => {
        const caller = await serviceOf(c, 'create')
        const body = await readJson(c.env.incoming, createSchema)
        const state = await webhooks.create(caller, { ...asRequest(body), url: body.url })
        c.env.notes.resourceId = state.id
        // The one time that it is told.
        return c.json({ ...webhookJson(state), secret: state.secret }, 201)
      }),
    )
    .get(
      '/webhook/:id',
      operation(getWebhook, async (c) => {
        return c.json(webhookJson(await webhooks.get(await serviceOf(c, 'get'), idOf(c))))
      }),
    )
    .patch(
      '/webhook/:id',
      operation(updateWebhook, async (c) => {
        const caller = await serviceOf(c, 'update')
        const body = await readJson(c.env.incoming, updateSchema)
        const state = await webhooks.update(caller, idOf(c), asRequest(body))
        return c.json({ ...webhookJson(state), ...(body.secret !== undefined && { secret: state.secret }) })
      }),
    )
    .delete(
      '/webhook/:id',
      operation(deleteWebhook, async (c) => {
        await webhooks.delete(await serviceOf(c, 'delete'), idOf(c))
        return c.body(null, 204)
      }),
    )
    .get(
      '/webhook/:id/dead-letter',
      operation(listDeadLetters, async (c) => {
        const caller = await serviceOf(c, 'dead_letters')
        const { limit, after } = checkShape('querystring', Object.fromEntries(queryOf(c.env)), pageSchema)
        const letters = await webhooks.deadLetters(caller, idOf(c), { after, limit: limit + 1 })
        const items = letters.slice(0, limit).map(deadLetterJson)
        return c.json({ items, next: letters.length > limit ? (items.at(-1)?.id ?? null) : null })
      }),
    )
    .post(
      '/webhook/:id/dead-letter/replay',
      operation(replayDeadLetters, async (c) => {
        const caller = await serviceOf(c, 'replay')
        const { ids } = await readJson(c.env.incoming, replaySchema)
        return c.json({ replayed: await webhooks.replay(caller, idOf(c), ids ?? null) })
      }),
    )
    .delete(
      '/webhook/:id/dead-letter/:event{\\d{1,15}}',
      operation(deleteDeadLetter, async (c) => {
        const caller = await serviceOf(c, 'delete_dead_letter')
        await webhooks.deleteDeadLetter(caller, idOf(c), Number(c.req.param('event')))
        return c.body(null, 204)
      }),
    )
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
