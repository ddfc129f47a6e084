import { z } from 'zod'
import { WEBHOOK_FORMATS, webhookFields } from '../../../config/webhook-fields.ts'
import { EVENT_TYPES } from '../../../model/event-types.ts'
import { fields, flag, integer, optional, textList } from '../../message/json-fields.ts'
import { MAX_PAGE, pageLimit } from '../../message/page-limit.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { numeric, pageOf, time, uuid } from '../../openapi/shapes.ts'
import { eventShape } from './events.ts'

const changes = {
  url: optional(webhookFields.url).describe('http or https, without a login.'),
  secret: optional(webhookFields.secret).describe(
    'Of the format `standard`: `whsec_` and base64. Else it is made.',
  ),
  events: optional(textList(webhookFields.events)).describe('`[]` is all.'),
  bucket: webhookFields.bucket.nullish().describe('null is all.'),
  format: optional(webhookFields.format),
  allow_private: optional(flag()).describe('Whether the receiver may be in a private network.'),
}

export const changesSchema = fields(changes)

export const createSchema = fields({ ...changes, url: webhookFields.url })

export const updateSchema = changesSchema.refine(
  (body) => Object.values(body).some((value) => value !== undefined),
  'must name at least one of url, secret, events, bucket, format, allow_private',
)

/** An event's position. */
const EVENT_ID = /^\d{1,15}$/

export const pageSchema = z.object({
  limit: pageLimit,
  after: z
    .string()
    .regex(EVENT_ID, 'must be the id of an event')
    .transform(Number)
    .default(0)
    .meta(numeric(0))
    .describe('`next` of the page before.'),
})

export const replaySchema = fields({
  ids: optional(
    z
      .array(
        integer(z.int('must be the id of an event').nonnegative('must be the id of an event')),
        'must be an array of ids',
      )
      .min(1, 'must name at least one event')
      .max(MAX_PAGE, `must name at most ${MAX_PAGE} events`),
  ).describe('Of dead letters; all without it.'),
})

const webhookShape = {
  id: uuid,
  url: z.string(),
  events: z.array(z.enum(EVENT_TYPES)),
  bucket: z.string().nullable(),
  format: z.enum(WEBHOOK_FORMATS),
  allow_private: z.boolean(),
  source: z.enum(['api', 'settings']),
  created_at: time,
  updated_at: time,
  pending: z.int().describe('Events that are to be delivered yet.'),
  dead: z.int().describe('Dead letters.'),
  last_status: z.int().nullable(),
  last_error: z.string().nullable(),
}
const webhook = z.strictObject(webhookShape).meta({ id: 'Webhook' })
const webhookWithSecret = z
  .strictObject({
    ...webhookShape,
    secret: z.string().nullable().optional().describe('The one time that it is told.'),
  })
  .meta({ id: 'WebhookWithSecret' })

const deadLetter = z
  .strictObject({
    id: z.int(),
    event: eventShape,
    attempts: z.int(),
    last_status: z.int().nullable(),
    last_error: z.string().nullable(),
    failed_at: time,
  })
  .meta({ id: 'DeadLetter' })

const webhookOperation = (operation: Omit<Operation, 'tag' | 'access' | 'path'>): Operation => ({
  tag: 'Webhooks',
  access: 'service',
  path: { id: 'The UUID of a webhook.', event: 'The id of an event.' },
  ...operation,
})

export const listWebhooks: Describe = () =>
  webhookOperation({
    id: 'listWebhooks',
    summary: 'Lists webhooks',
    answers: { 200: { description: 'All of them.', json: z.array(webhook) } },
  })

export const createWebhook: Describe = () =>
  webhookOperation({
    id: 'createWebhook',
    summary: 'Makes a webhook',
    body: { json: createSchema },
    answers: { 201: { description: 'It is made.', json: webhookWithSecret } },
  })

export const getWebhook: Describe = () =>
  webhookOperation({
    id: 'getWebhook',
    summary: 'Tells of a webhook',
    answers: { 200: { description: 'The webhook.', json: webhook } },
    errors: ['NoSuchWebhook'],
  })

export const updateWebhook: Describe = () =>
  webhookOperation({
    id: 'updateWebhook',
    summary: 'Changes a webhook',
    body: { json: updateSchema },
    answers: { 200: { description: 'It is changed.', json: webhookWithSecret } },
    errors: ['NoSuchWebhook', 'WebhookFromSettings'],
  })

export const deleteWebhook: Describe = () =>
  webhookOperation({
    id: 'deleteWebhook',
    summary: 'Deletes a webhook',
    answers: { 204: { description: 'It is deleted.' } },
    errors: ['NoSuchWebhook', 'WebhookFromSettings'],
  })

export const listDeadLetters: Describe = () =>
  webhookOperation({
    id: 'listDeadLetters',
    summary: 'Lists what could not be delivered',
    query: pageSchema,
    answers: { 200: { description: 'A page.', json: pageOf(deadLetter, z.int()) } },
    errors: ['InvalidRequest', 'NoSuchWebhook'],
  })

export const replayDeadLetters: Describe = () =>
  webhookOperation({
    id: 'replayDeadLetters',
    summary: 'Delivers dead letters again',
    body: { json: replaySchema, isOptional: true },
    answers: {
      200: { description: 'So many are to be delivered again.', json: z.strictObject({ replayed: z.int() }) },
    },
    errors: ['NoSuchWebhook'],
  })

export const deleteDeadLetter: Describe = () =>
  webhookOperation({
    id: 'deleteDeadLetter',
    summary: 'Deletes a dead letter',
    answers: { 204: { description: 'It is deleted.' } },
    errors: ['NoSuchDeadLetter'],
  })
