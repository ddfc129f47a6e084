import type { StorageEvent } from '../../database/queries/events.ts'
import { eventJson, messageId } from '../event.ts'
import type { WebhookMessage } from './message.ts'
import { signWebhook } from './signature.ts'

/** As https://www.standardwebhooks.com has it. */
export function standardMessage(secret: string, event: StorageEvent, now: Date): WebhookMessage {
  const id = messageId(event)
  const sentAt = Math.floor(now.getTime() / 1000)
  const data = eventJson(event)
  const body = JSON.stringify({ type: data.type, timestamp: data.timestamp, data })
  return {
    headers: {
      'webhook-id': id,
      'webhook-timestamp': String(sentAt),
      'webhook-signature': signWebhook(secret, { id, sentAt, body }),
    },
    body,
  }
}
