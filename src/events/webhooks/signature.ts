import { createHmac, randomBytes } from 'node:crypto'

const PREFIX = 'whsec_'

/** A fresh secret, as Standard Webhooks writes them. */
export function newWebhookSecret(): string {
  return PREFIX + randomBytes(32).toString('base64')
}

/**
 * The `webhook-signature` of a delivery (Standard Webhooks, "Signature scheme").
 *
 * @param secret `whsec_` and the key in base64
 * @param sentAt in seconds since 1970
 */
export function signWebhook(
  secret: string,
  { id, sentAt, body }: { id: string; sentAt: number; body: string },
): string {
  const key = Buffer.from(secret.slice(PREFIX.length), 'base64')
  return `v1,${createHmac('sha256', key).update(`${id}.${sentAt}.${body}`).digest('base64')}`
}
