import { z } from 'zod'
import { durationAboveZero, integer } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'
import { type WebhookValues, webhookContradiction, webhookFields } from './webhook-fields.ts'

/** Webhooks, and how they are sent. */
export type WebhookSettings = ValuesOf<typeof WEBHOOKS_TABLE>

const UNKNOWN_FIELD = 'must have no other fields than url, secret, events, bucket, format, allow_private'

/** Misspelt fields are refused: they would silently do nothing. */
const settingShape = z.strictObject(
  {
    url: webhookFields.url,
    secret: webhookFields.secret.nullish(),
    events: webhookFields.events.default([]),
    bucket: webhookFields.bucket.nullish(),
    format: webhookFields.format.default('standard'),
    allow_private: webhookFields.allow_private.default(false),
  },
  { error: (issue) => (issue.code === 'unrecognized_keys' ? UNKNOWN_FIELD : 'must be an object') },
)

const webhookList = z.string().transform((text, context) => {
  const problem = (message: string) => context.addIssue({ code: 'custom', message })
  const list = asArray(text)
  if (list === null) {
    problem('must be a JSON array of webhooks: [{"url":…,"secret":…}]')
    return z.NEVER
  }
  const webhooks = list.flatMap((item, index): WebhookValues[] => {
    const parsed = settingShape.safeParse(item)
    for (const { path, message } of parsed.error?.issues ?? []) {
      problem(`${[index, ...path].join('/')} ${message}`)
    }
    if (!parsed.success) return []
    const { url, secret = null, events, bucket = null, format, allow_private: allowPrivate } = parsed.data
    const webhook = { url, secret, events, bucket, format, allowPrivate }
    const contradiction = webhookContradiction(webhook)
    if (contradiction) problem(`${index}/${contradiction.field} ${contradiction.sentence}`)
    return [webhook]
  })
  const identities = webhooks.map(webhookIdentity)
  if (new Set(identities).size < identities.length) {
    problem('must not have two webhooks of the same url, bucket and format')
  }
  return webhooks
})

/** What makes a webhook of the settings the same one after a restart. */
export function webhookIdentity({ url, bucket, format }: WebhookValues): string {
  return JSON.stringify([url, bucket, format])
}

export const WEBHOOKS_TABLE = {
  /** Those that are looked after here and not by the routes. */
  webhooks: setting('STORAGE_WEBHOOKS', webhookList, {
    preset: '[]',
    shown: '–',
    help: 'a JSON array of webhooks, see [Events](events.md#webhooks)',
    example: '[{"url": "https://app.example.com/hooks/storage", "secret": "whsec_…"}]',
  }),
  timeoutMs: setting('STORAGE_WEBHOOK_TIMEOUT', durationAboveZero, {
    preset: '10s',
    help: 'how long a receiver may take for its answer',
  }),
  attempts: setting('STORAGE_WEBHOOK_ATTEMPTS', integer(1, 100), {
    preset: '10',
    help: 'how often an event is tried before it is a dead letter',
  }),
  backOffMs: setting('STORAGE_WEBHOOK_BACKOFF', durationAboveZero, {
    preset: '5s',
    help: 'the wait after the first failure; it doubles each time',
  }),
}

function asArray(text: string): unknown[] | null {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : null
  } catch {
    return null
  }
}
