import { sinkName, type WebhookRow, webhookPosition } from '../../database/queries/webhooks.ts'
import type { Sink } from '../sink.ts'
import type { WebhookDeliveryOptions } from './webhook-delivery.ts'

/** One webhook as a sink of the outbox. */
export function webhookSink(webhook: WebhookRow, options: WebhookDeliveryOptions): Sink {
  return {
    name: sinkName(webhook.id),
    work: async (signal) => {
      const position = await webhookPosition(options.database, webhook)
      if (position === null) return
      // Loaded when there is one: its HTTP client costs others a part of a second at every start.
      const { WebhookDelivery } = await import('./webhook-delivery.ts')
      await new WebhookDelivery(webhook, position, options).run(signal)
    },
  }
}
