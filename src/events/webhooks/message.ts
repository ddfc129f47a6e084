import type { StorageEvent } from '../../database/events.ts'

/** One HTTP request to a receiver. */
export interface WebhookMessage {
  headers: Record<string, string>
  /** JSON. */
  body: string
}

/** The same at each attempt, so that a receiver can see what it has had already. */
export function messageId({ position }: StorageEvent): string {
  return `evt_${position}`
}
