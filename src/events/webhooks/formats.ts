import type { StorageEvent } from '../../database/queries/events.ts'
import type { WebhookRow } from '../../database/queries/webhooks.ts'
import type { WebhookMessage } from './message.ts'
import { standardMessage } from './standard-format.ts'
import { type Origin, supabaseMessages } from './supabase-format.ts'

/** The requests for an event, in the webhook's format and in order; none when the format has no word for it. */
export function messagesOf(
  { format, secret }: Pick<WebhookRow, 'format' | 'secret'>,
  event: StorageEvent,
  origin: Origin,
  now: Date,
): WebhookMessage[] {
  return format === 'standard'
    ? [standardMessage(secret ?? '', event, now)]
    : supabaseMessages(secret, event, origin, now)
}
